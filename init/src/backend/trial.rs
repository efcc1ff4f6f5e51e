//! A rule that no packet matches, put in and taken out again.
//!
//! It uses everything that the real rules need (every match and target, the base chains), so
//! it tells what a kernel lacks before anything real is changed. Two transactions, because a rule that comes and goes
//! in one may never reach the kernel.

use super::{Kind, Tool};
use crate::{
    Error, Family, plan,
    ruleset::{Ruleset, Table, transition},
};
use std::collections::BTreeSet;
use weir_config::Interception;

pub fn run(tool: &Tool, wanted: &[(Family, Ruleset)], set: &Interception) -> Result<(), Error> {
    for (family, rules) in wanted {
        let before = tool.read(*family)?;
        let tried = try_tables(tool, *family, &rules_like(rules, set));
        // Also where it failed: the first of several tables may have been applied.
        let undone = tool.bring(*family, |_| before.clone());
        tried.and(undone.map(drop))?;
    }
    Ok(())
}

/// One table after the other, so that an error can say which of them the kernel lacks.
fn try_tables(tool: &Tool, family: Family, trial: &Ruleset) -> Result<(), Error> {
    for (name, table) in &trial.tables {
        let one = Ruleset {
            tables: [(name.clone(), table.clone())].into(),
        };
        let text = transition(&Ruleset::default(), &one).unwrap_or_default();
        tool.restore(family, &text).map_err(|cause| match cause {
            Error::Restore { .. } => Error::Module {
                family,
                table: name.clone(),
                modules: modules(tool.kind(), family, name, &text),
                cause: Box::new(cause),
            },
            other => other,
        })?;
    }
    Ok(())
}

/// The modules of the kernel that a trial of this table needs.
fn modules(kind: Kind, family: Family, table: &str, rules: &str) -> String {
    let mut modules = match (kind, table) {
        (Kind::Nft, "nat") => vec![
            "nf_tables".to_owned(),
            "nft_compat".into(),
            "nft_chain_nat".into(),
        ],
        (Kind::Nft, _) => vec!["nf_tables".to_owned(), "nft_compat".into()],
        (Kind::Legacy, _) => {
            let prefix = match family {
                Family::V4 => "iptable",
                Family::V6 => "ip6table",
            };
            vec![format!("{prefix}_{table}")]
        }
    };
    let extensions = [
        ("-m socket", "xt_socket"),
        ("-m addrtype", "xt_addrtype"),
        ("-m owner", "xt_owner"),
        ("-m conntrack", "xt_conntrack"),
        ("-m connmark", "xt_connmark"),
        ("-j REDIRECT", "xt_REDIRECT"),
        ("-j TPROXY", "xt_TPROXY"),
        ("-j CT", "xt_CT"),
    ];
    let used = extensions.iter().filter(|(word, _)| rules.contains(word));
    modules.extend(used.map(|(_, module)| (*module).to_owned()));
    modules.join(", ")
}

fn rules_like(wanted: &Ruleset, set: &Interception) -> Ruleset {
    let mut trial = Ruleset::default();
    for (name, table) in &wanted.tables {
        let mut like = Table::default();
        let chains: BTreeSet<_> = table.jumps.iter().map(|(chain, _)| chain).collect();
        for chain in chains {
            let own = format!("WEIR_TRIAL_{chain}");
            for rule in rules(name, chain, table, set) {
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
fn rules(table: &str, chain: &str, wanted: &Table, set: &Interception) -> Vec<String> {
    let owner = match chain {
        "OUTPUT" => format!(" -m owner --uid-owner {}", set.proxy_uid),
        _ => String::new(),
    };
    let mut all = wanted.chains.values().flatten();
    let listened = match chain == "PREROUTING" && all.any(|rule| rule.contains(plan::LISTENED_AT)) {
        true => plan::LISTENED_AT,
        false => "",
    };
    match (table, chain) {
        ("raw", _) => vec![format!("-p udp{owner} -j CT --zone-orig 1")],
        ("mangle", _) if !wanted.chains.contains_key(plan::TAKEN) => {
            vec!["-p tcp -m tcp --sport 1 -m conntrack --ctstate INVALID,UNTRACKED -j DROP".into()]
        }
        ("mangle", "OUTPUT") => vec![
            format!("-p tcp{owner} -m addrtype ! --src-type LOCAL -j CONNMARK --set-xmark 0x0/0x0"),
            "-p tcp -m mark --mark 0x1 -m connmark --mark 0x1 -j MARK --set-xmark 0x0/0x0".into(),
        ],
        ("mangle", _) => vec![format!(
            "-p tcp{listened} -m connmark --mark 0x1 -m conntrack --ctdir ORIGINAL -j TPROXY --on-port {}",
            set.inbound_port
        )],
        _ => vec![format!(
            "-p tcp{listened}{owner} -m addrtype ! --src-type LOCAL -j REDIRECT --to-ports {}",
            set.outbound_port
        )],
    }
}
