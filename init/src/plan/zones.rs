//! The `raw` table, with DNS only: connection tracking zones.
//!
//! A query over UDP and the sidecar's own query for it can have the same addresses and ports. Connection tracking
//! would then take one for the other and translate the wrong one's answer. So the sidecar's queries upstream are
//! tracked in zone 1, and the applications' queries with the sidecar's answers to them in zone 2.

use crate::ruleset::Table;
use weir_config::Interception;

const IN: &str = "WEIR_ZONE_IN";
const OUT: &str = "WEIR_ZONE_OUT";

pub fn table(set: &Interception) -> Table {
    let mut table = Table::default();
    table.jump("PREROUTING", format!("-p udp -m udp --sport 53 -j {IN}"));
    table.rule(IN, "-j CT --zone 1");
    table.jump("OUTPUT", format!("-p udp -j {OUT}"));
    let owners = [
        format!("--uid-owner {}", set.proxy_uid),
        format!("--gid-owner {}", set.proxy_gid),
    ];
    for owner in owners {
        table.rule(
            OUT,
            format!("-p udp -m udp --dport 53 -m owner {owner} -j CT --zone 1"),
        );
        table.rule(
            OUT,
            format!(
                "-p udp -m udp --sport {} -m owner {owner} -j CT --zone 2",
                set.dns_port
            ),
        );
    }
    // The first CT rule that matches decides; a later one leaves the packet's zone as it is.
    table.rule(OUT, "-p udp -m udp --dport 53 -j CT --zone 2");
    table
}
