//! Names of DNS's numbers (the IANA's registry), as ECS writes them, and domain names and other bytes as text.

use super::wire::Name;
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
/// Types 1 to 66.
const TYPES: [&str; 66] = [
    "A",
    "NS",
    "MD",
    "MF",
    "CNAME",
    "SOA",
    "MB",
    "MG",
    "MR",
    "NULL",
    "WKS",
    "PTR",
    "HINFO",
    "MINFO",
    "MX",
    "TXT",
    "RP",
    "AFSDB",
    "X25",
    "ISDN",
    "RT",
    "NSAP",
    "NSAP-PTR",
    "SIG",
    "KEY",
    "PX",
    "GPOS",
    "AAAA",
    "LOC",
    "NXT",
    "EID",
    "NIMLOC",
    "SRV",
    "ATMA",
    "NAPTR",
    "KX",
    "CERT",
    "A6",
    "DNAME",
    "SINK",
    "OPT",
    "APL",
    "DS",
    "SSHFP",
    "IPSECKEY",
    "RRSIG",
    "NSEC",
    "DNSKEY",
    "DHCID",
    "NSEC3",
    "NSEC3PARAM",
    "TLSA",
    "SMIMEA",
    "",
    "HIP",
    "NINFO",
    "RKEY",
    "TALINK",
    "CDS",
    "CDNSKEY",
    "OPENPGPKEY",
    "CSYNC",
    "ZONEMD",
    "SVCB",
    "HTTPS",
    "DSYNC",
];
/// Those with greater numbers.
const MORE_TYPES: [(u16, &str); 30] = [
    (99, "SPF"),
    (100, "UINFO"),
    (101, "UID"),
    (102, "GID"),
    (103, "UNSPEC"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (128, "NXNAME"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (259, "DOA"),
    (260, "AMTRELAY"),
    (261, "RESINFO"),
    (262, "WALLET"),
    (263, "CLA"),
    (264, "IPN"),
    (32768, "TA"),
    (32769, "DLV"),
];
/// Extended errors (RFC 8914 and later).
const EXTENDED_ERRORS: [&str; 31] = [
    "Other",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDOMAIN Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
    "Signature Expired before Valid",
    "Too Early",
    "Unsupported NSEC3 Iterations Value",
    "Unable to conform to policy",
    "Synthesized",
    "Invalid Query Type",
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
    let more = MORE_TYPES.iter().find(|(known, _)| *known == number);
    match number
        .checked_sub(1)
        .and_then(|at| TYPES.get(usize::from(at)))
        .or(more.map(|(_, name)| name))
        .filter(|name| !name.is_empty())
    {
        Some(name) => (*name).to_owned(),
        None => format!("TYPE{number}"),
    }
}

/// `IN`, or `CLASS32769` for one without a name.
pub(super) fn class(number: u16) -> String {
    match number {
        1 => "IN".to_owned(),
        3 => "CH".to_owned(),
        4 => "HS".to_owned(),
        254 => "NONE".to_owned(),
        255 => "ANY".to_owned(),
        _ => format!("CLASS{number}"),
    }
}

/// `18 Prohibited`, or the number alone, and the text that came with it.
pub(super) fn extended_error(number: u16, text: &[u8]) -> String {
    let name = EXTENDED_ERRORS.get(usize::from(number));
    let mut error = match name {
        Some(name) => format!("{number} {name}"),
        None => number.to_string(),
    };
    // (Some put a zero at the end of the text.)
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    if !text.is_empty() {
        error.push_str(": ");
        error.push_str(&String::from_utf8_lossy(text));
    }
    error
}

/// The name without the root's dot, in the case in which it was sent; what can't be printed as ECS asks: `\009`, `\"`.
pub(super) fn text(name: &Name<'_>) -> String {
    written(name, |byte| matches!(byte, b'\\' | b'"' | b'.'), 0x20)
}

/// The name as one of several fields of a zone file, where blanks and signs end a field. Without the root's dot as well.
pub(super) fn field(name: &Name<'_>) -> String {
    let signs = |byte| matches!(byte, b'\\' | b'"' | b'.' | b';' | b'(' | b')' | b'@' | b'$');
    written(name, signs, 0x21)
}

fn written(name: &Name<'_>, is_sign: impl Fn(u8) -> bool, first: u8) -> String {
    let mut text = String::new();
    for (i, label) in name.labels().enumerate() {
        if i > 0 {
            text.push('.');
        }
        for byte in label {
            match *byte {
                byte if is_sign(byte) => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                byte if (first..=0x7e).contains(&byte) => text.push(char::from(byte)),
                byte => push_escaped(&mut text, byte),
            }
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

/// Bytes as a zone file has a text: in quotes, what can't be printed as `\DDD` (RFC 1035, 5.1).
pub(super) fn push_quoted(text: &mut String, bytes: &[u8]) {
    text.push('"');
    for byte in bytes {
        match byte {
            b'\\' | b'"' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x20..=0x7e => text.push(char::from(*byte)),
            byte => push_escaped(text, *byte),
        }
    }
    text.push('"');
}

fn push_escaped(text: &mut String, byte: u8) {
    // Writing to a String does not fail.
    let _ = write!(text, "\\{byte:03}");
}

/// Bytes as hexadecimal digits.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}
