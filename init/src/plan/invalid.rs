//! The part of the `mangle` table that both modes of iptables have: answers of the sidecar that can't be translated.
//!
//! NAT leaves alone what connection tracking does not know: a segment outside of the window that it expects, or one that
//! somebody's rule keeps from being tracked. Such an answer would leave with the sidecar's own port, the client's
//! machine would reset it, and the reset would end the connection. Dropped, it is sent again. Nothing else ever leaves
//! from these ports.

use crate::ruleset::{Ruleset, Table};
use weir_config::{Interception, Mode};

const INVALID: &str = "WEIR_INVALID";

/// The table with that part alone.
pub fn table(set: &Interception) -> Table {
    let mut table = Table::default();
    add(&mut table, set);
    table
}

pub fn add(table: &mut Table, set: &Interception) {
    let inbound = (set.mode != Mode::Tproxy).then_some(set.inbound_port);
    let dns = set.dns.then_some(set.dns_port);
    for port in [Some(set.outbound_port), inbound, dns].into_iter().flatten() {
        table.rule(INVALID, format!("-p tcp -m tcp --sport {port} -j DROP"));
    }
    table.jump(
        "OUTPUT",
        format!("-p tcp -m conntrack --ctstate INVALID,UNTRACKED -j {INVALID}"),
    );
}

/// Takes that part out of a ruleset.
pub fn forget(rules: &mut Ruleset) {
    let Some(mangle) = rules.tables.get_mut("mangle") else {
        return;
    };
    mangle.chains.remove(INVALID);
    mangle.jumps.retain(|(_, rule)| !rule.ends_with(INVALID));
    if mangle.chains.is_empty() {
        rules.tables.remove("mangle");
    }
}
