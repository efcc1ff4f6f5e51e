//! The data of a record as a zone file has it (RFC 1035, 5.1, and the documents of each type), in one line, names without the last
//! dot. What a type does not allow, and what is of a type that is not known here, is told by its bytes (RFC 3597, 5).

mod location;
mod security;
mod service;

pub(super) use location::filled;

use super::names::{self, field, push_hex, push_quoted, text};
use super::wire::Wire;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::{Display, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of record data that are written out where only their bytes are known.
const MAX_UNKNOWN: usize = 256;
/// The class in which an address is something else.
const CHAOS: u16 = 3;

/// The fields of one record's data, in one line.
#[derive(Debug, Default)]
struct Line(String);

impl Line {
    fn put(&mut self, value: impl Display) -> &mut Self {
        self.blank();
        // Writing to a String does not fail.
        let _ = write!(self.0, "{value}");
        self
    }

    fn quoted(&mut self, bytes: &[u8]) -> &mut Self {
        self.blank();
        push_quoted(&mut self.0, bytes);
        self
    }

    fn base64(&mut self, bytes: &[u8]) -> &mut Self {
        if !bytes.is_empty() {
            self.blank();
            STANDARD.encode_string(bytes, &mut self.0);
        }
        self
    }

    /// Digests and the like, in the case in which others write them.
    fn hex(&mut self, bytes: &[u8]) -> &mut Self {
        if !bytes.is_empty() {
            self.blank();
        }
        for byte in bytes {
            let _ = write!(self.0, "{byte:02X}");
        }
        self
    }

    fn blank(&mut self) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
    }
}

/// The data of a record of this type and class.
pub(super) fn written(kind: u16, class: u16, mut wire: Wire<'_>) -> String {
    let (mut line, mut all) = (Line::default(), wire);
    let read = if matches!(kind, 1 | 11 | 28) && class == CHAOS {
        None
    } else {
        fields(kind, &mut wire, &mut line)
    };
    // Nothing may be left, and nothing may have been read behind it.
    match read.filter(|()| wire.left() == 0) {
        Some(()) => line.0,
        None => unknown(all.rest()),
    }
}

/// The address in an A or AAAA record.
pub(super) fn address(kind: u16, class: u16, mut wire: Wire<'_>) -> Option<IpAddr> {
    let address = match kind {
        1 if class != CHAOS => Ipv4Addr::from(wire.array::<4>()?).into(),
        28 if class != CHAOS => Ipv6Addr::from(wire.array::<16>()?).into(),
        _ => return None,
    };
    (wire.left() == 0).then_some(address)
}

/// Bytes as RFC 3597 writes them.
fn unknown(data: &[u8]) -> String {
    let mut text = format!("\\# {}", data.len());
    if !data.is_empty() {
        text.push(' ');
    }
    push_hex(&mut text, &data[..data.len().min(MAX_UNKNOWN)]);
    if data.len() > MAX_UNKNOWN {
        text.push('…');
    }
    text
}

fn fields(kind: u16, wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    match kind {
        1 => drop(line.put(Ipv4Addr::from(wire.array::<4>()?))),
        28 => drop(line.put(Ipv6Addr::from(wire.array::<16>()?))),
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NSAP-PTR, DNAME: one name, as it stands elsewhere in documents.
        2..=5 | 7..=9 | 12 | 23 | 39 => drop(line.put(text(&wire.name()?))),
        6 => soa(wire, line)?,
        // HINFO, ISDN.
        13 => drop(line.quoted(wire.string()?).quoted(wire.string()?)),
        20 => {
            line.quoted(wire.string()?);
            if wire.left() > 0 {
                line.quoted(wire.string()?);
            }
        }
        // MINFO, RP, TALINK.
        14 | 17 | 58 => drop(line.put(field(&wire.name()?)).put(field(&wire.name()?))),
        // MX, AFSDB, RT, KX, LP.
        15 | 18 | 21 | 36 | 107 => drop(line.put(wire.u16()?).put(field(&wire.name()?))),
        // TXT, NINFO, SPF, AVC, RESINFO, WALLET.
        16 | 56 | 99 | 258 | 261 | 262 => texts(wire, line)?,
        19 => drop(line.quoted(wire.string()?)),
        26 => drop(
            line.put(wire.u16()?)
                .put(field(&wire.name()?))
                .put(field(&wire.name()?)),
        ),
        27 => drop(
            line.quoted(wire.string()?)
                .quoted(wire.string()?)
                .quoted(wire.string()?),
        ),
        29 => location::loc(wire, line)?,
        33 => {
            line.put(wire.u16()?).put(wire.u16()?).put(wire.u16()?);
            line.put(field(&wire.name()?));
        }
        35 => {
            line.put(wire.u16()?).put(wire.u16()?);
            line.quoted(wire.string()?)
                .quoted(wire.string()?)
                .quoted(wire.string()?);
            line.put(field(&wire.name()?));
        }
        42 => location::prefixes(wire, line)?,
        64 | 65 => service::binding(wire, line)?,
        104 | 106 => drop(line.put(wire.u16()?).put(locator(wire)?)),
        105 => drop(line.put(wire.u16()?).put(Ipv4Addr::from(wire.array::<4>()?))),
        108 => drop(line.put(hyphenated(wire.take(6)?))),
        109 => drop(line.put(hyphenated(wire.take(8)?))),
        256 => drop(line.put(wire.u16()?).put(wire.u16()?).quoted(wire.rest())),
        257 => authorization(wire, line)?,
        _ => security::fields(kind, wire, line)?,
    }
    Some(())
}

fn soa(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    line.put(field(&wire.name()?)).put(field(&wire.name()?));
    for _ in 0..5 {
        line.put(wire.u32()?);
    }
    Some(())
}

/// One text at least.
fn texts(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    line.quoted(wire.string()?);
    while wire.left() > 0 {
        line.quoted(wire.string()?);
    }
    Some(())
}

/// The 64 bits of an identifier or a locator (RFC 6742).
fn locator(wire: &mut Wire<'_>) -> Option<String> {
    let mut part = || wire.u16().map(|part| format!("{part:x}"));
    Some([part()?, part()?, part()?, part()?].join(":"))
}

fn hyphenated(bytes: &[u8]) -> String {
    let parts: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join("-")
}

/// CAA (RFC 8659).
fn authorization(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    line.put(wire.u8()?);
    let tag = wire.string()?;
    let tag = std::str::from_utf8(tag).ok().filter(|tag| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric();
        !tag.is_empty() && tag.bytes().all(plain)
    })?;
    line.put(tag).quoted(wire.rest());
    Some(())
}

/// The types whose bits are set (RFC 4034, 4.1.2).
fn types(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    /// More are told by their bytes: one byte can name eight.
    const MAX_TYPES: usize = 256;
    let (mut count, mut next) = (0, 0);
    while wire.left() > 0 {
        let window = u16::from(wire.u8()?);
        let bits = wire.string()?;
        if window < next || !(1..=32).contains(&bits.len()) {
            return None;
        }
        next = window + 1;
        let is_set = |at: &u16| bits[usize::from(at / 8)] & (0x80 >> (at % 8)) != 0;
        for at in (0..8 * u16::try_from(bits.len()).ok()?).filter(is_set) {
            line.put(names::record_type(window << 8 | at));
            count += 1;
        }
        if count > MAX_TYPES {
            return None;
        }
    }
    Some(())
}
