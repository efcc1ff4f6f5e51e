/* What the loader fills in before the programs are loaded (read-only afterwards, so that the verifier drops what is
 * switched off), and the marks that packets carry from one program to the next. */
#pragma once
#include <linux/types.h>

struct settings {
	__u32 proxy_uid;
	__u32 mark; /* the first of the marks below */
	__be32 probe_out_v4;
	__be32 probe_in_v4;
	__be32 probe_out_v6[4];
	__be32 probe_in_v6[4];
	__u16 probe_port;
	__u16 inbound_port;
	__u16 outbound_port;
	__u16 dns_port;
	__u8 dns;            /* redirect port 53 */
	__u8 hold;           /* drop SYNs where no sidecar listens */
	__u8 all_outbound;   /* every destination that no list names is redirected */
	__u8 networks;       /* the tries hold something */
	__u8 local_v4;       /* connections of this machine to itself are asked for, too (but for 127.0.0.1) */
	__u8 local_v6;
	__u16 zero;
};

const volatile struct settings settings = {};

/* Sets of ports, one bit a port, one after the other in the map `ports`. Inbound: redirected. Outbound: redirected, or
 * left alone, whatever the destination. A map and no constant: without CAP_PERFMON the verifier allows no arithmetic on
 * pointers that depends on the packet. */
enum port_set { INBOUND_PORTS, OUTBOUND_PORTS, EXCLUDED_PORTS, PORT_SETS };
#define WORDS 1024 /* of 64 bits, a set */

/* Offsets from settings.mark. */
enum {
	MARK_DIVERTED,       /* on its way to the outbound or the DNS listener; routed to lo by its mark */
	MARK_OWN,            /* sent by the sidecar */
	MARK_SELF,           /* from the sidecar to this namespace's own address */
	MARK_RETRY_DIVERTED, /* the same again, once TIME_WAIT is out of the way */
	MARK_RETRY_INBOUND,
	MARK_RETRY_SELF,
};

/* Counters, for tests and for whoever may look at the map. */
enum counter {
	COUNT_INBOUND,       /* given to the inbound listener */
	COUNT_DIVERTED,      /* sent to lo from an interface */
	COUNT_OUTBOUND,      /* given to the outbound listener */
	COUNT_DNS,           /* given to a DNS listener */
	COUNT_SELF,          /* the sidecar's own calls given to the inbound listener */
	COUNT_NO_PROXY,      /* passed or dropped, as nobody listened */
	COUNT_TIME_WAIT,     /* TIME_WAIT ended for a new connection */
	COUNT_UNSEEN,        /* passed to the application, as TIME_WAIT could not be ended */
	COUNT_FAILED,        /* the kernel refused an assignment */
	COUNT_GIVEN_BACK,    /* a diverted SYN that the sidecar did not take, sent on to its server */
	COUNT_UNREACHED,     /* passed, as the sidecar has lately failed to reach the destination */
	COUNTERS,
};
