/* This machine's own clients: their connect(2) goes to the sidecar's port, so that no rule of NAT for local connections
 * comes before it, and nothing is rewritten on the way. Run for every process below the control group that they are
 * attached to; other network namespaces are left alone.
 *
 * There is no asking for routes here. Whether an address that is not loopback is this machine's is tried by binding the
 * client's socket to it: that is the address which the kernel chooses for such a connection anyway. Where sockets may
 * bind to any address (net.ipv4.ip_nonlocal_bind) that tells nothing, and such a connection is left alone; so it is where
 * that setting can't be read (no CAP_PERFMON). */
#pragma once

/* Kept with a local client's socket: the port that it dialled. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} dialled SEC(".maps");

#if WEIR_READ_KERNEL
struct netns_ipv4___weir {
	__u8 sysctl_ip_nonlocal_bind;
} __attribute__((preserve_access_index));

struct netns_sysctl_ipv6___weir {
	__u8 ip_nonlocal_bind;
} __attribute__((preserve_access_index));

struct netns_ipv6___weir {
	struct netns_sysctl_ipv6___weir sysctl;
} __attribute__((preserve_access_index));

struct net___weir {
	struct netns_ipv4___weir ipv4;
	struct netns_ipv6___weir ipv6;
} __attribute__((preserve_access_index));

struct possible_net___weir {
	struct net___weir *net;
} __attribute__((preserve_access_index));

struct sock_common___local {
	struct possible_net___weir skc_net;
} __attribute__((preserve_access_index));

struct sock___weir {
	struct sock_common___local __sk_common;
} __attribute__((preserve_access_index));

struct inet_sock___weir {
	struct sock___weir sk;
} __attribute__((preserve_access_index));

struct inet_connection_sock___weir {
	struct inet_sock___weir icsk_inet;
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock___weir inet_conn;
} __attribute__((preserve_access_index));
#endif

/* True if a socket can bind to this machine's addresses alone. */
static __always_inline int binding_tells(struct bpf_sock_addr *ctx)
{
#if WEIR_READ_KERNEL
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tcp = sk ? bpf_skc_to_tcp_sock(sk) : 0;
	struct net___weir *net;

	if (!tcp)
		return 0;
	net = tcp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net;
	return !net->ipv4.sysctl_ip_nonlocal_bind && !net->ipv6.sysctl.ip_nonlocal_bind;
#else
	(void)ctx;
	return 0;
#endif
}

/* The sidecar's port for this connect(2), 0 for none. */
static __always_inline __u16 port_for(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !takes())
		return 0;
	if (!sk || sk->mark == settings.own_mark || (__u32)bpf_get_current_uid_gid() == settings.proxy_uid)
		return 0;
	if (bpf_get_netns_cookie(ctx) != settings.netns)
		return 0;
	return mapped_of(bpf_ntohs(ctx->user_port));
}

static __always_inline int dial_sidecar(struct bpf_sock_addr *ctx, __u16 port)
{
	__u32 original = bpf_ntohs(ctx->user_port), *kept;
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 1;
	kept = bpf_sk_storage_get(&dialled, sk, &original, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept)
		return 1;
	*kept = original;
	ctx->user_port = bpf_htons(port);
	return 1;
}

static __always_inline int is_local_v4(__be32 ip)
{
	__u32 first = bpf_ntohl(ip) >> 24;

	return first == 127 || !ip;
}

SEC("cgroup/connect4")
int weir_connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct sockaddr_in to = {};
	__u16 port = port_for(ctx);

	if (!port || !sk || !listens(ctx, 0, port))
		return 1;
	if (is_local_v4(ctx->user_ip4))
		return dial_sidecar(ctx, port);
	if (sk->src_ip4 || sk->src_port || !binding_tells(ctx))
		return 1;
	to.sin_family = AF_INET;
	to.sin_addr.s_addr = ctx->user_ip4;
	return bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to)) ? 1 : dial_sidecar(ctx, port);
}

SEC("cgroup/connect6")
int weir_connect6(struct bpf_sock_addr *ctx)
{
	__be32 a = ctx->user_ip6[0], b = ctx->user_ip6[1], c = ctx->user_ip6[2], d = ctx->user_ip6[3];
	int is_v4 = !a && !b && c == bpf_htonl(0xffff);
	struct bpf_sock *sk = ctx->sk;
	struct sockaddr_in6 to = {};
	__u16 port = port_for(ctx);

	if (!port || !sk || !listens(ctx, !is_v4, port))
		return 1;
	if (is_v4 ? is_local_v4(d) : !a && !b && !c && (!d || d == bpf_htonl(1)))
		return dial_sidecar(ctx, port);
	/* A link-local address means nothing without its interface, which can't be read here. */
	if (!is_v4 && (a & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return 1;
	if (sk->src_ip6[0] || sk->src_ip6[1] || sk->src_ip6[2] || sk->src_ip6[3] || sk->src_port || !binding_tells(ctx))
		return 1;
	to.sin6_family = AF_INET6;
	to.sin6_addr.s6_addr32[0] = a;
	to.sin6_addr.s6_addr32[1] = b;
	to.sin6_addr.s6_addr32[2] = c;
	to.sin6_addr.s6_addr32[3] = d;
	return bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to)) ? 1 : dial_sidecar(ctx, port);
}

/* getpeername(2) tells the port that was dialled. */
static __always_inline int show_dialled(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 *port;

	if (!sk || bpf_get_netns_cookie(ctx) != settings.netns)
		return 1;
	port = bpf_sk_storage_get(&dialled, sk, 0, 0);
	if (port && mapped_of(*port) == bpf_ntohs(ctx->user_port))
		ctx->user_port = bpf_htons(*port);
	return 1;
}

SEC("cgroup/getpeername4")
int weir_peername4(struct bpf_sock_addr *ctx)
{
	return show_dialled(ctx);
}

SEC("cgroup/getpeername6")
int weir_peername6(struct bpf_sock_addr *ctx)
{
	return show_dialled(ctx);
}
