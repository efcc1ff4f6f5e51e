//! The link layer: what lies before the IP header.

use crate::{LinkType, Packet, Way, packet::Skip};

const VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// The type of loopback interfaces (ARPHRD_LOOPBACK, include/uapi/linux/if_arp.h).
const LOOPBACK: u16 = 772;
/// PPP over Ethernet, session.
const PPPOE: u16 = 0x8864;

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network<'a> {
    pub bytes: &'a [u8],
    /// Bytes from here on that the packet had on the wire.
    pub wire_len: usize,
    /// Whether the capturing host sent it, where the source or the link layer says so.
    pub way: Way,
}

/// How a link layer is taken off.
enum Kind {
    Ethernet,
    Cooked,
    Cooked2,
    Loopback,
    Raw,
    /// Taken off already; what follows is of this type.
    None(u16),
}

impl Kind {
    fn of(link: LinkType) -> Option<Self> {
        if let Some(kind) = link.taken_off() {
            return Some(Self::None(kind));
        }
        Some(match link {
            LinkType::ETHERNET => Self::Ethernet,
            LinkType::LINUX_SLL => Self::Cooked,
            LinkType::LINUX_SLL2 => Self::Cooked2,
            LinkType::NULL | LinkType::LOOP => Self::Loopback,
            // 12 and 14 are what BSDs wrote for RAW.
            LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 | LinkType(12 | 14) => Self::Raw,
            _ => return None,
        })
    }
}

/// True if it can be taken off.
pub(crate) fn is_known(link: LinkType) -> bool {
    Kind::of(link).is_some()
}

/// Takes the link layer off.
pub(crate) fn network<'a>(packet: &Packet<'a>) -> Result<Network<'a>, Skip> {
    let bytes = packet.bytes;
    match Kind::of(packet.link).ok_or(Skip::UnknownLink)? {
        Kind::Ethernet => ethernet(packet, 12, packet.way),
        Kind::Cooked => {
            let way = way(short(bytes, 2)?, byte(bytes, 1)?);
            ethernet(packet, 14, way)
        }
        Kind::Cooked2 => {
            let way = way(short(bytes, 8)?, byte(bytes, 10)?);
            beyond(packet, short(bytes, 0)?, 20, way)
        }
        Kind::Raw => at(packet, 0, packet.way),
        Kind::None(kind) => beyond(packet, kind, 0, packet.way),
        Kind::Loopback => {
            // The family's number, in either byte order: 2 is IPv4, IPv6 differs among systems.
            let family = bytes.first_chunk::<4>().ok_or(Skip::Malformed)?;
            match u32::from_be_bytes(*family).min(u32::from_le_bytes(*family)) {
                2 | 10 | 24 | 28 | 30 => at(packet, 4, packet.way),
                _ => Err(Skip::NotIp),
            }
        }
    }
}

/// What Linux says of a cooked packet, by its interface's type and its own: 4 is outgoing; 0, 1, 2 came in; 3 was for
/// another host.
fn way(hardware: u16, kind: u8) -> Way {
    match kind {
        _ if hardware == LOOPBACK => Way::Local,
        4 => Way::Sent,
        0..=2 => Way::Received,
        _ => Way::Unknown,
    }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Skip> {
    bytes.get(at).copied().ok_or(Skip::Malformed)
}

fn short(bytes: &[u8], at: usize) -> Result<u16, Skip> {
    let pair = bytes.get(at..).and_then(<[u8]>::first_chunk);
    pair.map(|pair| u16::from_be_bytes(*pair)).ok_or(Skip::Malformed)
}

/// The type of what follows stands here.
fn ethernet<'a>(packet: &Packet<'a>, place: usize, way: Way) -> Result<Network<'a>, Skip> {
    beyond(packet, short(packet.bytes, place)?, place + 2, way)
}

/// What follows is of this type, and begins here: maybe with VLAN tags, as many as there are.
fn beyond<'a>(packet: &Packet<'a>, mut kind: u16, mut start: usize, way: Way) -> Result<Network<'a>, Skip> {
    while VLAN.contains(&kind) {
        kind = short(packet.bytes, start + 2)?;
        start += 4;
    }
    match kind {
        IPV4 | IPV6 => at(packet, start, way),
        PPPOE => match short(packet.bytes, start + 6)? {
            0x0021 | 0x0057 => at(packet, start + 8, way),
            _ => Err(Skip::NotIp),
        },
        _ => Err(Skip::NotIp),
    }
}

fn at<'a>(packet: &Packet<'a>, start: usize, way: Way) -> Result<Network<'a>, Skip> {
    Ok(Network {
        bytes: packet.bytes.get(start..).ok_or(Skip::Malformed)?,
        wire_len: packet.wire_len.saturating_sub(start),
        way,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_records::Timestamp;

    fn taken(link: LinkType, head: &[u8]) -> Result<Way, Skip> {
        let bytes = [head, b"IP"].concat();
        let packet = Packet::new(Timestamp(0), link, &bytes, bytes.len() + 5);
        network(&packet).map(|network| {
            assert_eq!((network.bytes, network.wire_len), (&b"IP"[..], 7));
            network.way
        })
    }

    #[test]
    fn every_link_layer_is_taken_off() {
        let mac = [0; 12];
        let ethernet = |rest: &[u8]| taken(LinkType::ETHERNET, &[&mac, rest].concat());
        assert_eq!(ethernet(&[8, 0]), Ok(Way::Unknown));
        assert_eq!(ethernet(&[0x86, 0xdd]), Ok(Way::Unknown));
        assert_eq!(ethernet(&[0x81, 0, 0, 7, 8, 0]), Ok(Way::Unknown));
        assert_eq!(
            ethernet(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x86, 0xdd]),
            Ok(Way::Unknown)
        );
        assert_eq!(
            ethernet(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 9, 0, 0x21]),
            Ok(Way::Unknown)
        );
        assert_eq!(ethernet(&[8, 6]), Err(Skip::NotIp));
        assert_eq!(ethernet(&[0, 40]), Err(Skip::NotIp));
        let cooked = |kind: u8| [&[0, kind][..], &[0; 12], &[8, 0]].concat();
        assert_eq!(taken(LinkType::LINUX_SLL, &cooked(4)), Ok(Way::Sent));
        assert_eq!(taken(LinkType::LINUX_SLL, &cooked(0)), Ok(Way::Received));
        let cooked2 = |kind: u8| [&[0x86, 0xdd][..], &[0; 8], &[kind], &[0; 9]].concat();
        assert_eq!(taken(LinkType::LINUX_SLL2, &cooked2(4)), Ok(Way::Sent));
        assert_eq!(taken(LinkType::LINUX_SLL2, &cooked2(3)), Ok(Way::Unknown));
        let on_loopback = [&[0, 4, 3, 4][..], &[0; 10], &[8, 0]].concat();
        assert_eq!(taken(LinkType::LINUX_SLL, &on_loopback), Ok(Way::Local));
        let on_loopback = [&[8, 0, 0, 0, 0, 0, 0, 1, 3, 4][..], &[0; 10]].concat();
        assert_eq!(taken(LinkType::LINUX_SLL2, &on_loopback), Ok(Way::Local));
        for family in [[2, 0, 0, 0], [0, 0, 0, 2], [30, 0, 0, 0], [0, 0, 0, 24]] {
            assert_eq!(taken(LinkType::NULL, &family), Ok(Way::Unknown));
            assert_eq!(taken(LinkType::LOOP, &family), Ok(Way::Unknown));
        }
        assert_eq!(taken(LinkType::NULL, &[7, 0, 0, 0]), Err(Skip::NotIp));
        assert_eq!(taken(LinkType::RAW, &[]), Ok(Way::Unknown));
        assert_eq!(taken(LinkType::ethertype(IPV6), &[]), Ok(Way::Unknown));
        let tagged = [0, 9, 8, 0];
        assert_eq!(taken(LinkType::ethertype(0x8100), &tagged), Ok(Way::Unknown));
        assert_eq!(taken(LinkType::ethertype(0x0806), &[]), Err(Skip::NotIp));
        assert_eq!(taken(LinkType(147), &[]), Err(Skip::UnknownLink));
    }

    #[test]
    fn what_ends_too_early_is_malformed() {
        for (link, length) in [(1, 13), (113, 15), (276, 10), (0, 3)] {
            let bytes = vec![0; length];
            let packet = Packet::new(Timestamp(0), LinkType(link), &bytes, 60);
            assert_eq!(network(&packet), Err(Skip::Malformed), "{link}");
        }
    }
}
