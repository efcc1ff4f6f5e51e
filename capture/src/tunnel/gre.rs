//! GRE (RFC 2784, 2890, and with routing RFC 1701), and what has its own header within: ERSPAN, WCCP, PPTP.

use crate::{
    ether::{BRIDGED, CISCO_METADATA, Found, Layer, PPP},
    outside::Outside,
    packet::{Payload, Skip, Unread, byte, short, word},
};
use weir_records::TunnelKind;

// Flags, and the version beside them.
const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Of PPTP: an acknowledgement.
const ACKNOWLEDGED: u16 = 0x0080;
const VERSION: u16 = 7;

/// Types that only GRE has.
const ERSPAN: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;
const WCCP: u16 = 0x883e;
/// Keep-alive of routers; next hop resolution.
const KEEP_ALIVE: u16 = 0;
const NEXT_HOP: u16 = 0x2001;

/// Virtual subnets of NVGRE (RFC 7637) are numbered from here on, in the upper 24 bits of the key; the lower ones tell its
/// flows apart.
const FIRST_SUBNET: u32 = 0x1000;

pub(super) fn gre<'a>(payload: Payload<'a>, outside: &mut Outside) -> Found<'a> {
    let (flags, kind) = (short(payload.bytes, 0)?, short(payload.bytes, 2)?);
    match flags & VERSION {
        0 => {}
        1 => return pptp(flags, kind, payload, outside),
        _ => return Err(Skip::Unread(Unread::TunnelContent)),
    }
    let mut size = 4;
    if flags & (CHECKSUM | ROUTING) != 0 {
        size += 4;
    }
    let mut key = None;
    if flags & KEY != 0 {
        key = Some(word(payload.bytes, size)?);
        size += 4;
    }
    if flags & SEQUENCE != 0 {
        size += 4;
    }
    if flags & ROUTING != 0 {
        size = past_routes(&payload, size)?;
    }
    let rest = payload.skip(size)?;
    if matches!(kind, ERSPAN | ERSPAN_3) {
        outside.enter(TunnelKind::Erspan, None)?;
        return erspan(kind, flags & SEQUENCE != 0, rest);
    }
    if kind == BRIDGED && flags & (CHECKSUM | SEQUENCE) == 0 {
        key = key.map(|key| if key >> 8 >= FIRST_SUBNET { key >> 8 } else { key });
    }
    outside.enter(TunnelKind::Gre, key)?;
    match kind {
        KEEP_ALIVE | NEXT_HOP => Err(Skip::NotIp),
        // Version 2 puts a header of its own before the packet; version 1 does not.
        WCCP if byte(rest.bytes, 0)? >> 4 != 4 => Ok((Layer::Ip, rest.skip(4)?)),
        WCCP => Ok((Layer::Ip, rest)),
        CISCO_METADATA => Ok((Layer::Type(short(rest.bytes, 0)?), rest.skip(8)?)),
        // (A length is no type here.)
        ..=1500 => Err(Skip::Unread(Unread::EtherType)),
        kind => Ok((Layer::Type(kind), rest)),
    }
}

/// Where the source routes end that begin here.
fn past_routes(payload: &Payload<'_>, mut at: usize) -> Result<usize, Skip> {
    loop {
        let (family, length) = (short(payload.bytes, at)?, byte(payload.bytes, at + 3)?);
        at += 4 + usize::from(length);
        if family == 0 && length == 0 {
            return Ok(at);
        }
    }
}

/// Type I is a frame and nothing else, type II has a header, type III another one.
fn erspan(kind: u16, numbered: bool, rest: Payload<'_>) -> Found<'_> {
    let version = || byte(rest.bytes, 0).map(|first| first >> 4);
    match kind {
        ERSPAN if !numbered => Ok((Layer::Ethernet, rest)),
        ERSPAN if version()? == 1 => Ok((Layer::Ethernet, rest.skip(8)?)),
        ERSPAN_3 if version()? == 2 => {
            let (frame, options) = (byte(rest.bytes, 10)? >> 2 & 0x1f, byte(rest.bytes, 11)? & 1 != 0);
            let rest = rest.skip(if options { 20 } else { 12 })?;
            match frame {
                0 => Ok((Layer::Ethernet, rest)),
                2 => Ok((Layer::Ip, rest)),
                _ => Err(Skip::Unread(Unread::TunnelContent)),
            }
        }
        _ => Err(Skip::Unread(Unread::TunnelContent)),
    }
}

/// GRE as PPTP has it (RFC 2637, 4.1): PPP within. Without data it is an acknowledgement.
fn pptp<'a>(flags: u16, kind: u16, payload: Payload<'a>, outside: &mut Outside) -> Found<'a> {
    if kind != PPP || flags & KEY == 0 {
        return Err(Skip::Unread(Unread::TunnelContent));
    }
    let length = short(payload.bytes, 4)?;
    if flags & SEQUENCE == 0 || length == 0 {
        return Err(Skip::NotIp);
    }
    outside.enter(TunnelKind::Pptp, None)?;
    let size = if flags & ACKNOWLEDGED != 0 { 16 } else { 12 };
    Ok((Layer::Ppp, payload.skip(size)?.until(length.into())))
}
