//! JA4: a name for a client by what its hello offers, whatever the order in which it does
//! (github.com/FoxIO-LLC/ja4, technical_details/JA4.md; JA4 itself is BSD-3-Clause).

use super::hello::{ALPN, Offer, SERVER_NAME, is_grease};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The fingerprint of a hello that came over TCP.
pub fn ja4(hello: &Offer<'_>) -> String {
    let ciphers = without_grease(&hello.ciphers);
    let extensions = without_grease(&hello.extensions);
    let version = without_grease(&hello.versions).into_iter().max();
    let mut told: Vec<u16> = extensions
        .iter()
        .copied()
        .filter(|kind| ![SERVER_NAME, ALPN].contains(kind))
        .collect();
    told.sort_unstable();
    let mut told = list(&told);
    if !hello.signature_algorithms.is_empty() {
        told = format!("{told}_{}", list(&without_grease(&hello.signature_algorithms)));
    }
    let mut sorted = ciphers.clone();
    sorted.sort_unstable();
    format!(
        "t{}{}{:02}{:02}{}_{}_{}",
        version_name(version.unwrap_or(hello.legacy_version)),
        if extensions.contains(&SERVER_NAME) {
            'd'
        } else {
            'i'
        },
        ciphers.len().min(99),
        extensions.len().min(99),
        alpn(hello),
        hash(&list(&sorted), ciphers.is_empty()),
        hash(&told, extensions.is_empty()),
    )
}

fn without_grease(values: &[u16]) -> Vec<u16> {
    values
        .iter()
        .copied()
        .filter(|value| !is_grease(*value))
        .collect()
}

fn list(values: &[u16]) -> String {
    let mut list = String::new();
    for (place, value) in values.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(list, "{comma}{value:04x}");
    }
    list
}

fn version_name(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// The first and the last character of the first name; of its hexadecimal form if they are not letters or digits.
fn alpn(hello: &Offer<'_>) -> String {
    let Some((first, last)) = hello
        .alpn
        .kept
        .first()
        .and_then(|name| Some((*name.first()?, *name.last()?)))
    else {
        return "00".into();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [first, last].map(char::from).iter().collect();
    }
    let (first, last) = (format!("{first:02x}"), format!("{last:02x}"));
    format!("{}{}", &first[..1], &last[1..])
}

fn hash(text: &str, is_empty: bool) -> String {
    if is_empty {
        return "000000000000".into();
    }
    let mut hexadecimal = String::new();
    for byte in &Sha256::digest(text)[..6] {
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    hexadecimal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::hello::List;

    fn names<'a>(names: &[&'a [u8]]) -> List<&'a [u8]> {
        List {
            kept: names.to_vec(),
            count: names.len(),
        }
    }

    /// The example of the specification.
    #[test]
    fn the_specifications_example_has_its_name() {
        let numbers = |text: &str| {
            text.split(',')
                .map(|n| u16::from_str_radix(n, 16).unwrap())
                .collect()
        };
        let hello = Offer {
            legacy_version: 0x0303,
            versions: vec![0x7a7a, 0x0304, 0x0303],
            ciphers: numbers(
                "caca,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035",
            ),
            extensions: numbers(
                "1a1a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015",
            ),
            signature_algorithms: numbers("0403,0804,0401,0503,0805,0501,0806,0601"),
            alpn: names(&[b"h2", b"http/1.1"]),
            server_name: Some(b"example.com"),
        };
        assert_eq!(ja4(&hello), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn nothing_offered_has_a_name_too() {
        assert_eq!(ja4(&Offer::default()), "t00i000000_000000000000_000000000000");
        let odd = Offer {
            alpn: names(&[&[0xab, 0x00, 0xcd]]),
            ..Offer::default()
        };
        assert_eq!(ja4(&odd), "t00i0000ad_000000000000_000000000000");
    }
}
