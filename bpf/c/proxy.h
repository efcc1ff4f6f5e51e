/* The sidecar's sockets, and giving a packet to one of them. */
#pragma once
#include "settings.h"
#include "sockets.h"

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

/* True if the sidecar has lately failed to reach this packet's destination: it then holds a socket of UDP that is bound to
 * that address, at the outbound listener's number, and connected to the first spare address at the destination's port.
 * Only the sidecar may bind to an address that is not this machine's. */
static __always_inline int is_unreached(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	int found;

	if (p->v6) {
		t.ipv6.saddr[0] = bpf_htonl(0x01000000); /* 100:: */
		__builtin_memcpy(t.ipv6.daddr, p->tuple.ipv6.daddr, 16);
		t.ipv6.sport = bpf_htons(p->dport);
		t.ipv6.dport = bpf_htons(settings.outbound_port);
	} else {
		t.ipv4.saddr = bpf_htonl(0xc0000040); /* 192.0.0.64 */
		t.ipv4.daddr = p->tuple.ipv4.daddr;
		t.ipv4.sport = bpf_htons(p->dport);
		t.ipv4.dport = bpf_htons(settings.outbound_port);
	}
	sk = look_up(skb, &t, p->v6, IPPROTO_UDP);
	if (!sk)
		return 0;
	found = !is_on_every_address(sk, p);
	bpf_sk_release(sk);
	return found;
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
