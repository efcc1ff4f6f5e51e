//! IEEE 802.11: the LLC frame within a data frame, behind what the card told of its reception.

use crate::packet::{Payload, Skip, Unread, byte, word};

/// What stands before the frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Nothing.
    Bare,
    /// The header of Prism cards, or that of AVS.
    Prism,
    Radiotap,
    Avs,
}

// The second byte of frame control.
const BOTH_WAYS: u8 = 3;
const MORE_FRAGMENTS: u8 = 4;
const PROTECTED: u8 = 0x40;
const ORDER: u8 = 0x80;
/// The first two words of a version of AVS' header.
const AVS: [u32; 2] = [0x8021_1001, 0x8021_1002];

/// The content of a data frame, which begins with LLC.
pub(super) fn data(kind: Kind, whole: Payload<'_>) -> Result<Payload<'_>, Skip> {
    match kind {
        Kind::Bare => frame(whole, false),
        Kind::Avs => avs(whole),
        Kind::Prism if AVS.contains(&word(whole.bytes, 0)?) => avs(whole),
        Kind::Prism => {
            let size = word(whole.bytes, 4)?;
            frame(whole.skip(length(size.min(size.swap_bytes()))?)?, false)
        }
        Kind::Radiotap => radiotap(whole),
    }
}

fn length(word: u32) -> Result<usize, Skip> {
    usize::try_from(word).map_err(|_| Skip::Malformed)
}

fn avs(whole: Payload<'_>) -> Result<Payload<'_>, Skip> {
    frame(whole.skip(length(word(whole.bytes, 4)?)?)?, false)
}

/// Radiotap (<https://www.radiotap.org>): a length, bits of what there is, and of that only the flags matter here.
fn radiotap(whole: Payload<'_>) -> Result<Payload<'_>, Skip> {
    const TIME: u32 = 1;
    const FLAGS: u32 = 2;
    const MORE: u32 = 1 << 31;
    const PADDED: u8 = 0x20;
    const DAMAGED: u8 = 0x40;
    let present = |at: usize| word(whole.bytes, at).map(u32::swap_bytes);
    let size = u16::from_le_bytes([byte(whole.bytes, 2)?, byte(whole.bytes, 3)?]);
    let first = present(4)?;
    let (mut at, mut last) = (8, first);
    while last & MORE != 0 {
        last = present(at)?;
        at += 4;
    }
    if first & TIME != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    let flags = match first & FLAGS {
        0 => 0,
        _ => byte(whole.bytes, at)?,
    };
    if flags & DAMAGED != 0 {
        return Err(Skip::Malformed);
    }
    frame(whole.skip(size.into())?, flags & PADDED != 0)
}

/// A frame, whose header the card has padded to a multiple of four bytes or not.
fn frame(whole: Payload<'_>, padded: bool) -> Result<Payload<'_>, Skip> {
    let (first, flags) = (byte(whole.bytes, 0)?, byte(whole.bytes, 1)?);
    let (version, kind, subtype) = (first & 3, first >> 2 & 3, first >> 4);
    let (empty, quality) = (subtype & 4 != 0, subtype & 8 != 0);
    if version != 0 || kind != 2 || empty {
        return Err(Skip::NotIp); // management, control, and data frames without data
    }
    if flags & PROTECTED != 0 {
        return Err(Skip::Unread(Unread::Encrypted));
    }
    let fragment = byte(whole.bytes, 22)? & 0xf;
    let mut size = 24;
    if flags & BOTH_WAYS == BOTH_WAYS {
        size += 6;
    }
    let mut aggregated = false;
    if quality {
        aggregated = byte(whole.bytes, size)? & 0x80 != 0;
        size += if flags & ORDER != 0 { 6 } else { 2 };
    }
    if aggregated || flags & MORE_FRAGMENTS != 0 || fragment != 0 {
        return Err(Skip::Unread(Unread::TunnelContent));
    }
    if padded {
        size = size.next_multiple_of(4);
    }
    whole.skip(size)
}
