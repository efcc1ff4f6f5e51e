//! Where something is: LOC (RFC 1876), and lists of address prefixes (APL, RFC 3123).

use super::Line;
use crate::dns::wire::Wire;
use std::net::{Ipv4Addr, Ipv6Addr};

/// LOC: latitude, longitude, altitude, size, and how exact the place is across and upwards.
pub(super) fn loc(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    let [version, size, across, upwards] = wire.array()?;
    if version != 0 {
        return None;
    }
    let (latitude, longitude, altitude) = (wire.u32()?, wire.u32()?, wire.u32()?);
    line.put(angle(latitude, 90, ['N', 'S'])?);
    line.put(angle(longitude, 180, ['E', 'W'])?);
    // Centimetres above a place 100 km below the ground.
    let altitude = i64::from(altitude) - 10_000_000;
    let sign = if altitude < 0 { "-" } else { "" };
    let (metres, rest) = (altitude.abs() / 100, altitude.abs() % 100);
    line.put(format_args!("{sign}{metres}.{rest:02}m"));
    for precision in [size, across, upwards] {
        line.put(distance(precision)?);
    }
    Some(())
}

/// Thousandths of an arc second from 2^31.
fn angle(value: u32, most: i64, [positive, negative]: [char; 2]) -> Option<String> {
    let value = i64::from(value) - (1 << 31);
    let name = if value < 0 { negative } else { positive };
    let value = value.abs();
    let (seconds, rest) = (value / 1000, value % 1000);
    let (degrees, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    (value <= most * 3_600_000).then(|| format!("{degrees} {minutes} {seconds}.{rest:03} {name}"))
}

/// Centimetres: a digit and how many zeros.
fn distance(value: u8) -> Option<String> {
    let (digit, zeros) = (u64::from(value >> 4), u32::from(value & 0xf));
    if digit > 9 || zeros > 9 {
        return None;
    }
    let centimetres = digit * 10_u64.pow(zeros);
    Some(match (centimetres / 100, centimetres % 100) {
        (metres @ 1.., 0) => format!("{metres}m"),
        (metres, rest) => format!("{metres}.{rest:02}m"),
    })
}

/// APL.
pub(super) fn prefixes(wire: &mut Wire<'_>, line: &mut Line) -> Option<()> {
    while wire.left() > 0 {
        let (family, prefix, length) = (wire.u16()?, wire.u8()?, wire.u8()?);
        let not = if length & 0x80 == 0 { "" } else { "!" };
        let part = wire.take(usize::from(length & 0x7f))?;
        let address = match family {
            1 if prefix <= 32 => filled::<4>(part).map(Ipv4Addr::from)?.to_string(),
            2 if prefix <= 128 => filled::<16>(part).map(Ipv6Addr::from)?.to_string(),
            _ => return None,
        };
        line.put(format_args!("{not}{family}:{address}/{prefix}"));
    }
    Some(())
}

/// The bytes of an address whose last ones, all zeros, were left out.
pub(in crate::dns) fn filled<const N: usize>(part: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..part.len())?.copy_from_slice(part);
    Some(whole)
}
