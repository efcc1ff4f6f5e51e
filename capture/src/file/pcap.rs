//! pcap: one header, and packets of one link type.
//!
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>

use super::{Found, Order, Step};
use crate::{LinkType, Way};
use weir_records::Timestamp;

/// Size of a file's header.
pub(super) const HEADER: usize = 24;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Written by patched versions of libpcap in the nineties, with more in each packet's header.
const PATCHED: u32 = 0xa1b2_cd34;

/// What the file's header says.
#[derive(Debug)]
pub(super) struct Header {
    order: Order,
    link: LinkType,
    /// Nanoseconds of a unit.
    unit: u64,
    /// Size of a packet's header.
    head: usize,
}

impl Header {
    /// Reads it; nothing if it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (order, unit, head) =
            [Order::Little, Order::Big]
                .into_iter()
                .find_map(|order| match order.u32(bytes, 0)? {
                    MICROSECONDS => Some((order, 1000, 16)),
                    NANOSECONDS => Some((order, 1, 16)),
                    PATCHED => Some((order, 1000, 24)),
                    _ => None,
                })?;
        Some(Self {
            order,
            // The upper bits tell of checksums behind the packet, which IP's own length leaves out.
            link: LinkType(order.u32(bytes, 20)? & 0xffff),
            unit,
            head,
        })
    }

    /// The packet that stands at the beginning of these bytes.
    pub fn step(&self, bytes: &[u8]) -> Step {
        let [seconds, fraction, kept, wire_len] = [0, 4, 8, 12].map(|at| self.order.u32(bytes, at));
        let (Some(seconds), Some(fraction), Some(kept), Some(wire_len)) = (seconds, fraction, kept, wire_len)
        else {
            return Step::More(self.head - bytes.len().min(self.head - 1));
        };
        let end = self.head + kept as usize;
        if bytes.len() < end {
            return Step::More(end - bytes.len());
        }
        let found = Found {
            at: Timestamp(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit),
            link: self.link,
            bytes: self.head..end,
            wire_len: wire_len as usize,
            interface: 0,
            way: Way::Unknown,
        };
        Step::Packet(found, end)
    }
}
