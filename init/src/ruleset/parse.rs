//! Finds our part in what iptables-save prints.

use super::{PREFIX, Ruleset};

/// Our chains, and the rules elsewhere that jump to them; everything else in the text is somebody else's.
pub fn parse(saved: &str) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let mut table = String::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_owned();
        } else if let Some(declaration) = line.strip_prefix(':') {
            let name = declaration.split_whitespace().next().unwrap_or_default();
            if name.starts_with(PREFIX) {
                ruleset.tables.entry(table.clone()).or_default().chain(name);
            }
        } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            if chain.starts_with(PREFIX) {
                ruleset.tables.entry(table.clone()).or_default().rule(chain, rule);
            } else if jumps_to_us(rule) {
                ruleset.tables.entry(table.clone()).or_default().jump(chain, rule);
            }
        }
    }
    ruleset
}

fn jumps_to_us(rule: &str) -> bool {
    let mut words = rule.split_whitespace();
    while let Some(word) = words.next() {
        if matches!(word, "-j" | "-g") {
            return words.next().is_some_and(|target| target.starts_with(PREFIX));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_peoples_rules_are_not_seen() {
        let saved = "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n:WEIR_INBOUND - [7:420]\n\
            -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A PREROUTING -p tcp -j WEIR_INBOUND\n\
            -A DOCKER -i docker0 -m comment --comment \"see WEIR_INBOUND\" -j RETURN\n\
            -A WEIR_INBOUND -p tcp -j RETURN\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n";
        let ruleset = parse(saved);
        assert_eq!(ruleset.tables.len(), 1);
        let nat = &ruleset.tables["nat"];
        assert_eq!(
            nat.jumps,
            [("PREROUTING".into(), "-p tcp -j WEIR_INBOUND".into())]
        );
        assert_eq!(nat.chains.len(), 1);
        assert_eq!(nat.chains["WEIR_INBOUND"], ["-p tcp -j RETURN"]);
    }

    #[test]
    fn nothing_saved_is_nothing_of_ours() {
        assert!(parse("").is_empty());
        assert!(parse("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n").is_empty());
    }
}
