//! The `raw` table, with DNS only: connection tracking zones.
//!
//! A query over UDP and the sidecar's own query for it can have the same addresses and ports. Connection tracking
//! would then take one for the other and translate the wrong one's answer. So the sidecar's queries to the resolvers that
//! are redirected are tracked in zone 1, and the applications' queries to them, with the sidecar's answers, in zone 2.
//! Queries to other servers stay where they are.

use crate::{Family, ruleset::Table};
use weir_config::Interception;

const IN: &str = "WEIR_ZONE_IN";
const OUT: &str = "WEIR_ZONE_OUT";

/// Nothing where no resolver is of this family.
pub fn table(family: Family, set: &Interception) -> Option<Table> {
    let resolvers: Vec<_> = family.dns_listeners(set).collect();
    if resolvers.is_empty() {
        return None;
    }
    let mut table = Table::default();
    table.jump("PREROUTING", format!("-p udp -m udp --sport 53 -j {IN}"));
    for (_, server) in &resolvers {
        table.rule(IN, format!("-s {server} -p udp -j CT --zone 1"));
    }
    table.jump("OUTPUT", format!("-p udp -j {OUT}"));
    let owners = [
        format!("--uid-owner {}", set.proxy_uid),
        format!("--gid-owner {}", set.proxy_gid),
    ];
    for owner in owners {
        for (port, server) in &resolvers {
            table.rule(
                OUT,
                format!("-d {server} -p udp -m udp --dport 53 -m owner {owner} -j CT --zone 1"),
            );
            table.rule(
                OUT,
                format!("-p udp -m udp --sport {port} -m owner {owner} -j CT --zone 2"),
            );
        }
    }
    // The first CT rule that matches decides; a later one leaves the packet's zone as it is.
    for (_, server) in &resolvers {
        table.rule(
            OUT,
            format!("-d {server} -p udp -m udp --dport 53 -j CT --zone 2"),
        );
    }
    Some(table)
}
