/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Interception of one network namespace without NAT: TC programs that assign packets to the sidecar's sockets.
 *
 *   interface ingress   a new connection to a port that the application listens on   -> the inbound listener
 *   interface egress    a new connection of the application, a DNS query             -> lo, marked
 *                       replies to a client whose address the sidecar has borrowed   -> lo, marked
 *   lo ingress          what is marked                                               -> the outbound or DNS listener
 *   lo egress           DNS to a local resolver, the sidecar's calls to this namespace's own address; DNS answers
 *
 * The packet keeps its addresses, so the sidecar reads the original destination by getsockname(2), the application sees
 * the client's own address, and nothing is tracked.
 */
#include "packet.h"
#include "proxy.h"
#include "settings.h"
#include "sockets.h"
#include "time_wait.h"

#define LOOPBACK 1 /* the ifindex of lo in every namespace (LOOPBACK_IFINDEX) */
#define DNS 53
/* include/linux/socket.h, include/linux/net.h */
#define AF_INET 2
#define AF_INET6 10
#define SOCK_RAW 3

/* What was decided for a connection of the application's own, kept with its socket. */
enum { DIVERTED = 1, LEFT_ALONE = 2 };
struct fate {
	__u32 decision;
	__be32 seq;      /* of its SYN: the same again is a retransmission */
	__u32 interface; /* that the SYN was leaving by, */
	__u32 mark;      /* and with which mark */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct fate);
} fates SEC(".maps");

/* Networks that are named in the configuration; the longest match says which lists it is in. */
enum { NETWORK_INCLUDED = 1, NETWORK_EXCLUDED = 2 };
struct network_v4 { __u32 length; __be32 address; };
struct network_v6 { __u32 length; __be32 address[4]; };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct network_v4);
	__type(value, __u32);
} networks_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct network_v6);
	__type(value, __u32);
} networks_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PORT_SETS * WORDS);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

static __always_inline int listed(enum port_set set, __u16 port)
{
	__u32 word = set * WORDS + (port >> 6);
	__u64 *bits = bpf_map_lookup_elem(&ports, &word);

	return bits && *bits >> (port & 63) & 1;
}

static __always_inline __u32 network_of(const struct packet *p)
{
	struct network_v4 v4;
	struct network_v6 v6;
	__u32 *found;

	if (!settings.networks)
		return 0;
	if (p->v6) {
		v6.length = 128;
		__builtin_memcpy(v6.address, p->tuple.ipv6.daddr, 16);
		found = bpf_map_lookup_elem(&networks_v6, &v6);
	} else {
		v4.length = 32;
		v4.address = p->tuple.ipv4.daddr;
		found = bpf_map_lookup_elem(&networks_v4, &v4);
	}
	return found ? *found : 0;
}

static __always_inline int is_probe(const struct packet *p, __be32 v4, const volatile __be32 *v6)
{
	if (p->dport != settings.probe_port || p->protocol != IPPROTO_TCP)
		return 0;
	return p->v6 ? same_v6(p->tuple.ipv6.daddr, v6) : p->tuple.ipv4.daddr == v4;
}

static __always_inline int is_dns(const struct packet *p)
{
	return settings.dns && p->dport == DNS && !listed(EXCLUDED_PORTS, DNS);
}

static __always_inline int is_own(struct __sk_buff *skb)
{
	return skb->mark == settings.mark + MARK_OWN || bpf_get_socket_uid(skb) == settings.proxy_uid;
}

/* True for a destination of an application's new connection, or query, that the configuration redirects. */
static __always_inline int is_wanted(const struct packet *p)
{
	__u32 network;

	if (is_probe(p, settings.probe_out_v4, settings.probe_out_v6))
		return 1;
	if (to_link_local(p) || listed(EXCLUDED_PORTS, p->dport))
		return 0;
	if (is_dns(p))
		return 1;
	if (p->protocol != IPPROTO_TCP)
		return 0;
	network = network_of(p);
	if (network & NETWORK_EXCLUDED)
		return 0;
	return listed(OUTBOUND_PORTS, p->dport) || settings.all_outbound || network & NETWORK_INCLUDED;
}

/* Probes are answered on their own port where there is no sidecar, so that nobody else's connection goes there. */
static __always_inline __u16 probe_port(struct __sk_buff *skb, const struct packet *p, __u16 port)
{
	return sidecar_listens(skb, p, port) ? port : settings.probe_port;
}

/* The sidecar's port for what an application sends. */
static __always_inline __u16 listener_port(struct __sk_buff *skb, const struct packet *p)
{
	if (is_probe(p, settings.probe_out_v4, settings.probe_out_v6))
		return probe_port(skb, p, settings.outbound_port);
	return is_dns(p) ? settings.dns_port : settings.outbound_port;
}

/* True for a packet of a connection that came by NAT, as in the mode that was in force before: its socket has the
 * sidecar's port, and the stack will find it. */
static __always_inline int came_by_nat(struct __sk_buff *skb, const struct packet *p)
{
	struct packet translated = *p;

	if (p->v6) {
		translated.tuple.ipv6.dport = bpf_htons(settings.inbound_port);
		/* Two stores, not one by a computed pointer: without CAP_PERFMON the verifier forbids those. */
		asm volatile("" ::: "memory");
	} else {
		translated.tuple.ipv4.dport = bpf_htons(settings.inbound_port);
	}
	return has_connection(owner_of(skb, &translated));
}

static __always_inline int from_outside(struct __sk_buff *skb, __u32 l2)
{
	__u32 retry = settings.mark + MARK_RETRY_INBOUND;
	struct packet p;

	if (skb->pkt_type == PACKET_OTHERHOST || parse(skb, &p, l2) || p.protocol != IPPROTO_TCP)
		return PASS;
	if (!listed(INBOUND_PORTS, p.dport) || to_link_local(&p))
		return PASS;
	switch (owner_of(skb, &p)) {
	case LISTENER:
		if (skb->mark == retry)
			skb->mark = 0;
		if (!is_for_us(skb, &p) || (!is_first(&p) && came_by_nat(skb, &p)))
			return PASS;
		/* Also what is no SYN: the last packet of a handshake by SYN cookie finds no socket but the listener. */
		return assign(skb, &p, settings.inbound_port, COUNT_INBOUND,
			      settings.hold && is_first(&p) ? TC_ACT_SHOT : PASS);
	case TIME_WAIT:
		if (is_first(&p) && (settings.hold || sidecar_listens(skb, &p, settings.inbound_port)))
			return reuse(skb, &p, 0, retry);
		return PASS;
	default:
		return PASS;
	}
}

/* To lo's ingress, where the mark tells what it is. An interface without a header of its own gives the packet one. */
static __always_inline int divert(struct __sk_buff *skb, __u32 l2)
{
	__be16 protocol = skb->protocol;

	if (!l2) {
		if (bpf_skb_change_head(skb, ETH_HLEN, 0) ||
		    bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol), 0))
			return TC_ACT_SHOT;
	}
	skb->mark = settings.mark + MARK_DIVERTED;
	count(COUNT_DIVERTED);
	return bpf_redirect(LOOPBACK, BPF_F_INGRESS);
}

/* True if this SYN of an application's socket is for the sidecar; what is decided holds for all of the connection. */
static __always_inline int decide(struct __sk_buff *skb, struct packet *p, struct bpf_sock *sk)
{
	struct fate *fate = bpf_sk_storage_get(&fates, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	/* Without memory for it the connection can't be followed, so it is left alone from the start. */
	if (!fate)
		return 0;
	if (fate->seq == p->seq) {
		/* The server may have answered already what went straight to it. */
		if (fate->decision == LEFT_ALONE)
			return 0;
		/* On lo nothing gets lost: the sidecar's listener has not taken the SYN for a second, and the server may. */
		if (fate->decision == DIVERTED && !settings.hold) {
			fate->decision = LEFT_ALONE;
			count(COUNT_GIVEN_BACK);
			return 0;
		}
	}
	fate->seq = p->seq;
	fate->interface = skb->ifindex;
	fate->mark = skb->mark;
	fate->decision = LEFT_ALONE;
	if (!is_wanted(p) || !(settings.hold || sidecar_listens(skb, p, listener_port(skb, p))))
		return 0;
	if (!settings.hold && is_unreached(skb, p)) {
		count(COUNT_UNREACHED);
		return 0;
	}
	fate->decision = DIVERTED;
	return 1;
}

static __always_inline int was_diverted(struct bpf_sock *sk)
{
	struct fate *fate = bpf_sk_storage_get(&fates, sk, 0, 0);

	return fate && fate->decision == DIVERTED;
}

/* The sending socket, if it is one of an application's connection. The frames of a tun device carry the device's own
 * socket, and a raw or packet socket sends packets of any number of connections. */
static __always_inline int is_of_one_flow(const struct bpf_sock *sk)
{
	return (sk->family == AF_INET || sk->family == AF_INET6) && sk->type != SOCK_RAW;
}

/* True if the far end of this packet is a socket of this namespace: the sidecar's, which has borrowed an address. */
static __always_inline int is_for_borrower(struct __sk_buff *skb, struct packet *p)
{
	return has_connection(owner_of(skb, p));
}

static __always_inline int to_outside(struct __sk_buff *skb, __u32 l2)
{
	struct bpf_sock *sk = skb->sk;
	struct fate *fate;
	struct packet p;

	if (is_own(skb) || parse(skb, &p, l2))
		return PASS;
	/* Without a socket it is forwarded, or it answers a SYN by cookie. */
	if (!sk)
		return p.flags == (TCP_SYN | TCP_ACK) && is_for_borrower(skb, &p) ? divert(skb, l2) : PASS;
	sk = bpf_sk_fullsock(sk);
	if (sk && !is_of_one_flow(sk))
		return PASS;
	if (p.protocol == IPPROTO_UDP) {
		if (is_wanted(&p) && (settings.hold || sidecar_listens(skb, &p, settings.dns_port)))
			return divert(skb, l2);
		return PASS;
	}
	if (sk && is_first(&p))
		return decide(skb, &p, sk) ? divert(skb, l2) : PASS;
	fate = sk ? bpf_sk_storage_get(&fates, sk, 0, 0) : 0;
	/* A connection of the application's own goes the way of its SYN. What an earlier sidecar left in TIME_WAIT with the
	 * same addresses is no reason to leave that way. */
	if (fate)
		return fate->decision == DIVERTED ? divert(skb, l2) : PASS;
	return is_for_borrower(skb, &p) ? divert(skb, l2) : PASS;
}

/* The sidecar can't have this SYN after all: it leaves as if it had not been diverted. */
static __always_inline int give_back(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple t = {};
	struct fate *fate = 0;
	struct bpf_sock *sk;

	if (p->v6) {
		__builtin_memcpy(t.ipv6.saddr, p->tuple.ipv6.daddr, 16);
		__builtin_memcpy(t.ipv6.daddr, p->tuple.ipv6.saddr, 16);
		t.ipv6.sport = p->tuple.ipv6.dport;
		t.ipv6.dport = p->tuple.ipv6.sport;
		sk = bpf_sk_lookup_tcp(skb, &t, sizeof(t.ipv6), NETNS, 0);
	} else {
		t.ipv4.saddr = p->tuple.ipv4.daddr;
		t.ipv4.daddr = p->tuple.ipv4.saddr;
		t.ipv4.sport = p->tuple.ipv4.dport;
		t.ipv4.dport = p->tuple.ipv4.sport;
		sk = bpf_sk_lookup_tcp(skb, &t, sizeof(t.ipv4), NETNS, 0);
	}
	if (!sk)
		return TC_ACT_SHOT;
	fate = bpf_sk_storage_get(&fates, sk, 0, 0);
	bpf_sk_release(sk);
	/* Not found (a socket that is bound to its interface): its next SYN goes straight to the server. */
	if (!fate || fate->seq != p->seq)
		return TC_ACT_SHOT;
	fate->decision = LEFT_ALONE;
	skb->mark = fate->mark;
	count(COUNT_GIVEN_BACK);
	return bpf_redirect(fate->interface, 0);
}

static __always_inline int to_listener(struct __sk_buff *skb, struct packet *p, __u32 kind, __u16 port, __u32 counter)
{
	enum owner owner = p->protocol == IPPROTO_UDP ? NOBODY : owner_of(skb, p);
	__u32 mark = settings.mark + kind;

	if (owner == TIME_WAIT && is_first(p))
		return reuse(skb, p, mark, mark + MARK_RETRY_DIVERTED);
	skb->mark = mark;
	if (has_connection(owner))
		return PASS;
	if (assign(skb, p, port, counter, TC_ACT_SHOT) == PASS)
		return PASS;
	return kind == MARK_DIVERTED && is_first(p) && !settings.hold ? give_back(skb, p) : TC_ACT_SHOT;
}

SEC("classifier")
int weir_ingress(struct __sk_buff *skb)
{
	return from_outside(skb, ETH_HLEN);
}

SEC("classifier")
int weir_ingress_l3(struct __sk_buff *skb)
{
	return from_outside(skb, 0);
}

SEC("classifier")
int weir_egress(struct __sk_buff *skb)
{
	return to_outside(skb, ETH_HLEN);
}

SEC("classifier")
int weir_egress_l3(struct __sk_buff *skb)
{
	return to_outside(skb, 0);
}

SEC("classifier")
int weir_lo_ingress(struct __sk_buff *skb)
{
	__u32 kind = skb->mark - settings.mark;
	struct packet p;

	if (kind == MARK_RETRY_DIVERTED || kind == MARK_RETRY_SELF)
		kind -= MARK_RETRY_DIVERTED;
	if (kind != MARK_DIVERTED && kind != MARK_SELF)
		return PASS;
	/* It was sent to another machine's hardware address. */
	bpf_skb_change_type(skb, PACKET_HOST);
	if (parse(skb, &p, ETH_HLEN))
		return PASS;
	if (kind == MARK_DIVERTED)
		return to_listener(skb, &p, MARK_DIVERTED, listener_port(skb, &p),
				   is_dns(&p) ? COUNT_DNS : COUNT_OUTBOUND);
	if (is_probe(&p, settings.probe_in_v4, settings.probe_in_v6))
		return to_listener(skb, &p, MARK_SELF, probe_port(skb, &p, settings.inbound_port), COUNT_SELF);
	return to_listener(skb, &p, MARK_SELF, settings.inbound_port, COUNT_SELF);
}

/* The sidecar's answers come from its own port, as it may not bind to 53: put right here, on their way to the asker. */
static __always_inline int restore_port(struct __sk_buff *skb, const struct packet *p)
{
	__be16 from = bpf_htons(settings.dns_port), to = bpf_htons(DNS);

	if (bpf_l4_csum_replace(skb, p->l4 + offsetof(struct udphdr, check), from, to,
				sizeof(to) | BPF_F_MARK_MANGLED_0) ||
	    bpf_skb_store_bytes(skb, p->l4, &to, sizeof(to), 0))
		return TC_ACT_SHOT;
	return PASS;
}

static __always_inline int own_to_lo(struct __sk_buff *skb, struct packet *p)
{
	if (p->protocol == IPPROTO_UDP)
		return settings.dns && p->sport == settings.dns_port ? restore_port(skb, p) : PASS;
	if (is_probe(p, settings.probe_in_v4, settings.probe_in_v6)) {
		skb->mark = settings.mark + MARK_SELF;
		return PASS;
	}
	/* A call to a service that turned out to be this very namespace: seen once as outbound, and here as inbound. The
	 * sidecar's dials to the application come from addresses that are not this namespace's. */
	if (to_itself(p) && !to_loopback(p) && !to_link_local(p) && listed(INBOUND_PORTS, p->dport) &&
	    sidecar_listens(skb, p, settings.inbound_port))
		skb->mark = settings.mark + MARK_SELF;
	return PASS;
}

/* What an application sends to this machine is redirected only to a resolver, or where the configuration names a loopback
 * network; then, too, never to the loopback address itself. */
static __always_inline int application_to_lo(struct __sk_buff *skb, struct packet *p, struct bpf_sock *sk)
{
	__u32 diverted = settings.mark + MARK_DIVERTED;

	if (is_dns(p)) {
		if (settings.hold || sidecar_listens(skb, p, settings.dns_port))
			skb->mark = diverted;
		return PASS;
	}
	if (!(p->v6 ? settings.local_v6 : settings.local_v4) || p->protocol != IPPROTO_TCP || is_loopback_address(p))
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk || !is_of_one_flow(sk))
		return PASS;
	if (is_first(p) ? decide(skb, p, sk) : was_diverted(sk))
		skb->mark = diverted;
	return PASS;
}

SEC("classifier")
int weir_lo_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct packet p;

	if (!sk)
		return PASS;
	if (is_own(skb))
		return parse(skb, &p, ETH_HLEN) ? PASS : own_to_lo(skb, &p);
	if (!(settings.dns || settings.local_v4 || settings.local_v6) || parse(skb, &p, ETH_HLEN))
		return PASS;
	return application_to_lo(skb, &p, sk);
}

/* Several of the helpers are for programs under this licence alone; it is that of these programs, by the kernel's rule. */
char _license[] SEC("license") = "Dual BSD/GPL";
