//! The `raw` table, with DNS only: connection tracking zones.
//!
//! A query over UDP and the sidecar's own query for it can have the same addresses and ports. Connection tracking
//! would then take one for the other and translate the wrong one's answer. So, of the queries to the resolvers that are
//! redirected, the sidecar's are tracked in zone 1 and the applications' in zone 2. Queries to other servers stay where
//! they are.
//!
//! Answers are in no zone: which query they answer is told by their own addresses and ports. Those may be other ones than
//! the query's, by somebody else's NAT: Docker's DNS server at 127.0.0.11 answers from a port of its own.

use crate::{Family, ruleset::Table};
use weir_config::Interception;

const ZONE: &str = "WEIR_ZONE";

/// Nothing where no resolver is of this family.
pub fn table(family: Family, set: &Interception) -> Option<Table> {
    let resolvers: Vec<_> = family.dns_listeners(set).collect();
    if resolvers.is_empty() {
        return None;
    }
    let mut table = Table::default();
    table.jump("OUTPUT", format!("-p udp -m udp --dport 53 -j {ZONE}"));
    // The first CT rule that matches decides; a later one leaves the packet's zone as it is.
    for (owner, zone) in [
        (format!("-m owner --uid-owner {} ", set.proxy_uid), 1),
        (format!("-m owner --gid-owner {} ", set.proxy_gid), 1),
        (String::new(), 2),
    ] {
        for (_, server) in &resolvers {
            table.rule(
                ZONE,
                format!("-d {server} -p udp -m udp --dport 53 {owner}-j CT --zone-orig {zone}"),
            );
        }
    }
    Some(table)
}
