//! Headers that capturing systems put before a packet, with what they know of it.

use super::Inside;
use crate::{
    LinkType, Way,
    ether::Layer,
    packet::{Payload, Skip, byte, short},
};

/// Which.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Docsis,
    Erf,
    Nflog,
    Pflog,
    Pktap,
    Ppi,
    Pppd,
}

pub(super) fn inside(kind: Kind, whole: Payload<'_>, way: Way) -> Inside<'_> {
    match kind {
        Kind::Docsis => docsis(whole, way),
        Kind::Erf => erf(whole, way),
        Kind::Nflog => nflog(whole),
        Kind::Pflog => pflog(whole, way),
        Kind::Pktap => pktap(whole),
        Kind::Ppi => ppi(whole, way),
        Kind::Pppd => {
            let way = match byte(whole.bytes, 0)? {
                0 => Way::Received,
                _ => Way::Sent,
            };
            Ok((Layer::Ppp, whole.skip(2)?, way))
        }
    }
}

/// A number in the byte order of Intel's machines.
fn little(bytes: &[u8], at: usize) -> Result<u32, Skip> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk);
    four.map(|four| u32::from_le_bytes(*four)).ok_or(Skip::Malformed)
}

/// What is behind a header that names the type of it. (A header within a header of this kind is none.)
fn behind(link: u32, rest: Payload<'_>, way: Way) -> Inside<'_> {
    match super::Kind::of(LinkType(link)) {
        Some(super::Kind::Log(_)) | None => Err(Skip::UnknownLink),
        Some(kind) => super::inside(kind, rest, way),
    }
}

/// A frame of a cable modem: Ethernet, unless it is the network's own.
fn docsis(whole: Payload<'_>, way: Way) -> Inside<'_> {
    let (control, extended) = (byte(whole.bytes, 0)?, byte(whole.bytes, 1)?);
    if control & 0xfe != 0 {
        return Err(Skip::NotIp);
    }
    let extended = if control & 1 == 1 { extended.into() } else { 0 };
    Ok((Layer::Ethernet, whole.skip(6 + extended)?, way))
}

/// Endace's record: sixteen bytes, then extensions of eight, each of whose first bit says whether another follows.
fn erf(whole: Payload<'_>, way: Way) -> Inside<'_> {
    let kind = byte(whole.bytes, 8)?;
    let (mut at, mut more) = (16, kind & 0x80 != 0);
    while more {
        more = byte(whole.bytes, at)? & 0x80 != 0;
        at += 8;
    }
    match kind & 0x7f {
        // Ethernet, coloured or hashed; two bytes of padding before it.
        2 | 11 | 16 | 20 => Ok((Layer::Ethernet, whole.skip(at + 2)?, way)),
        // HDLC: Cisco's or PPP.
        1 | 10 | 15 | 19 => super::by_header(super::Kind::PppHdlc, whole.skip(at)?, way),
        22 | 23 => Ok((Layer::Ip, whole.skip(at)?, way)),
        _ => Err(Skip::UnknownLink),
    }
}

/// Netfilter's log: attributes, in the byte order of the host that wrote them.
fn nflog(whole: Payload<'_>) -> Inside<'_> {
    const PACKET_HEADER: u16 = 1;
    const PAYLOAD: u16 = 9;
    let mut rest = whole.skip(4)?;
    let mut way = Way::Unknown;
    loop {
        let head = rest.bytes.first_chunk::<4>().ok_or(Skip::Malformed)?;
        // Types are small, so that their order shows.
        let is_big = head[2] == 0 && head[3] != 0;
        let pair = |at: usize| match is_big {
            true => u16::from_be_bytes([head[at], head[at + 1]]),
            false => u16::from_le_bytes([head[at], head[at + 1]]),
        };
        let (size, kind) = (usize::from(pair(0)), pair(2) & 0x7fff);
        if size < 4 {
            return Err(Skip::Malformed);
        }
        match kind {
            PAYLOAD => return Ok((Layer::Ip, rest.skip(4)?.until(size - 4), way)),
            PACKET_HEADER => {
                way = match byte(rest.bytes, 6)? {
                    1 => Way::Received,
                    3 => Way::Sent,
                    _ => Way::Unknown,
                }
            }
            _ => {}
        }
        rest = rest.skip(size.next_multiple_of(4))?;
    }
}

/// The log of BSDs' packet filter. Its header says its own length, which is padded to a multiple of four.
fn pflog(whole: Payload<'_>, way: Way) -> Inside<'_> {
    let size = usize::from(byte(whole.bytes, 0)?).next_multiple_of(4);
    match byte(whole.bytes, 1)? {
        2 | 10 | 24 | 28 | 30 => Ok((Layer::Ip, whole.skip(size)?, way)),
        _ => Err(Skip::NotIp),
    }
}

/// Apple's header, which says its own length and the type of what follows.
fn pktap(whole: Payload<'_>) -> Inside<'_> {
    const PACKET: u32 = 1;
    let bytes = whole.bytes;
    let size = usize::try_from(little(bytes, 0)?).map_err(|_| Skip::Malformed)?;
    if little(bytes, 4)? != PACKET {
        return Err(Skip::NotIp);
    }
    let way = match little(bytes, 36)? & 3 {
        1 => Way::Received,
        2 => Way::Sent,
        _ => Way::Unknown,
    };
    behind(little(bytes, 8)?, whole.skip(size)?, way)
}

/// Per-Packet Information: its length, and the type of what follows.
fn ppi(whole: Payload<'_>, way: Way) -> Inside<'_> {
    let size = usize::from(short(whole.bytes, 2)?.swap_bytes());
    behind(little(whole.bytes, 4)?, whole.skip(size)?, way)
}
