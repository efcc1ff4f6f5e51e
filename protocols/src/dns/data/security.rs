//! Keys, signatures, digests and certificates.

use super::{Line, field, types};
use crate::dates;
use crate::dns::names;
use crate::dns::wire::Wire;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The digits of base 32 in NSEC3 (RFC 4648, 7).
const DIGITS: [u8; 32] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUV";

pub(super) fn fields(kind: u16, wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    match kind {
        // SIG, RRSIG.
        24 | 46 => signature(wire, line)?,
        // KEY, DNSKEY, RKEY, CDNSKEY.
        25 | 48 | 57 | 60 => {
            line.put(wire.u16()?).put(wire.u8()?).put(wire.u8()?);
            line.base64(wire.rest());
        }
        37 => certificate(wire, line)?,
        // DS, CDS, TA, DLV.
        43 | 59 | 32768 | 32769 => {
            line.put(wire.u16()?).put(wire.u8()?).put(wire.u8()?);
            line.hex(wire.rest());
        }
        44 => drop(line.put(wire.u8()?).put(wire.u8()?).hex(wire.rest())),
        45 => ipsec_key(wire, line)?,
        47 => {
            line.put(field(&wire.name()?));
            types(wire, line)?;
        }
        // DHCID, OPENPGPKEY.
        49 | 61 => {
            if wire.left() == 0 {
                return None;
            }
            line.base64(wire.rest());
        }
        50 => hashed_denial(wire, line)?,
        51 => hashing(wire, line)?,
        // TLSA, SMIMEA.
        52 | 53 => {
            line.put(wire.u8()?).put(wire.u8()?).put(wire.u8()?);
            line.hex(wire.rest());
        }
        55 => host_identity(wire, line)?,
        62 => {
            line.put(wire.u32()?).put(wire.u16()?);
            types(wire, line)?;
        }
        63 => {
            line.put(wire.u32()?).put(wire.u8()?).put(wire.u8()?);
            line.hex(wire.rest());
        }
        66 => {
            line.put(names::record_type(wire.u16()?))
                .put(wire.u8()?)
                .put(wire.u16()?);
            line.put(field(&wire.name()?));
        }
        260 => relay(wire, line)?,
        _ => return None,
    }
    Some(())
}

fn signature(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    line.put(names::record_type(wire.u16()?));
    line.put(wire.u8()?).put(wire.u8()?).put(wire.u32()?);
    for _ in 0..2 {
        // Seconds since 1970, shown without signs between the parts.
        let time = dates::rfc3339(i64::from(wire.u32()?) * 1000);
        let digits: String = time.chars().take(19).filter(char::is_ascii_digit).collect();
        line.put(digits);
    }
    line.put(wire.u16()?)
        .put(field(&wire.name()?))
        .base64(wire.rest());
    Some(())
}

/// CERT (RFC 4398).
fn certificate(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    let kind = wire.u16()?;
    match kind {
        1 => line.put("PKIX"),
        2 => line.put("SPKI"),
        3 => line.put("PGP"),
        4 => line.put("IPKIX"),
        5 => line.put("ISPKI"),
        6 => line.put("IPGP"),
        7 => line.put("ACPKIX"),
        8 => line.put("IACPKIX"),
        253 => line.put("URI"),
        254 => line.put("OID"),
        _ => line.put(kind),
    };
    line.put(wire.u16()?).put(wire.u8()?).base64(wire.rest());
    Some(())
}

/// A gateway of IPSECKEY and AMTRELAY: none, an address or a name.
fn gateway(kind: u8, wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    match kind {
        0 => line.put("."),
        1 => line.put(Ipv4Addr::from(wire.array::<4>()?)),
        2 => line.put(Ipv6Addr::from(wire.array::<16>()?)),
        3 => line.put(field(&wire.name()?)),
        _ => return None,
    };
    Some(())
}

/// IPSECKEY (RFC 4025).
fn ipsec_key(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    let [precedence, kind, algorithm] = wire.array()?;
    line.put(precedence).put(kind).put(algorithm);
    gateway(kind, wire, line)?;
    line.base64(wire.rest());
    Some(())
}

/// AMTRELAY (RFC 8777).
fn relay(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    let [precedence, kind] = wire.array()?;
    line.put(precedence).put(kind >> 7).put(kind & 0x7f);
    gateway(kind & 0x7f, wire, line)
}

/// What NSEC3 and NSEC3PARAM begin with (RFC 5155).
fn hashing(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    line.put(wire.u8()?).put(wire.u8()?).put(wire.u16()?);
    match wire.string()? {
        [] => line.put("-"),
        salt => line.hex(salt),
    };
    Some(())
}

fn hashed_denial(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    hashing(wire, line)?;
    let hash = wire.string().filter(|hash| !hash.is_empty())?;
    let mut digits = String::new();
    for group in hash.chunks(5) {
        let bits = group
            .iter()
            .chain(&[0; 5])
            .take(5)
            .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let count = (8 * group.len()).div_ceil(5);
        digits.extend((0..count).map(|at| char::from(DIGITS[(bits >> (35 - 5 * at)) as usize & 31])));
    }
    line.put(digits);
    types(wire, line)
}

/// HIP (RFC 8005). Its names are not compressed.
fn host_identity(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    let (tag, algorithm, key) = (wire.u8()?, wire.u8()?, wire.u16()?);
    line.put(algorithm).hex(wire.take(tag.into())?);
    line.base64(wire.take(key.into())?);
    while wire.left() > 0 {
        let start = wire.at();
        let name = wire.name()?;
        let size = 1 + name.labels().map(|label| 1 + label.len()).sum::<usize>();
        if wire.at() - start != size {
            return None;
        }
        line.put(field(&name));
    }
    Some(())
}
