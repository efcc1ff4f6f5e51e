//! pcapng: sections, interfaces with their own link types and units of time, and packets.

use super::{Found, Step, missing, reason};
use crate::LinkType;
use pcap_parser::{
    Block, InterfaceDescriptionBlock, OptionCode, nom, parse_block_be, parse_block_le,
    traits::PcapNGPacketBlock,
};
use weir_records::Timestamp;

/// What a file begins with: the type of a section header.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Type of the packet block that was replaced by the enhanced one.
const OBSOLETE_PACKET: u32 = 2;
const SECOND: u128 = 1_000_000_000;

/// The section that is being read.
#[derive(Debug, Default)]
pub(super) struct Section {
    big_endian: bool,
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
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        let offset = block
            .options
            .iter()
            .find(|option| option.code == OptionCode::IfTsoffset)
            .and_then(|option| option.value.first_chunk::<8>())
            .map_or(0, |bytes| match big_endian {
                true => i64::from_be_bytes(*bytes),
                false => i64::from_le_bytes(*bytes),
            });
        Self {
            link: LinkType(block.linktype.0 as u32),
            snaplen: block.snaplen as usize,
            resolution: block.if_tsresol,
            offset,
        }
    }

    /// The time that so many units mean.
    fn time(&self, high: u32, low: u32) -> Timestamp {
        let units = u128::from(high) << 32 | u128::from(low);
        let power = u32::from(self.resolution & 0x7f);
        let ns = match self.resolution & 0x80 {
            0 => (units * SECOND).checked_div(10u128.checked_pow(power).unwrap_or(u128::MAX)),
            _ => Some((units * SECOND) >> power),
        };
        let ns = i128::try_from(ns.unwrap_or(0)).unwrap_or(i128::MAX);
        let ns = ns.saturating_add(i128::from(self.offset) * SECOND as i128);
        Timestamp(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

impl Section {
    /// Reads the block that stands at the beginning of these bytes.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        let parsed = match self.big_endian {
            true => parse_block_be(bytes),
            false => parse_block_le(bytes),
        };
        let (len, block) = match parsed {
            Ok((rest, block)) => (bytes.len() - rest.len(), block),
            Err(nom::Err::Incomplete(needed)) => return Step::More(missing(needed)),
            Err(nom::Err::Error(error) | nom::Err::Failure(error)) => return Step::Damaged(reason(&error)),
        };
        match block {
            Block::SectionHeader(header) => {
                self.big_endian = header.big_endian();
                self.interfaces.clear();
            }
            Block::InterfaceDescription(block) => {
                self.interfaces.push(Interface::new(&block, self.big_endian));
            }
            Block::EnhancedPacket(block) => {
                let interface = self.interfaces.get(block.if_id as usize);
                if let Some(interface) = interface {
                    self.last = interface.time(block.ts_high, block.ts_low);
                }
                let found = Found {
                    at: self.last,
                    link: interface.map_or(LinkType::UNKNOWN, |interface| interface.link),
                    bytes: 28..28 + block.packet_data().len(),
                    wire_len: block.origlen as usize,
                };
                return Step::Packet(found, len);
            }
            Block::SimplePacket(block) => {
                let interface = self.interfaces.first();
                let kept = match interface.map_or(0, |interface| interface.snaplen) {
                    0 => usize::MAX,
                    snaplen => snaplen,
                };
                let found = Found {
                    at: self.last,
                    link: interface.map_or(LinkType::UNKNOWN, |interface| interface.link),
                    bytes: 12..12 + block.packet_data().len().min(kept),
                    wire_len: block.origlen as usize,
                };
                return Step::Packet(found, len);
            }
            // (The parser reads the type as little-endian in either case.)
            Block::Unknown(block)
                if [block.block_type, block.block_type.swap_bytes()].contains(&OBSOLETE_PACKET) =>
            {
                return Step::Skipped(len);
            }
            _ => {}
        }
        Step::Other(len)
    }
}
