//! pcapng: sections, interfaces with their own link types and units of time, and packets.
//!
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>

use super::{Found, LONGEST, Order, Step};
use crate::{LinkType, Way};
use weir_records::Timestamp;

/// What a file begins with: the type of a section header.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
pub(super) const SECTION: u32 = u32::from_be_bytes(MAGIC);
pub(super) const INTERFACE: u32 = 1;
/// Replaced by the enhanced packet long ago.
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;
/// Tells a section's byte order.
pub(super) const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Type and length before a block's content, and length behind it.
const HEAD: usize = 8;
const TAIL: usize = 4;
/// Options of an interface: its unit of time, and seconds to be added.
pub(super) const RESOLUTION: u16 = 9;
const OFFSET: u16 = 14;
/// Option of a packet: who sent it, and more.
pub(super) const FLAGS: u16 = 2;
const SECOND: u128 = 1_000_000_000;

/// The section that is being read.
#[derive(Debug, Default)]
pub(super) struct Section {
    order: Order,
    interfaces: Vec<Interface>,
    /// When the last packet was seen: simple packets have no time of their own.
    last: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    /// Most bytes of a packet that were kept; 0 for all.
    snaplen: usize,
    /// As `if_tsresol` has it: a negative power of 10, or of 2 if the highest bit is set.
    resolution: u8,
    /// Seconds to be added.
    offset: i64,
}

impl Interface {
    /// Reads a block's content; nothing if it is too short.
    fn read(order: Order, content: &[u8]) -> Option<Self> {
        let mut interface = Self {
            link: LinkType(order.u16(content, 0)?.into()),
            snaplen: order.u32(content, 4)? as usize,
            resolution: 6,
            offset: 0,
        };
        for (code, value) in order.options(&content[8..]) {
            match code {
                RESOLUTION => interface.resolution = value.first().copied().unwrap_or(6),
                OFFSET => interface.offset = order.i64(value, 0).unwrap_or(0),
                _ => {}
            }
        }
        Some(interface)
    }

    /// The time that so many units mean.
    fn time(&self, high: u32, low: u32) -> Timestamp {
        let units = (u128::from(high) << 32) | u128::from(low);
        let power = u32::from(self.resolution & 0x7f);
        let ns = match self.resolution & 0x80 {
            0 => units * SECOND / 10u128.checked_pow(power).unwrap_or(u128::MAX),
            _ => (units * SECOND) >> power,
        };
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let ns = ns.saturating_add(i128::from(self.offset) * SECOND as i128);
        Timestamp(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

impl Order {
    /// The options that stand here: their codes and values.
    fn options(self, mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
        std::iter::from_fn(move || {
            let (code, length) = (self.u16(rest, 0)?, self.u16(rest, 2)?);
            let value = &rest[4..];
            let value = &value[..value.len().min(length.into())];
            let next = 4 + usize::from(length).next_multiple_of(4);
            rest = rest.get(next..).unwrap_or_default();
            (code != 0).then_some((code, value))
        })
    }
}

impl Section {
    /// Reads the block that stands at the beginning of these bytes.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        if bytes.len() < HEAD + TAIL {
            return Step::More(HEAD + TAIL - bytes.len());
        }
        if bytes.starts_with(&MAGIC) {
            self.order = match Order::Big.u32(bytes, HEAD) {
                Some(BYTE_ORDER) => Order::Big,
                Some(order) if order.swap_bytes() == BYTE_ORDER => Order::Little,
                _ => return Step::Damaged("the header of a section without its byte order"),
            };
        }
        let (Some(kind), Some(len)) = (self.order.u32(bytes, 0), self.order.u32(bytes, 4)) else {
            return Step::More(HEAD);
        };
        let len = len as usize;
        if len < HEAD + TAIL {
            return Step::Damaged("a block that is shorter than any");
        }
        if len > LONGEST {
            return Step::Damaged("a block that is longer than any");
        }
        // Some writers leave the padding out of the length, and none out of the file.
        let whole = len.next_multiple_of(4);
        if bytes.len() < whole {
            return Step::More(whole - bytes.len());
        }
        self.block(kind, &bytes[HEAD..whole - TAIL], whole)
            .unwrap_or(Step::Damaged("a block that is too short for what it holds"))
    }

    /// Reads a block of so many bytes; nothing if its content is too short.
    fn block(&mut self, kind: u32, content: &[u8], len: usize) -> Option<Step> {
        match kind {
            SECTION => self.interfaces.clear(),
            INTERFACE => self.interfaces.push(Interface::read(self.order, content)?),
            ENHANCED_PACKET => return self.enhanced(content).map(|found| Step::Packet(found, len)),
            SIMPLE_PACKET => return self.simple(content).map(|found| Step::Packet(found, len)),
            OBSOLETE_PACKET => return Some(Step::Skipped(len)),
            _ => {}
        }
        Some(Step::Other(len))
    }

    fn enhanced(&mut self, content: &[u8]) -> Option<Found> {
        const FIXED: usize = 20;
        let word = |at| self.order.u32(content, at);
        let interface = self.interfaces.get(word(0)? as usize);
        let (high, low, kept, wire_len) = (word(4)?, word(8)?, word(12)? as usize, word(16)? as usize);
        if kept > content.len() - FIXED {
            return None;
        }
        let link = interface.map_or(LinkType::UNKNOWN, |interface| interface.link);
        self.last = interface.map_or(self.last, |interface| interface.time(high, low));
        Some(Found {
            at: self.last,
            link,
            bytes: HEAD + FIXED..HEAD + FIXED + kept,
            wire_len,
            interface: word(0)?.saturating_add(1),
            way: self.way(
                content
                    .get(FIXED + kept.next_multiple_of(4)..)
                    .unwrap_or_default(),
            ),
        })
    }

    /// What the options of a packet say of who sent it.
    fn way(&self, options: &[u8]) -> Way {
        let flags = self
            .order
            .options(options)
            .find(|(code, _)| *code == FLAGS)
            .and_then(|(_, value)| self.order.u32(value, 0));
        match flags.unwrap_or(0) & 3 {
            1 => Way::Received,
            2 => Way::Sent,
            _ => Way::Unknown,
        }
    }

    fn simple(&self, content: &[u8]) -> Option<Found> {
        const FIXED: usize = 4;
        let wire_len = self.order.u32(content, 0)? as usize;
        let interface = self.interfaces.first();
        let most = match interface.map_or(0, |interface| interface.snaplen) {
            0 => usize::MAX,
            snaplen => snaplen,
        };
        let kept = wire_len.min(most).min(content.len() - FIXED);
        Some(Found {
            at: self.last,
            link: interface.map_or(LinkType::UNKNOWN, |interface| interface.link),
            bytes: HEAD + FIXED..HEAD + FIXED + kept,
            wire_len,
            interface: 1,
            way: Way::Unknown,
        })
    }
}
