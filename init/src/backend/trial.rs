//! A rule that no packet matches, put in and taken out again.
//!
//! It uses everything that the real rules need (every match and target, the base chains), so
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
            for rule in rules(name, chain, set) {
                like.rule(&own, rule);
            }
            // Protocol 255 is reserved: nobody sends it.
            like.jump(chain, format!("-p 255 -j {own}"));
        }
        trial.tables.insert(name.clone(), like);
    }
    trial
}

/// The owner of a packet is known where it leaves a socket, and matched only there.
fn rules(table: &str, chain: &str, set: &Interception) -> Vec<String> {
    let owner = match chain {
        "OUTPUT" => format!(" -m owner --uid-owner {}", set.proxy_uid),
        _ => String::new(),
    };
    match (table, chain) {
        ("raw", _) => vec![format!("-p udp{owner} -j CT --zone-orig 1")],
        ("mangle", "OUTPUT") => vec![
            format!("-p tcp{owner} -m addrtype ! --src-type LOCAL -j CONNMARK --set-xmark 0x0/0x0"),
            "-p tcp -m mark --mark 0x1 -m connmark --mark 0x1 -j MARK --set-xmark 0x0/0x0".into(),
        ],
        ("mangle", _) => vec![format!(
            "-p tcp -m connmark --mark 0x1 -m conntrack --ctdir ORIGINAL -j TPROXY --on-port {}",
            set.inbound_port
        )],
        _ => vec![format!(
            "-p tcp{owner} -m addrtype ! --src-type LOCAL -j REDIRECT --to-ports {}",
            set.outbound_port
        )],
    }
}
