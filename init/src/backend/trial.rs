//! A rule that no packet matches, put in and taken out again.
//!
//! It uses everything that the real rules need (the owner match, the REDIRECT and CT targets, the base chains), so
//! it tells what a kernel lacks before anything real is changed. Two transactions, because a rule that comes and goes
//! in one may never reach the kernel.

use super::Tool;
use crate::{
    Error, Family,
    ruleset::{Ruleset, Table, transition},
};
use std::collections::BTreeSet;
use weir_config::Interception;

pub fn run(tool: &Tool, wanted: &[(Family, Ruleset)], set: &Interception) -> Result<(), Error> {
    for (family, rules) in wanted {
        let before = tool.read(*family)?;
        let trial = transition(&Ruleset::default(), &rules_like(rules, set)).unwrap_or_default();
        let tried = tool.restore(*family, &trial);
        // Also where it failed: the first of several tables may have been applied.
        let undone = tool.bring(*family, |_| before.clone());
        tried.and(undone.map(drop))?;
    }
    Ok(())
}

fn rules_like(wanted: &Ruleset, set: &Interception) -> Ruleset {
    let mut trial = Ruleset::default();
    for (name, table) in &wanted.tables {
        let mut like = Table::default();
        let chains: BTreeSet<_> = table.jumps.iter().map(|(chain, _)| chain).collect();
        for chain in chains {
            let own = format!("WEIR_TRIAL_{chain}");
            like.rule(&own, rule(name, chain, set));
            // Protocol 255 is reserved: nobody sends it.
            like.jump(chain, format!("-p 255 -j {own}"));
        }
        trial.tables.insert(name.clone(), like);
    }
    trial
}

/// The owner of a packet is known where it leaves a socket, and matched only there.
fn rule(table: &str, chain: &str, set: &Interception) -> String {
    let protocol = if table == "raw" { "udp" } else { "tcp" };
    let owner = match chain {
        "OUTPUT" => format!(" -m owner --uid-owner {}", set.proxy_uid),
        _ => String::new(),
    };
    let target = match table {
        "raw" => "CT --zone 1".to_owned(),
        _ => format!("REDIRECT --to-ports {}", set.outbound_port),
    };
    format!("-p {protocol}{owner} -j {target}")
}
