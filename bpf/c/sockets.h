/* What sockets there are for a packet, and giving it to one of them. */
#pragma once
#include "packet.h"
#include "settings.h"
#include <linux/pkt_cls.h>

#define NETNS BPF_F_CURRENT_NETNS
/* Leave the packet to whoever comes next: other filters, then the stack. */
#define PASS TC_ACT_UNSPEC

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);

	if (value)
		*value += 1;
}

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

/* Volatile, so that every word is read by its own constant offset: the verifier allows no other access. */
static __always_inline int is_on_every_address(const volatile struct bpf_sock *sk, const struct packet *p)
{
	if (p->v6)
		return !(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]);
	return !sk->src_ip4;
}

/* The sidecar's socket on this port. Of TCP listeners for what leaves, those that may not answer from other machines'
 * addresses are on the loopback address alone: they can't take such a packet. */
static __always_inline struct bpf_sock *sidecar(struct __sk_buff *skb, const struct packet *p, __u16 port)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;

	if (p->v6) {
		t.ipv6.daddr[3] = bpf_htonl(1);
		t.ipv6.dport = bpf_htons(port);
	} else {
		t.ipv4.daddr = bpf_htonl(0x7f000001);
		t.ipv4.dport = bpf_htons(port);
	}
	if (p->protocol == IPPROTO_UDP)
		return look_up(skb, &t, p->v6, IPPROTO_UDP);
	sk = look_up(skb, &t, p->v6, IPPROTO_TCP);
	if (!sk || port == settings.inbound_port || port == settings.probe_port)
		return sk;
	if (is_on_every_address(sk, p))
		return sk;
	bpf_sk_release(sk);
	return 0;
}

static __always_inline int sidecar_listens(struct __sk_buff *skb, const struct packet *p, __u16 port)
{
	struct bpf_sock *sk = sidecar(skb, p, port);

	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* Gives the packet to the sidecar. Where nobody listens, `missing` is what becomes of it. */
static __always_inline int assign(struct __sk_buff *skb, struct packet *p, __u16 port, __u32 counter, int missing)
{
	struct bpf_sock *sk = sidecar(skb, p, port);
	long error;

	if (!sk) {
		count(COUNT_NO_PROXY);
		return missing;
	}
	error = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	if (error) {
		count(COUNT_FAILED);
		return missing;
	}
	count(counter);
	return PASS;
}
