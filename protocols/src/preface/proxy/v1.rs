//! Version 1: a line of text (the specification's section 2.1).

use super::{Header, Read, Said};
use memchr::memchr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use weir_records::Preface;

const BEGINNING: &[u8] = b"PROXY ";
/// Longest line, with its end.
const LONGEST: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Read {
    let begins = bytes.len().min(BEGINNING.len());
    if bytes[..begins] != BEGINNING[..begins] {
        return Read::Malformed;
    }
    match memchr(b'\n', &bytes[..bytes.len().min(LONGEST)]) {
        Some(end) => line(&bytes[..=end]).map_or(Read::Malformed, Read::Header),
        None if bytes.len() < LONGEST => Read::More,
        None => Read::Malformed,
    }
}

fn line(line: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = text.split(' ').skip(1);
    let ends = match words.next()? {
        "TCP4" => Some(ends(words, |ip| ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?),
        "TCP6" => Some(ends(words, |ip| ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?),
        // What follows is to be ignored.
        "UNKNOWN" => None,
        _ => return None,
    };
    Some(Header {
        preface: Preface::ProxyV1,
        ends,
        said: Said::default(),
        length: line.len(),
    })
}

/// Both addresses, and then both ports.
fn ends<'a>(
    mut words: impl Iterator<Item = &'a str>,
    address: impl Fn(&str) -> Option<IpAddr>,
) -> Option<(SocketAddr, SocketAddr)> {
    let (client, server) = (address(words.next()?)?, address(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    let ends = (SocketAddr::new(client, from), SocketAddr::new(server, to));
    words.next().is_none().then_some(ends)
}

/// A number without a sign and without zeros before it.
fn port(word: &str) -> Option<u16> {
    let plain = word == "0" || word.starts_with(|first: char| ('1'..='9').contains(&first));
    plain.then(|| word.parse().ok())?
}
