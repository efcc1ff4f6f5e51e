//! What an installation says of itself, so that `check` can prove it without being told how it was made.
//!
//! The text holds the settings that differ from the built-in ones, as `name=value` with `;` between them. It is part of
//! the installation: comments in a chain of table `nat` that nothing jumps to, or the names of the filters. So it comes
//! and goes with what it describes, in the same step.

use crate::ruleset::{Ruleset, Table};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use weir_config::{Config, Interception, Relay};

/// Begins each text; the number is that of the format.
const FORMAT: &str = "weir=1";
/// The chain that holds it.
pub const CHAIN: &str = "WEIR_SETTINGS";
/// The longest piece in a comment (the kernel takes 255 bytes).
const PIECE: usize = 200;
/// The longest text in a filter's name (the kernel takes 255 bytes, and the program and its fingerprint stand before it).
const LONGEST_NAME: usize = 200;
/// Stands before it in a filter's name.
const MARK: char = ';';
/// What only the installer is told, and no part of what is in force.
const NOT_IN_FORCE: [&str; 3] = ["sidecar_net_raw", "host_network", "mode"];
/// What the rules have of the section `relay`.
const OF_RELAY: [&str; 3] = ["admin_port", "metrics_port", "health_port"];

/// The text for a validated configuration.
pub fn text(config: &Config) -> String {
    let mut text = FORMAT.to_owned();
    let mut add = |set: Map<String, Value>, built_in: Map<String, Value>, wanted: &dyn Fn(&str) -> bool| {
        for (name, value) in set.iter().filter(|(name, _)| wanted(name)) {
            if built_in.get(name) != Some(value) {
                let _ = write!(text, ";{name}={}", escaped(&plain(value)));
            }
        }
    };
    let (set, relay) = (&config.interception, &config.relay);
    add(fields(set), fields(&Interception::default()), &|name| {
        !NOT_IN_FORCE.contains(&name)
    });
    add(fields(relay), fields(&Relay::default()), &|name| {
        OF_RELAY.contains(&name)
    });
    text
}

/// The configuration that a text describes, as far as it is that of an installation.
pub fn read(text: &str) -> Option<Config> {
    let mut pairs = text.split(';');
    if pairs.next() != Some(FORMAT) {
        return None;
    }
    let mut config = Config::default();
    let (mut set, mut relay) = (fields(&config.interception), fields(&config.relay));
    for pair in pairs {
        let (name, value) = pair.split_once('=')?;
        let section = if OF_RELAY.contains(&name) {
            &mut relay
        } else {
            &mut set
        };
        let field = section.get_mut(name)?;
        let value = unescaped(value)?;
        *field = match field {
            Value::String(_) => Value::String(value),
            _ => serde_json::from_str(&value).ok()?,
        };
    }
    config.interception = serde_json::from_value(Value::Object(set)).ok()?;
    config.relay = serde_json::from_value(Value::Object(relay)).ok()?;
    Some(config)
}

/// Adds it to the table.
pub fn add(table: &mut Table, config: &Config) {
    let text = text(config);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(PIECE));
        // The first characters make iptables-save print quotes in every case.
        table.rule(CHAIN, format!("-m comment --comment \"={piece}\""));
        rest = after;
    }
}

/// Finds it in the rules in force.
pub fn of_rules(rules: &Ruleset) -> Option<String> {
    let comments = rules.tables.get("nat")?.chains.get(CHAIN)?;
    let piece = |rule: &String| Some(rule.split_once("\"=")?.1.split_once('"')?.0.to_owned());
    comments.iter().map(piece).collect()
}

/// What a filter's name ends with; nothing for a text that is too long.
pub fn suffix(config: &Config) -> String {
    let text = text(config);
    match text.len() <= LONGEST_NAME {
        true => format!("{MARK}{text}"),
        false => String::new(),
    }
}

/// Finds it in a filter's name.
pub fn of_filter(name: &str) -> Option<String> {
    name.split_once(MARK).map(|(_, text)| text.to_owned())
}

fn fields(section: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(section) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Without what has a meaning here, in iptables' input, or in a shell.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9'
            | b'a'..=b'z'
            | b'A'..=b'Z'
            | b'_'
            | b'.'
            | b','
            | b':'
            | b'/'
            | b'*'
            | b'+'
            | b'-' => {
                escaped.push(char::from(byte));
            }
            _ => drop(write!(escaped, "%{byte:02x}")),
        }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend(piece.get(2..)?.bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::{Mode, Ports};

    #[test]
    fn a_description_reads_back_as_the_configuration() {
        assert_eq!(text(&Config::default()), FORMAT);
        let mut config = Config::default();
        let set = &mut config.interception;
        set.include_inbound_ports = "80,443".parse().unwrap();
        set.exclude_outbound_cidrs = "10.1.0.0/16,fd00:1::/32".parse().unwrap();
        set.exclude_interfaces = "eth1,docker+".parse().unwrap();
        set.cgroup = "/a b;\"%".into();
        set.exclude_outbound_ports = Ports::List((10_000..10_040).collect());
        set.dns = true;
        set.dns_servers = "10.96.0.10,fd00::a".parse().unwrap();
        set.mark = 77;
        config.relay.admin_port = 0;
        let read = read(&text(&config)).unwrap();
        assert_eq!(read, config);
        let mut table = Table::default();
        add(&mut table, &config);
        assert!(table.chains[CHAIN].len() > 1);
        let rules = Ruleset {
            tables: [("nat".into(), table)].into(),
        };
        assert_eq!(of_rules(&rules), Some(text(&config)));
        let name = format!("weir_ingress:0{}", suffix(&Config::default()));
        assert_eq!(of_filter(&name).as_deref(), Some(FORMAT));
        // The mode is told by the route.
        config.interception.mode = Mode::Ebpf;
        assert_eq!(super::read(&text(&config)).unwrap(), read);
    }

    #[test]
    fn what_another_version_wrote_is_not_guessed_at() {
        for text in [
            "",
            "weir=2",
            "weir=1;new_setting=1",
            "weir=1;mark=x",
            "weir=1;cgroup=%f",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
