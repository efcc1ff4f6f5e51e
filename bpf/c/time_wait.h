/* A new connection whose addresses and ports are those of one in TIME_WAIT.
 *
 * The stack ends TIME_WAIT for such a SYN (RFC 6191) and looks its listener up anew. After bpf_sk_assign it does not:
 * the SYN is dropped in silence. So the SYN is queued once more behind itself, with another mark, and this packet is
 * made into the RST that ends TIME_WAIT. The decision is the stack's own (tcp_timewait_state_process in
 * net/ipv4/tcp_minisocks.c): a later sequence number or a later timestamp.
 *
 * Reading the ended connection's numbers needs CAP_PERFMON. Built without it (WEIR_READ_KERNEL 0), such a SYN passes
 * and the application's own listener takes it: served, but not seen. */
#pragma once
#include "proxy.h"

#if WEIR_READ_KERNEL
struct sock_common___weir {
	__u32 skc_tw_rcv_nxt;
} __attribute__((preserve_access_index));

struct inet_timewait_sock___weir {
	struct sock_common___weir __tw_common;
} __attribute__((preserve_access_index));

struct tcp_timewait_sock {
	struct inet_timewait_sock___weir tw_sk;
	__u32 tw_ts_recent;
} __attribute__((preserve_access_index));

struct ended {
	__u32 next;       /* the sequence number expected next */
	__u32 timestamp;  /* the last one seen, 0 for none */
};

static __always_inline int read_ended(struct __sk_buff *skb, struct packet *p, struct ended *ended)
{
	struct bpf_sock *sk = look_up(skb, &p->tuple, p->v6, IPPROTO_TCP);
	struct tcp_timewait_sock *tw;
	int found = 0;

	if (!sk)
		return 0;
	tw = bpf_skc_to_tcp_timewait_sock(sk);
	if (tw) {
		ended->next = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
		ended->timestamp = tw->tw_ts_recent;
		found = 1;
	}
	bpf_sk_release(sk);
	return found;
}

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_TIMESTAMPS = 8, OPTIONS = 20 };

/* The packet's timestamp, 0 for none. */
static __always_inline __u32 timestamp_of(struct __sk_buff *skb, const struct packet *p)
{
	struct { __u8 kind, length; } option;
	__u32 at = p->l4 + sizeof(struct tcphdr);
	__u32 end = p->l4 + p->tcp_header;
	__be32 value;
	int i;

	for (i = 0; i < OPTIONS && at + 2 <= end; i++) {
		if (bpf_skb_load_bytes(skb, at, &option, sizeof(option)) || option.kind == OPTION_END)
			return 0;
		if (option.kind == OPTION_NOP) {
			at++;
			continue;
		}
		if (option.kind == OPTION_TIMESTAMPS)
			return bpf_skb_load_bytes(skb, at + 2, &value, sizeof(value)) ? 0 : bpf_ntohl(value);
		if (option.length < 2)
			return 0;
		at += option.length;
	}
	return 0;
}

static __always_inline int may_follow(struct __sk_buff *skb, const struct packet *p, const struct ended *ended)
{
	__u32 timestamp = ended->timestamp ? timestamp_of(skb, p) : 0;

	if (timestamp && (__s32)(ended->timestamp - timestamp) > 0)
		return 0;
	if ((__s32)(bpf_ntohl(p->seq) - ended->next) > 0)
		return 1;
	return timestamp && (__s32)(ended->timestamp - timestamp) < 0;
}

static __always_inline int into_reset(struct __sk_buff *skb, const struct packet *p, __u32 next)
{
	__u32 checksum = p->l4 + offsetof(struct tcphdr, check);
	__be32 seq = bpf_htonl(next);
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, p->l4 + 12, &before, sizeof(before)))
		return -1;
	after = (before & bpf_htons(0xff00)) | bpf_htons(TCP_RST);
	if (bpf_l4_csum_replace(skb, checksum, p->seq, seq, sizeof(seq)) ||
	    bpf_l4_csum_replace(skb, checksum, before, after, sizeof(after)))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4 + offsetof(struct tcphdr, seq), &seq, sizeof(seq), 0) ||
	       bpf_skb_store_bytes(skb, p->l4 + 12, &after, sizeof(after), 0);
}
#endif

/* `mark` is what the packet carries when it is not tried again, `retry` when it is. */
static __always_inline int reuse(struct __sk_buff *skb, struct packet *p, __u32 mark, __u32 retry)
{
#if WEIR_READ_KERNEL
	struct ended ended = {};

	if (skb->mark != retry && read_ended(skb, p, &ended) && may_follow(skb, p, &ended)) {
		skb->mark = retry;
		if (!bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS)) {
			skb->mark = mark;
			count(COUNT_TIME_WAIT);
			return into_reset(skb, p, ended.next) ? TC_ACT_SHOT : PASS;
		}
	}
#else
	(void)p;
	(void)retry;
#endif
	skb->mark = mark;
	count(COUNT_UNSEEN);
	return PASS;
}
