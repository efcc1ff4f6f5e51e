//! The packets of a block, as the kernel laid them out (include/uapi/linux/if_packet.h).

use crate::{LinkType, Packet, Way};
use nix::libc;
use std::mem::offset_of;
use weir_records::Timestamp;

/// The header of a packet, then its link-layer address, each aligned to this.
const ALIGN: usize = libc::TPACKET_ALIGNMENT;

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A word as an offset.
fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    word(bytes, at).and_then(|word| word.try_into().ok())
}

/// So many packets, of which the first begins here.
pub(super) fn packets(count: u32, bytes: &[u8]) -> Packets<'_> {
    Packets {
        left: count,
        rest: bytes,
    }
}

/// See [`packets`].
#[derive(Debug)]
pub(super) struct Packets<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        self.left = self.left.checked_sub(1)?;
        let frame = self.rest;
        let next = offset(frame, offset_of!(libc::tpacket3_hdr, tp_next_offset))?;
        self.rest = match next {
            0 => &[],
            next => frame.get(next..).unwrap_or_default(),
        };
        packet(frame)
    }
}

/// The VLAN tag that the kernel has taken off the frame.
fn tag(frame: &[u8]) -> Option<u16> {
    let status = word(frame, offset_of!(libc::tpacket3_hdr, tp_status))?;
    let tag = offset_of!(libc::tpacket3_hdr, hv1) + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci);
    let control = word(frame, tag)?;
    // (Of sixteen bits that are kept in a word.)
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some(control as u16)
}

fn packet(frame: &[u8]) -> Option<Packet<'_>> {
    let seconds = u64::from(word(frame, offset_of!(libc::tpacket3_hdr, tp_sec))?);
    let ns = u64::from(word(frame, offset_of!(libc::tpacket3_hdr, tp_nsec))?);
    let start = usize::from(short(frame, offset_of!(libc::tpacket3_hdr, tp_net))?);
    let len = offset(frame, offset_of!(libc::tpacket3_hdr, tp_snaplen))?;
    let address = frame.get(size_of::<libc::tpacket3_hdr>().next_multiple_of(ALIGN)..)?;
    let kind = u16::from_be(short(address, offset_of!(libc::sockaddr_ll, sll_protocol))?);
    let device = short(address, offset_of!(libc::sockaddr_ll, sll_hatype))?;
    let way = match *address.get(offset_of!(libc::sockaddr_ll, sll_pkttype))? {
        _ if device == libc::ARPHRD_LOOPBACK => Way::Local,
        libc::PACKET_OUTGOING => Way::Sent,
        libc::PACKET_HOST | libc::PACKET_BROADCAST | libc::PACKET_MULTICAST => Way::Received,
        _ => Way::Unknown,
    };
    Some(Packet {
        at: Timestamp(seconds * 1_000_000_000 + ns),
        link: LinkType::ethertype(kind),
        bytes: frame.get(start..start.checked_add(len)?)?,
        wire_len: offset(frame, offset_of!(libc::tpacket3_hdr, tp_len))?,
        interface: word(address, offset_of!(libc::sockaddr_ll, sll_ifindex))?,
        way,
        vlan: tag(frame),
    })
}
