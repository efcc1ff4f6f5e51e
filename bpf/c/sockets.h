/* What sockets there are for a packet. */
#pragma once
#include "packet.h"
#include <linux/pkt_cls.h>

#define NETNS BPF_F_CURRENT_NETNS
/* Leave the packet to whoever comes next: other filters, then the stack. */
#define PASS TC_ACT_UNSPEC

enum owner {
	NOBODY,      /* no socket would take it */
	LISTENER,    /* somebody listens where it goes */
	CONNECTION,  /* it belongs to a connection, or to one that is coming about */
	TIME_WAIT,   /* the connection has ended a little while ago */
};

static __always_inline int has_connection(enum owner owner)
{
	return owner == CONNECTION || owner == TIME_WAIT;
}

/* The verifier wants the tuple's size as a constant. */
static __always_inline struct bpf_sock *look_up(struct __sk_buff *skb, struct bpf_sock_tuple *t, __u8 v6, __u8 protocol)
{
	if (protocol == IPPROTO_UDP)
		return v6 ? bpf_sk_lookup_udp(skb, t, sizeof(t->ipv6), NETNS, 0)
			  : bpf_sk_lookup_udp(skb, t, sizeof(t->ipv4), NETNS, 0);
	return v6 ? bpf_skc_lookup_tcp(skb, t, sizeof(t->ipv6), NETNS, 0)
		  : bpf_skc_lookup_tcp(skb, t, sizeof(t->ipv4), NETNS, 0);
}

static __always_inline enum owner owner_of(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_sock *sk = look_up(skb, &p->tuple, p->v6, IPPROTO_TCP);
	enum owner owner;

	if (!sk)
		return NOBODY;
	switch (sk->state) {
	case BPF_TCP_LISTEN:
		owner = LISTENER;
		break;
	case BPF_TCP_TIME_WAIT:
		owner = TIME_WAIT;
		break;
	default:
		owner = CONNECTION;
	}
	bpf_sk_release(sk);
	return owner;
}

/* Forwarded traffic is not ours, though a listener on the wildcard address would match it. Asked for new connections
 * alone. Where the interface does not forward, everything that gets in is for this namespace. */
static __always_inline int is_for_us(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_fib_lookup fib = {};
	long found;

	fib.ifindex = skb->ifindex;
	fib.l4_protocol = p->protocol;
	if (p->v6) {
		fib.family = 10; /* AF_INET6 */
		__builtin_memcpy(fib.ipv6_src, p->tuple.ipv6.saddr, 16);
		__builtin_memcpy(fib.ipv6_dst, p->tuple.ipv6.daddr, 16);
	} else {
		fib.family = 2; /* AF_INET */
		fib.ipv4_src = p->tuple.ipv4.saddr;
		fib.ipv4_dst = p->tuple.ipv4.daddr;
	}
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return found == BPF_FIB_LKUP_RET_NOT_FWDED || found == BPF_FIB_LKUP_RET_FWD_DISABLED;
}
