/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who sends how much: TCP and UDP packets that an interface receives, counted by their source's address.
 *
 * There are two sets of counters, and `active` says which one is written. User space reads the other: it turns `active`,
 * waits until every program that may have seen it as it was has ended, and reads and clears what is idle then. So every
 * packet is counted in exactly one interval. Sources that find no room in the table, or are pushed out of it, are in the
 * totals all the same.
 *
 * Nothing is done to the packet. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SOURCES 16384
#define WORDS 1024           /* of 64 bits: a set of ports */
#define VLAN_ID 0x0fff
#define OFFSET_V4 0x1fff     /* where a fragment belongs */
#define OFFSET_V6 0xfff8
#define EXTENSION_HEADERS 6  /* IPv6 headers between the first and TCP: more than any sender uses */
#define IPPROTO_FRAGMENT_V6 44

struct settings {
	__u32 all_ports; /* `ports` is not asked */
};

const volatile struct settings settings = {};

struct source {
	__be32 address[4]; /* IPv4: the first, and the others 0 */
	__u8 v6, protocol;
	__u16 zero;
};

struct count {
	__u64 packets, bytes;
};

#define COUNTERS(name) \
	struct { \
		__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH); \
		__uint(max_entries, SOURCES); \
		__type(key, struct source); \
		__type(value, struct count); \
	} name SEC(".maps")

COUNTERS(sources_0);
COUNTERS(sources_1);

/* Of both sets: everything that was counted, and fragments without the header that tells their port. */
enum { TOTAL, FRAGMENTS, KINDS };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * KINDS);
	__type(key, __u32);
	__type(value, struct count);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} active SEC(".maps");

/* Destination ports, one bit a port. A map and no constant: without CAP_PERFMON the verifier allows no arithmetic on
 * pointers that depends on the packet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WORDS);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

struct packet {
	struct source source;
	__u32 length; /* from the IP header on */
	__u32 l4;     /* offset of what follows the IP headers, from the first of them on */
	__u8 headless; /* a fragment but the first */
};

/* From the IP header on, wherever that is. */
static __always_inline long load(struct __sk_buff *skb, __u32 at, void *to, __u32 length)
{
	return bpf_skb_load_bytes_relative(skb, at, to, length, BPF_HDR_START_NET);
}

/* What segments that were merged to more than 64 KiB have no room to say in their header (BIG TCP). */
static __always_inline __u32 without_ethernet(struct __sk_buff *skb)
{
	return skb->len > ETH_HLEN ? skb->len - ETH_HLEN : skb->len;
}

static __always_inline int parse_v4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr ip;

	if (load(skb, 0, &ip, sizeof(ip)) || ip.ihl < 5)
		return -1;
	p->source.address[0] = ip.saddr;
	p->source.protocol = ip.protocol;
	p->length = ip.tot_len ? bpf_ntohs(ip.tot_len) : without_ethernet(skb);
	p->l4 = ip.ihl * 4;
	p->headless = (ip.frag_off & bpf_htons(OFFSET_V4)) != 0;
	return 0;
}

static __always_inline int parse_v6(struct __sk_buff *skb, struct packet *p)
{
	struct { __u8 next, length; __be16 fragment; } extension;
	struct ipv6hdr ip;
	int i;

	if (load(skb, 0, &ip, sizeof(ip)))
		return -1;
	__builtin_memcpy(p->source.address, &ip.saddr, 16);
	p->source.v6 = 1;
	p->source.protocol = ip.nexthdr;
	p->length = ip.payload_len ? sizeof(ip) + bpf_ntohs(ip.payload_len) : without_ethernet(skb);
	p->l4 = sizeof(ip);
	for (i = 0; i < EXTENSION_HEADERS && !p->headless; i++) {
		__u8 type = p->source.protocol;

		if (type != IPPROTO_HOPOPTS && type != IPPROTO_ROUTING && type != IPPROTO_DSTOPTS &&
		    type != IPPROTO_FRAGMENT_V6)
			break;
		if (load(skb, p->l4, &extension, sizeof(extension)))
			return -1;
		p->source.protocol = extension.next;
		if (type == IPPROTO_FRAGMENT_V6) {
			p->headless = (extension.fragment & bpf_htons(OFFSET_V6)) != 0;
			p->l4 += 8;
		} else {
			p->l4 += (extension.length + 1) * 8;
		}
	}
	return 0;
}

static __always_inline int parse(struct __sk_buff *skb, struct packet *p)
{
	__builtin_memset(p, 0, sizeof(*p));
	/* A tagged packet comes again, without its tag, by the VLAN's own interface; others are for somebody else. */
	if ((skb->vlan_present && skb->vlan_tci & VLAN_ID) || skb->pkt_type == PACKET_OTHERHOST)
		return -1;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse_v4(skb, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return parse_v6(skb, p);
	return -1;
}

static __always_inline int is_wanted(struct __sk_buff *skb, const struct packet *p)
{
	__be16 port;
	__u64 *word;
	__u32 index;

	if (settings.all_ports)
		return 1;
	if (load(skb, p->l4 + 2, &port, sizeof(port)))
		return 0;
	port = bpf_ntohs(port);
	index = port >> 6;
	word = bpf_map_lookup_elem(&ports, &index);
	return word && *word >> (port & 63) & 1;
}

static __always_inline void add(struct count *count, const struct packet *p)
{
	if (count) {
		count->packets++;
		count->bytes += p->length;
	}
}

static __always_inline void add_total(__u32 slot, __u32 kind, const struct packet *p)
{
	__u32 index = slot * KINDS + kind;

	add(bpf_map_lookup_elem(&totals, &index), p);
}

static __always_inline void add_source(void *sources, const struct packet *p)
{
	struct count *count = bpf_map_lookup_elem(sources, &p->source);
	struct count none = {};

	if (!count) {
		/* Another processor may have been faster, which is as good. */
		bpf_map_update_elem(sources, &p->source, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(sources, &p->source);
	}
	add(count, p);
}

SEC("classifier")
int weirtop_sources(struct __sk_buff *skb)
{
	__u32 first = 0, *active_slot = bpf_map_lookup_elem(&active, &first), slot;
	struct packet p;

	if (!active_slot || parse(skb, &p))
		return TC_ACT_UNSPEC;
	if (p.source.protocol != IPPROTO_TCP && p.source.protocol != IPPROTO_UDP)
		return TC_ACT_UNSPEC;
	/* Asked once: it may be turned at any time. */
	slot = *(volatile __u32 *)active_slot & 1;
	if (p.headless && !settings.all_ports) {
		add_total(slot, FRAGMENTS, &p);
		return TC_ACT_UNSPEC;
	}
	if (!is_wanted(skb, &p))
		return TC_ACT_UNSPEC;
	add_total(slot, TOTAL, &p);
	if (slot)
		add_source(&sources_1, &p);
	else
		add_source(&sources_0, &p);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual BSD/GPL";
