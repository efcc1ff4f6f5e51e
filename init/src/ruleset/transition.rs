//! From one ruleset to another in one transaction.

use super::{Ruleset, Table, canonical::canonical};
use std::{collections::BTreeSet, fmt::Write as _};

/// The input for `iptables-restore --noflush` that turns `from` into `to`; nothing if they are the same.
///
/// Chains and jumps that stay the same are not touched, so a jump keeps its place among other people's rules.
/// Declaring a chain under `--noflush` empties it, and every table is committed at once: packets meet either all of
/// the old rules or all of the new ones.
pub fn transition(from: &Ruleset, to: &Ruleset) -> Option<String> {
    let nothing = Table::default();
    let mut text = String::new();
    let names: BTreeSet<_> = from.tables.keys().chain(to.tables.keys()).collect();
    // What comes before what goes: nothing escapes between two tables' commits.
    let goes = |name: &&&String| !to.tables.contains_key(**name);
    for name in names
        .iter()
        .filter(|name| !goes(name))
        .chain(names.iter().filter(goes))
        .copied()
    {
        let body = change(
            from.tables.get(name).unwrap_or(&nothing),
            to.tables.get(name).unwrap_or(&nothing),
        );
        if !body.is_empty() {
            let _ = write!(text, "*{name}\n{body}COMMIT\n");
        }
    }
    (!text.is_empty()).then_some(text)
}

fn change(from: &Table, to: &Table) -> String {
    let mut declarations = String::new();
    let mut rules = String::new();
    for (name, wanted) in &to.chains {
        if from.chains.get(name).is_some_and(|present| same(present, wanted)) {
            continue;
        }
        let _ = writeln!(declarations, ":{name} - [0:0]");
        for rule in wanted {
            let _ = writeln!(rules, "-A {name} {rule}");
        }
    }
    let jumps = change_jumps(from, to);
    let stale = || from.chains.keys().filter(|name| !to.chains.contains_key(*name));
    let mut ends = String::new();
    for name in stale() {
        let _ = writeln!(ends, "-F {name}");
    }
    for name in stale() {
        let _ = writeln!(ends, "-X {name}");
    }
    declarations + &rules + &jumps + &ends
}

/// Takes out the jumps that are not wanted and adds those that are missing. A jump that is there stays where it is
/// among other people's rules, unless a missing one has to come before it.
fn change_jumps(from: &Table, to: &Table) -> String {
    let mut text = String::new();
    for chain in from
        .jumps
        .iter()
        .chain(&to.jumps)
        .map(|(chain, _)| chain)
        .collect::<BTreeSet<_>>()
    {
        let is_first = |rule: &&str| {
            let wanted = to.first.iter().filter(|(of, _)| of == chain);
            wanted
                .map(|(_, first)| canonical(first))
                .any(|first| first == canonical(rule))
        };
        let split = |table| jumps_of(table, chain).into_iter().partition(is_first);
        let (present_first, present): (Vec<_>, Vec<_>) = split(from);
        let (wanted_first, wanted): (Vec<_>, Vec<_>) = split(to);
        if !present_first
            .iter()
            .map(canonical_of)
            .eq(wanted_first.iter().map(canonical_of))
        {
            for rule in present_first {
                let _ = writeln!(text, "-D {chain} {rule}");
            }
            // Each comes before those that are there.
            for rule in wanted_first.iter().rev() {
                let _ = writeln!(text, "-I {chain} {rule}");
            }
        }
        let mut missing = wanted.iter().peekable();
        let mut surplus = Vec::new();
        for rule in &present {
            match missing.next_if(|next| canonical(next) == canonical(rule)) {
                Some(_) => {}
                None => surplus.push(rule),
            }
        }
        for rule in surplus {
            let _ = writeln!(text, "-D {chain} {rule}");
        }
        for rule in missing {
            let _ = writeln!(text, "-A {chain} {rule}");
        }
    }
    text
}

fn canonical_of(rule: &&str) -> BTreeSet<String> {
    canonical(rule)
}

fn jumps_of<'a>(table: &'a Table, chain: &str) -> Vec<&'a str> {
    let of_chain = table.jumps.iter().filter(|(jumps_from, _)| jumps_from == chain);
    of_chain.map(|(_, rule)| rule.as_str()).collect()
}

fn same(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| canonical(a) == canonical(b))
}

/// The order matters within a chain only; iptables-save prints the chains in an order of its own.
fn same_jumps(from: &Table, to: &Table) -> bool {
    let of = |table: &Table| {
        let mut jumps: Vec<_> = table
            .jumps
            .iter()
            .map(|(chain, rule)| (chain.clone(), canonical(rule)))
            .collect();
        jumps.sort_by(|a, b| a.0.cmp(&b.0));
        jumps
    };
    of(from) == of(to)
}

/// What of `wanted` is not in force, and what of ours is in force without being wanted, a line each. Empty if they
/// are the same.
pub fn differences(in_force: &Ruleset, wanted: &Ruleset) -> Vec<String> {
    let nothing = Table::default();
    let mut lines = Vec::new();
    let names: BTreeSet<_> = in_force.tables.keys().chain(wanted.tables.keys()).collect();
    for name in names {
        let present = in_force.tables.get(name).unwrap_or(&nothing);
        let wanted = wanted.tables.get(name).unwrap_or(&nothing);
        let chains: BTreeSet<_> = present.chains.keys().chain(wanted.chains.keys()).collect();
        for chain in chains {
            match (present.chains.get(chain), wanted.chains.get(chain)) {
                (None, _) => lines.push(format!("table {name}: chain {chain} is missing")),
                (_, None) => lines.push(format!("table {name}: chain {chain} should not be there")),
                (Some(present), Some(wanted)) if !same(present, wanted) => {
                    lines.push(format!(
                        "table {name}: chain {chain}: {}",
                        first_difference(present, wanted)
                    ));
                }
                _ => {}
            }
        }
        if !same_jumps(present, wanted) {
            let rules = |table: &Table| -> Vec<String> {
                table
                    .jumps
                    .iter()
                    .map(|(chain, rule)| format!("{chain} {rule}"))
                    .collect()
            };
            lines.push(format!(
                "table {name}: jumps: {}",
                first_difference(&rules(present), &rules(wanted))
            ));
        }
    }
    lines
}

fn first_difference(present: &[String], wanted: &[String]) -> String {
    let differs = |i: &usize| match (present.get(*i), wanted.get(*i)) {
        (Some(a), Some(b)) => canonical(a) != canonical(b),
        _ => true,
    };
    let at = (0..present.len().max(wanted.len())).find(differs).unwrap_or(0);
    let show = |rules: &[String]| rules.get(at).map_or("nothing".into(), |rule| format!("`{rule}`"));
    format!("rule {} should be {}, is {}", at + 1, show(wanted), show(present))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(chain: &str, rules: &[&str], jump: &str) -> Ruleset {
        let mut table = Table::default();
        table.chain(chain);
        for rule in rules {
            table.rule(chain, *rule);
        }
        table.jump("OUTPUT", jump);
        Ruleset {
            tables: [("nat".into(), table)].into(),
        }
    }

    #[test]
    fn the_same_rules_need_no_transition() {
        let a = one("WEIR_A", &["-d 10.0.0.1/32 -j RETURN"], "-p tcp -j WEIR_A");
        let b = one("WEIR_A", &["-d 10.0.0.1 -j RETURN"], "-p tcp -j WEIR_A");
        assert_eq!(transition(&a, &b), None);
        assert!(differences(&a, &b).is_empty());
    }

    #[test]
    fn a_changed_chain_is_refilled_and_its_jump_left_in_place() {
        let a = one("WEIR_A", &["-j RETURN"], "-p tcp -j WEIR_A");
        let b = one("WEIR_A", &["-j ACCEPT"], "-p tcp -j WEIR_A");
        assert_eq!(
            transition(&a, &b).as_deref(),
            Some("*nat\n:WEIR_A - [0:0]\n-A WEIR_A -j ACCEPT\nCOMMIT\n")
        );
        assert_eq!(
            differences(&a, &b),
            ["table nat: chain WEIR_A: rule 1 should be `-j ACCEPT`, is `-j RETURN`"]
        );
    }

    #[test]
    fn stale_chains_and_jumps_go_in_the_same_transaction() {
        let a = one("WEIR_A", &["-j RETURN"], "-p tcp -j WEIR_A");
        let b = one("WEIR_B", &[], "-p tcp -j WEIR_B");
        assert_eq!(
            transition(&a, &b).as_deref(),
            Some(
                "*nat\n:WEIR_B - [0:0]\n-D OUTPUT -p tcp -j WEIR_A\n-A OUTPUT -p tcp -j WEIR_B\n-F WEIR_A\n-X WEIR_A\nCOMMIT\n"
            )
        );
        assert_eq!(
            transition(&a, &Ruleset::default()).as_deref(),
            Some("*nat\n-D OUTPUT -p tcp -j WEIR_A\n-F WEIR_A\n-X WEIR_A\nCOMMIT\n")
        );
    }

    #[test]
    fn a_jump_that_is_there_twice_is_mended() {
        let mut a = one("WEIR_A", &[], "-p tcp -j WEIR_A");
        let b = a.clone();
        if let Some(table) = a.tables.get_mut("nat") {
            table.jump("OUTPUT", "-p tcp -j WEIR_A");
        }
        assert_eq!(
            transition(&a, &b).as_deref(),
            Some("*nat\n-D OUTPUT -p tcp -j WEIR_A\nCOMMIT\n")
        );
    }

    #[test]
    fn jumps_that_stay_are_not_touched() {
        let with = |rules: &[&str]| {
            let mut table = Table::default();
            for rule in rules {
                table.jump("OUTPUT", *rule);
            }
            Ruleset {
                tables: [("nat".into(), table)].into(),
            }
        };
        let change = |from: &[&str], to: &[&str]| transition(&with(from), &with(to));
        let only = |line: &str| Some(format!("*nat\n{line}\nCOMMIT\n"));
        assert_eq!(
            change(&["-j WEIR_A"], &["-j WEIR_A", "-j WEIR_B"]),
            only("-A OUTPUT -j WEIR_B")
        );
        assert_eq!(
            change(&["-j WEIR_A", "-j WEIR_B"], &["-j WEIR_A"]),
            only("-D OUTPUT -j WEIR_B")
        );
        assert_eq!(
            change(&["-j WEIR_A", "-j WEIR_B"], &["-j WEIR_B"]),
            only("-D OUTPUT -j WEIR_A")
        );
        assert_eq!(
            change(&["-j WEIR_A", "-j WEIR_B"], &["-j WEIR_B", "-j WEIR_A"]),
            only("-D OUTPUT -j WEIR_A\n-A OUTPUT -j WEIR_A"),
            "their order is mended"
        );
    }

    #[test]
    fn jumps_that_come_first_are_inserted_in_their_order() {
        let mut wanted = Table::default();
        for rule in ["-j WEIR_A", "-j WEIR_B"] {
            wanted.jump_first("OUTPUT", rule);
        }
        wanted.jump("OUTPUT", "-j WEIR_C");
        let present = |rules: &[&str]| {
            let mut table = Table::default();
            for rule in rules {
                table.jump("OUTPUT", *rule);
            }
            table
        };
        let inserted = "-I OUTPUT -j WEIR_B\n-I OUTPUT -j WEIR_A\n";
        assert_eq!(
            change_jumps(&present(&[]), &wanted),
            format!("{inserted}-A OUTPUT -j WEIR_C\n")
        );
        assert_eq!(change_jumps(&present(&["-j WEIR_C"]), &wanted), inserted);
        assert_eq!(
            change_jumps(&present(&["-j WEIR_A", "-j WEIR_C"]), &wanted),
            format!("-D OUTPUT -j WEIR_A\n{inserted}")
        );
        let all = present(&["-j WEIR_A", "-j WEIR_B", "-j WEIR_C"]);
        assert_eq!(change_jumps(&all, &wanted), "");
        assert_eq!(
            change_jumps(&all, &Table::default()),
            "-D OUTPUT -j WEIR_A\n-D OUTPUT -j WEIR_B\n-D OUTPUT -j WEIR_C\n"
        );
    }
}
