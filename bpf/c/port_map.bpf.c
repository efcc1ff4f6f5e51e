/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The port map: connections to a port of this machine come to the port at which the sidecar listens for it.
 *
 *   interface ingress   to a mapped port   -> to the sidecar's port
 *   interface egress    from the sidecar's -> from the mapped port
 *   connect(2)          of this machine's own clients: to the sidecar's port, from the start
 *
 * Ports are rewritten before netfilter sees the packet on its way in and after it has seen it on its way out. So a port
 * that Docker publishes (DNAT in PREROUTING and OUTPUT) comes to the sidecar too, and connection tracking sees the same
 * connection both ways.
 *
 * Which packets belong to a connection that was taken is asked of the sockets themselves: nothing is kept that could be
 * evicted. Only connections that were dialled to the sidecar's own port, by whoever likes to, are written down, as
 * theirs are the answers whose port must stay.
 */
#include "sockets.h"
#include <linux/if_ether.h>

/* include/linux/net.h, include/linux/socket.h */
#define SOCK_STREAM 1
#define AF_INET 2
#define AF_INET6 10

struct settings {
	__u64 netns;       /* cookie of the network namespace */
	__u64 fingerprint; /* for whoever looks at what is in force */
	__u32 proxy_uid;
	__u32 own_mark;
};

const volatile struct settings settings = {};

#define FLOWS 65536

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u16);
	__type(value, __u16);
} mapped_ports SEC(".maps"); /* original -> the sidecar's */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u16);
	__type(value, __u16);
} original_ports SEC(".maps"); /* the sidecar's -> original */

/* 0 once nothing new is to be taken, and what has been taken goes on. No constant, as whoever ends the map need not know
 * its ports. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} taking SEC(".maps");

static __always_inline int takes(void)
{
	__u32 first = 0, *value = bpf_map_lookup_elem(&taking, &first);

	/* Whose map this is, is looked for in the settings of the same program: so they must be used here. */
	return settings.netns && value && *value;
}

/* A connection as the sidecar's socket has it, seen from the client. */
struct flow {
	__be32 client[4], server[4];
	__be16 client_port, server_port;
};

/* Those that were dialled to the sidecar's own port. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS);
	__type(key, struct flow);
	__type(value, __u8);
} direct SEC(".maps");

/* The last SYN of those that were not, by its sequence number: the same packet passes again where one interface is on
 * top of another (bridges, VLANs, bonds). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS);
	__type(key, struct flow);
	__type(value, __be32);
} translated SEC(".maps");

/* Kept with the sidecar's accepted socket, so that `direct` may forget. */
enum { TRANSLATED = 1, DIRECT = 2 };
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} kinds SEC(".maps");

static __always_inline __u16 mapped_of(__u16 port)
{
	__u16 *found = bpf_map_lookup_elem(&mapped_ports, &port);

	return found ? *found : 0;
}

static __always_inline __u16 original_of(__u16 port)
{
	__u16 *found = bpf_map_lookup_elem(&original_ports, &port);

	return found ? *found : 0;
}

/* Two stores, not one by a computed pointer: without CAP_PERFMON the verifier forbids those. */
static __always_inline void set_dport(struct packet *p, __u16 port)
{
	if (p->v6) {
		p->tuple.ipv6.dport = bpf_htons(port);
		asm volatile("" ::: "memory");
	} else {
		p->tuple.ipv4.dport = bpf_htons(port);
	}
}

static __always_inline struct flow flow_of(const struct packet *p)
{
	struct flow flow = {};

	if (p->v6) {
		__builtin_memcpy(flow.client, p->tuple.ipv6.saddr, 16);
		__builtin_memcpy(flow.server, p->tuple.ipv6.daddr, 16);
		flow.client_port = p->tuple.ipv6.sport;
		flow.server_port = p->tuple.ipv6.dport;
	} else {
		flow.client[0] = p->tuple.ipv4.saddr;
		flow.server[0] = p->tuple.ipv4.daddr;
		flow.client_port = p->tuple.ipv4.sport;
		flow.server_port = p->tuple.ipv4.dport;
	}
	return flow;
}

static __always_inline int is_direct(const struct flow *flow)
{
	return bpf_map_lookup_elem(&direct, flow) != 0;
}

/* The packet turned round: what its receiver would send. */
static __always_inline struct packet answer_to(const struct packet *p)
{
	struct packet answer = *p;

	if (p->v6) {
		__builtin_memcpy(answer.tuple.ipv6.saddr, p->tuple.ipv6.daddr, 16);
		__builtin_memcpy(answer.tuple.ipv6.daddr, p->tuple.ipv6.saddr, 16);
		answer.tuple.ipv6.sport = p->tuple.ipv6.dport;
		answer.tuple.ipv6.dport = p->tuple.ipv6.sport;
		asm volatile("" ::: "memory");
	} else {
		answer.tuple.ipv4.saddr = p->tuple.ipv4.daddr;
		answer.tuple.ipv4.daddr = p->tuple.ipv4.saddr;
		answer.tuple.ipv4.sport = p->tuple.ipv4.dport;
		answer.tuple.ipv4.dport = p->tuple.ipv4.sport;
	}
	return answer;
}

/* True if somebody listens on this port: the sidecar, which listens on every address. */
static __always_inline int listens(void *context, __u8 v6, __u16 port)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	int found;

	if (v6) {
		t.ipv6.daddr[3] = bpf_htonl(1);
		t.ipv6.dport = bpf_htons(port);
		sk = bpf_sk_lookup_tcp(context, &t, sizeof(t.ipv6), NETNS, 0);
	} else {
		t.ipv4.daddr = bpf_htonl(0x7f000001);
		t.ipv4.dport = bpf_htons(port);
		sk = bpf_sk_lookup_tcp(context, &t, sizeof(t.ipv4), NETNS, 0);
	}
	if (!sk)
		return 0;
	found = sk->state == BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return found;
}

static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *p, __u32 at, __u16 from, __u16 to)
{
	__be16 before = bpf_htons(from), after = bpf_htons(to);

	/* The port and the checksum cancel out in a sum over the whole packet (CHECKSUM_COMPLETE). */
	if (bpf_l4_csum_replace(skb, p->l4 + offsetof(struct tcphdr, check), before, after, sizeof(after)) ||
	    bpf_skb_store_bytes(skb, p->l4 + at, &after, sizeof(after), 0))
		return TC_ACT_SHOT;
	return PASS;
}

static __always_inline int to_sidecar(struct __sk_buff *skb, const struct packet *p, __u16 mapped)
{
	return rewrite(skb, p, offsetof(struct tcphdr, dest), p->dport, mapped);
}

/* The last packet of a handshake by SYN cookie finds no socket but the listener; any other such packet is somebody
 * else's. The cookie was made for the sidecar's port. */
static __always_inline int answers_cookie(struct __sk_buff *skb, struct packet *mapped)
{
	union { struct iphdr v4; struct ipv6hdr v6; } ip;
	struct bpf_sock *sk;
	struct tcphdr tcp;
	long error;

	if ((mapped->flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK)
		return 0;
	if (bpf_skb_load_bytes(skb, mapped->l4, &tcp, sizeof(tcp)))
		return 0;
	tcp.dest = mapped->v6 ? mapped->tuple.ipv6.dport : mapped->tuple.ipv4.dport;
	sk = look_up(skb, &mapped->tuple, mapped->v6, IPPROTO_TCP);
	if (!sk)
		return 0;
	if (mapped->v6)
		error = bpf_skb_load_bytes(skb, mapped->l3, &ip.v6, sizeof(ip.v6)) ?:
			bpf_tcp_check_syncookie(sk, &ip.v6, sizeof(ip.v6), &tcp, sizeof(tcp));
	else
		error = bpf_skb_load_bytes(skb, mapped->l3, &ip.v4, sizeof(ip.v4)) ?:
			bpf_tcp_check_syncookie(sk, &ip.v4, sizeof(ip.v4), &tcp, sizeof(tcp));
	bpf_sk_release(sk);
	return !error;
}

static __always_inline int first_to_original(struct __sk_buff *skb, struct packet *p, struct packet *mapped, __u16 port)
{
	struct flow flow = flow_of(mapped);
	enum owner owner = owner_of(skb, mapped);

	if (owner == CONNECTION) {
		/* It is the same SYN again, unless somebody dialled the sidecar's port from this very port. */
		return is_direct(&flow) ? PASS : to_sidecar(skb, p, port);
	}
	if (!takes() || !is_for_us(skb, p) || owner_of(skb, p) == CONNECTION || !listens(skb, p->v6, port))
		return PASS;
	bpf_map_delete_elem(&direct, &flow);
	bpf_map_update_elem(&translated, &flow, &p->seq, BPF_ANY);
	return to_sidecar(skb, p, port);
}

static __always_inline int to_original(struct __sk_buff *skb, struct packet *p, __u16 port)
{
	struct packet mapped = *p;
	struct flow flow;

	set_dport(&mapped, port);
	if (is_first(p))
		return first_to_original(skb, p, &mapped, port);
	switch (owner_of(skb, &mapped)) {
	case CONNECTION:
		break;
	case TIME_WAIT:
		if (owner_of(skb, p) == CONNECTION)
			return PASS;
		break;
	case LISTENER:
		if (owner_of(skb, p) == CONNECTION || !answers_cookie(skb, &mapped))
			return PASS;
		break;
	default:
		return PASS;
	}
	flow = flow_of(&mapped);
	return is_direct(&flow) ? PASS : to_sidecar(skb, p, port);
}

/* A connection that somebody dials to the sidecar's own port. */
static __always_inline int note_direct(struct __sk_buff *skb, struct packet *p)
{
	struct flow flow = flow_of(p);
	__be32 *seq = bpf_map_lookup_elem(&translated, &flow);
	enum owner owner;
	__u8 yes = 1;

	if (seq && *seq == p->seq)
		return PASS;
	owner = owner_of(skb, p);
	if (owner == LISTENER || owner == TIME_WAIT)
		bpf_map_update_elem(&direct, &flow, &yes, BPF_ANY);
	return PASS;
}

static __always_inline int from_outside(struct __sk_buff *skb, __u32 l2)
{
	struct packet p;
	__u16 port;

	/* Of a frame that a bridge carries between others the FIB does not tell that it is not for this machine. */
	if (skb->pkt_type == PACKET_OTHERHOST || parse(skb, &p, l2) || p.protocol != IPPROTO_TCP)
		return PASS;
	port = mapped_of(p.dport);
	if (port)
		return to_original(skb, &p, port);
	if (is_first(&p) && original_of(p.dport))
		return note_direct(skb, &p);
	return PASS;
}

/* True if the answer's port is to be put right: what it answers came by the mapped port. */
static __always_inline int was_translated(struct __sk_buff *skb, struct packet *request)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct flow flow = flow_of(request);
	__u32 *kind;

	if (sk) {
		kind = bpf_sk_storage_get(&kinds, sk, 0, 0);
		if (kind)
			return *kind == TRANSLATED;
	}
	return !is_direct(&flow);
}

static __always_inline void keep_kind(struct __sk_buff *skb, int is_translated)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	__u32 kind = is_translated ? TRANSLATED : DIRECT;

	if (sk && sk->state == BPF_TCP_ESTABLISHED)
		bpf_sk_storage_get(&kinds, sk, &kind, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline int is_own(struct __sk_buff *skb)
{
	return skb->sk && (skb->mark == settings.own_mark || bpf_get_socket_uid(skb) == settings.proxy_uid);
}

/* What the kernel sends by itself: the end of TIME_WAIT, an answer by SYN cookie. Forwarded packets have come in. */
static __always_inline int is_of_kernel(struct __sk_buff *skb, struct packet *p, struct packet *request)
{
	enum owner owner;

	if (skb->ingress_ifindex)
		return 0;
	owner = owner_of(skb, request);
	return has_connection(owner) || (owner == LISTENER && (p->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK));
}

static __always_inline int to_outside(struct __sk_buff *skb, __u32 l2)
{
	struct packet p, request;
	int is_translated;
	__u16 port;

	if (parse(skb, &p, l2) || p.protocol != IPPROTO_TCP || is_first(&p))
		return PASS;
	port = original_of(p.sport);
	if (!port)
		return PASS;
	request = answer_to(&p);
	if (!is_own(skb)) {
		struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;

		/* Of another program, which has this port while no sidecar listens. The kernel's own sockets are raw. */
		if ((sk && sk->type == SOCK_STREAM) || !is_of_kernel(skb, &p, &request))
			return PASS;
	}
	is_translated = was_translated(skb, &request);
	keep_kind(skb, is_translated);
	if (!is_translated)
		return PASS;
	return rewrite(skb, &p, offsetof(struct tcphdr, source), p.sport, port);
}

SEC("classifier")
int weir_map_in(struct __sk_buff *skb)
{
	return from_outside(skb, ETH_HLEN);
}

SEC("classifier")
int weir_map_in_l3(struct __sk_buff *skb)
{
	return from_outside(skb, 0);
}

SEC("classifier")
int weir_map_out(struct __sk_buff *skb)
{
	return to_outside(skb, ETH_HLEN);
}

SEC("classifier")
int weir_map_out_l3(struct __sk_buff *skb)
{
	return to_outside(skb, 0);
}

#include "local_clients.h"

/* Several of the helpers are for programs under this licence alone; it is that of these programs, by the kernel's rule. */
char _license[] SEC("license") = "Dual BSD/GPL";
