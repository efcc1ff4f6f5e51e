//! SVCB and HTTPS (RFC 9460): where a service is, and its parameters.

use super::{Line, field};
use crate::dns::names::push_quoted;
use crate::dns::wire::Wire;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The keys that have names, in order.
const KEYS: [&str; 10] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
    "tls-supported-groups",
];

/// A record's data. Its parameters are in the order of their keys, each once, or the record is malformed.
pub(super) fn binding(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    line.put(wire.u16()?).put(field(&wire.name()?));
    let mut next = 0;
    while wire.left() > 0 {
        let (key, length) = (wire.u16()?, wire.u16()?);
        if u32::from(key) < next {
            return None;
        }
        next = u32::from(key) + 1;
        let value = wire.take(length.into())?;
        let value = told(key, Wire::new(value, 0, value.len()))?;
        line.put(name(key));
        if !value.is_empty() {
            line.0.push('=');
            line.0.push_str(&value);
        }
    }
    Some(())
}

fn name(key: u16) -> String {
    match KEYS.get(usize::from(key)) {
        Some(name) => (*name).to_owned(),
        None => format!("key{key}"),
    }
}

/// The value of a parameter.
fn told(key: u16, mut value: Wire<'_>) -> Option<String> {
    Some(match key {
        0 => list(value, |value| value.u16().map(name))?,
        1 => protocols(value)?,
        2 | 8 => String::new(),
        3 => value.u16()?.to_string(),
        4 => list(value, |value| {
            Some(Ipv4Addr::from(value.array::<4>()?).to_string())
        })?,
        5 if value.left() > 0 => STANDARD.encode(value.rest()),
        5 => return None,
        6 => list(value, |value| {
            Some(Ipv6Addr::from(value.array::<16>()?).to_string())
        })?,
        9 => list(value, |value| value.u16().map(|group| group.to_string()))?,
        _ => text(value.rest()),
    })
    // Of a value that is only a list there is nothing left either.
    .filter(|_| match key {
        2 | 3 | 8 => value.left() == 0,
        _ => true,
    })
}

/// One item at least, with commas between them.
fn list(mut value: Wire<'_>, item: impl Fn(&mut Wire<'_>) -> Option<String>) -> Option<String> {
    let mut list = item(&mut value)?;
    while value.left() > 0 {
        list.push(',');
        list.push_str(&item(&mut value)?);
    }
    Some(list)
}

/// Names of protocols. Commas and backslashes in one have a backslash before them, within the list and so before the list is written
/// as a text (RFC 9460, appendix A.1).
fn protocols(mut value: Wire<'_>) -> Option<String> {
    let mut list = Vec::new();
    loop {
        let name = value.string().filter(|name| !name.is_empty())?;
        for byte in name {
            if matches!(byte, b',' | b'\\') {
                list.push(b'\\');
            }
            list.push(*byte);
        }
        if value.left() == 0 {
            return Some(text(&list));
        }
        list.push(b',');
    }
}

/// A text, in quotes where it would end too early without them.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    push_quoted(&mut text, bytes);
    let ends_it = |byte: &u8| matches!(byte, b' ' | b'"' | b';' | b'(' | b')');
    if bytes.iter().any(ends_it) {
        text
    } else {
        text.trim_matches('"').to_owned()
    }
}
