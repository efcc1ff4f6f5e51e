//! Names of DNS's numbers (the IANA's registry), as ECS writes them, and domain names as text.

use hickory_proto::rr::{DNSClass, Name, RecordType};
use std::fmt::Write;

const OP_CODES: [&str; 7] = ["QUERY", "IQUERY", "STATUS", "", "NOTIFY", "UPDATE", "DSO"];
const CODES: [&str; 24] = [
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "DSOTYPENI",
    "",
    "",
    "",
    "",
    "BADVERS",
    "BADKEY",
    "BADTIME",
    "BADMODE",
    "BADNAME",
    "BADALG",
    "BADTRUNC",
    "BADCOOKIE",
];

fn listed(names: &[&str], number: u16, prefix: &str) -> String {
    match names.get(usize::from(number)).filter(|name| !name.is_empty()) {
        Some(name) => (*name).to_owned(),
        None => format!("{prefix}{number}"),
    }
}

pub(super) fn op_code(number: u8) -> String {
    listed(&OP_CODES, number.into(), "OPCODE")
}

pub(super) fn response_code(number: u16) -> String {
    listed(&CODES, number, "RCODE")
}

/// `AAAA`, or `TYPE65280` for one without a name (RFC 3597).
pub(super) fn record_type(number: u16) -> String {
    match RecordType::from(number) {
        RecordType::Unknown(_) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

/// `IN`, or `CLASS32769` for one without a name.
pub(super) fn class(number: u16) -> String {
    match DNSClass::from(number) {
        DNSClass::Unknown(_) | DNSClass::OPT(_) => format!("CLASS{number}"),
        known => known.to_string(),
    }
}

/// The name without the root's dot, in the case in which it was sent; what can't be printed as ECS asks: `\009`, `\"`.
pub(super) fn text(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for (i, label) in name.iter().enumerate() {
        if i > 0 {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'\\' | b'"' | b'.' => {
                    text.push('\\');
                    text.push(char::from(*byte));
                }
                0x20..=0x7e => text.push(char::from(*byte)),
                // Writing to a String does not fail.
                _ => drop(write!(text, "\\{byte:03}")),
            }
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}
