/* From a packet to its addresses, ports and flags.
 *
 * Headers are copied by bpf_skb_load_bytes, which finds them wherever the driver has put them (GRO, GSO and frames
 * whose headers are not in the linear part). Passed on purpose, by "not parsed": fragments (TCP does not send them, and
 * a later one has no ports), tagged frames (the VLAN's own interface has these programs too, and there the tag is
 * gone) and everything that is neither TCP nor UDP. */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_FRAGMENT 0x3fff   /* more fragments, or an offset */
#define VLAN_ID 0x0fff
#define EXTENSION_HEADERS 6  /* IPv6 headers between the first and TCP: more than any sender uses */

enum { TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

struct packet {
	struct bpf_sock_tuple tuple;
	__u32 l3;          /* offset of the IP header */
	__u32 l4;          /* offset of the TCP or UDP header */
	__be32 seq;        /* TCP only */
	__u16 sport, dport;
	__u8 v6, protocol;
	__u8 flags;        /* TCP only */
	__u8 tcp_header;   /* its length in bytes, TCP only */
};

static __always_inline int parse_v4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, p->l3, &ip, sizeof(ip)))
		return -1;
	if (ip.ihl < 5 || ip.frag_off & bpf_htons(IP_FRAGMENT))
		return -1;
	p->protocol = ip.protocol;
	p->l4 = p->l3 + ip.ihl * 4;
	p->tuple.ipv4.saddr = ip.saddr;
	p->tuple.ipv4.daddr = ip.daddr;
	return 0;
}

static __always_inline int parse_v6(struct __sk_buff *skb, struct packet *p)
{
	struct { __u8 next, length; } extension;
	struct ipv6hdr ip;
	int i;

	if (bpf_skb_load_bytes(skb, p->l3, &ip, sizeof(ip)))
		return -1;
	p->v6 = 1;
	p->protocol = ip.nexthdr;
	p->l4 = p->l3 + sizeof(ip);
	__builtin_memcpy(p->tuple.ipv6.saddr, &ip.saddr, 16);
	__builtin_memcpy(p->tuple.ipv6.daddr, &ip.daddr, 16);
	for (i = 0; i < EXTENSION_HEADERS; i++) {
		if (p->protocol != IPPROTO_HOPOPTS && p->protocol != IPPROTO_ROUTING && p->protocol != IPPROTO_DSTOPTS)
			break;
		if (bpf_skb_load_bytes(skb, p->l4, &extension, sizeof(extension)))
			return -1;
		p->protocol = extension.next;
		p->l4 += (extension.length + 1) * 8;
	}
	return 0;
}

/* 0 for an unfragmented TCP or UDP packet. `l2` is the length of the interface's own header, 0 where it has none. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p, __u32 l2)
{
	struct { __be16 sport, dport; __be32 seq, ack; __u8 offset, flags; } tcp;
	int failed;

	__builtin_memset(p, 0, sizeof(*p));
	p->l3 = l2;
	if (skb->vlan_present && skb->vlan_tci & VLAN_ID)
		return -1;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		failed = parse_v4(skb, p);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		failed = parse_v6(skb, p);
	else
		return -1;
	if (failed)
		return -1;
	if (p->protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, p->l4, &tcp, 14))
			return -1;
		p->seq = tcp.seq;
		p->flags = tcp.flags;
		p->tcp_header = (tcp.offset >> 4) * 4;
	} else if (p->protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, p->l4, &tcp, 4))
			return -1;
	} else {
		return -1;
	}
	p->sport = bpf_ntohs(tcp.sport);
	p->dport = bpf_ntohs(tcp.dport);
	if (p->v6) {
		p->tuple.ipv6.sport = tcp.sport;
		p->tuple.ipv6.dport = tcp.dport;
	} else {
		p->tuple.ipv4.sport = tcp.sport;
		p->tuple.ipv4.dport = tcp.dport;
	}
	return 0;
}

static __always_inline int is_first(const struct packet *p)
{
	return (p->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

static __always_inline int same_v6(const __be32 *a, const volatile __be32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* fe80::/10: such an address means nothing without its interface, which a redirect loses. */
static __always_inline int to_link_local(const struct packet *p)
{
	return p->v6 && (p->tuple.ipv6.daddr[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline int to_itself(const struct packet *p)
{
	if (p->v6)
		return same_v6(p->tuple.ipv6.saddr, p->tuple.ipv6.daddr);
	return p->tuple.ipv4.saddr == p->tuple.ipv4.daddr;
}

static __always_inline int to_loopback(const struct packet *p)
{
	if (p->v6)
		return !p->tuple.ipv6.daddr[0] && !p->tuple.ipv6.daddr[1] && !p->tuple.ipv6.daddr[2] &&
		       p->tuple.ipv6.daddr[3] == bpf_htonl(1);
	return (p->tuple.ipv4.daddr & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

/* 127.0.0.1 or ::1. */
static __always_inline int is_loopback_address(const struct packet *p)
{
	return p->v6 ? to_loopback(p) : p->tuple.ipv4.daddr == bpf_htonl(0x7f000001);
}
