//! When two spellings of a rule mean the same.
//!
//! The plan writes rules as iptables-save of 1.8 prints them. Other versions order the options differently or leave
//! out implied ones; such a rule must still be recognised as the same, or a second installation would not be a no-op.

use std::collections::BTreeSet;

/// The options of a rule, each with its `!` and its values, without those that others imply.
pub fn canonical(rule: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    let mut negated = false;
    let mut words = rule.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        let mut values = Vec::new();
        while let Some(value) = words.next_if(|next| *next != "!" && !next.starts_with('-')) {
            values.push(value);
        }
        if word != "-m" {
            let name = synonym(word);
            let values = values.iter().map(|value| plain_value(name, value));
            let text = std::iter::once(name).chain(values).collect::<Vec<_>>().join(" ");
            options.insert(if negated { format!("! {text}") } else { text });
        }
        negated = false;
    }
    options
}

fn synonym(option: &str) -> &str {
    match option {
        "--to-port" => "--to-ports",
        "--destination-port" => "--dport",
        "--source-port" => "--sport",
        "--destination" => "-d",
        "--source" => "-s",
        "--protocol" => "-p",
        "--jump" => "-j",
        other => other,
    }
}

fn plain_value<'a>(option: &str, value: &'a str) -> &'a str {
    match (option, value) {
        ("-p", "6") => "tcp",
        ("-p", "17") => "udp",
        ("-s" | "-d", address) => match address.rsplit_once('/') {
            Some((host, "32")) if !host.contains(':') => host,
            Some((host, "128")) => host,
            _ => address,
        },
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_rule_are_equal() {
        let same = [
            "! -d 127.0.0.1/32 -o lo -p tcp -m tcp --dport 80 -m owner ! --uid-owner 1 -j X",
            "-o lo ! -d 127.0.0.1 -p 6 --dport 80 -m owner ! --uid-owner 1 -j X",
        ];
        assert_eq!(canonical(same[0]), canonical(same[1]));
    }

    #[test]
    fn a_negation_or_another_value_makes_another_rule() {
        assert_ne!(
            canonical("-d 10.0.0.1/32 -j X"),
            canonical("! -d 10.0.0.1/32 -j X")
        );
        assert_ne!(canonical("-d 10.0.0.0/8 -j X"), canonical("-d 10.0.0.0/9 -j X"));
        assert_ne!(
            canonical("-d 2001:db8::/32 -j X"),
            canonical("-d 2001:db8:: -j X")
        );
        assert_ne!(canonical("-p tcp -j X"), canonical("-p tcp -j Y"));
    }
}
