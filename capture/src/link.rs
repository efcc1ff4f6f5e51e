//! The link layer: what lies before the IP header, by the link type of the source
//! (<https://www.tcpdump.org/linktypes.html>).
//!
//! `logs` are the headers that capturing systems put before packets, `wireless` is 802.11; `ether` takes off what follows.

mod logs;
mod wireless;

use crate::{
    LinkType, Packet, Way,
    ether::{self, Layer},
    outside::Outside,
    packet::{Payload, Skip, byte, short},
};

/// The type of loopback interfaces (ARPHRD_LOOPBACK, include/uapi/linux/if_arp.h).
const LOOPBACK: u16 = 772;
/// Types of Linux' interfaces whose packets begin otherwise than their protocol says: Frame Relay, 802.11 with radiotap.
const FRAME_RELAY: u16 = 770;
const RADIOTAP: u16 = 803;

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network<'a> {
    pub packet: Payload<'a>,
    /// Whether the capturing host sent it, where the source or the link layer says so.
    pub way: Way,
}

/// What follows a header, and who sent it.
type Inside<'a> = Result<(Layer, Payload<'a>, Way), Skip>;

/// How a link layer is taken off.
#[derive(Clone, Copy)]
enum Kind {
    /// After so many bytes this begins.
    After(usize, Layer),
    /// After so many bytes the type of what follows stands.
    TypeAt(usize),
    /// The first byte says who sent the packet, then this begins.
    Directed(Layer),
    Cooked,
    Cooked2,
    Loopback,
    PppHdlc,
    Log(logs::Kind),
    Wireless(wireless::Kind),
}

impl Kind {
    #[inline]
    fn of(link: LinkType) -> Option<Self> {
        match link {
            LinkType::ETHERNET => Some(Self::After(0, Layer::Ethernet)),
            link => match link.taken_off() {
                Some(kind) => Some(Self::After(0, Layer::Type(kind))),
                None => Self::other(link),
            },
        }
    }

    fn other(link: LinkType) -> Option<Self> {
        use logs::Kind as Log;
        use wireless::Kind as Wireless;
        Some(match link {
            LinkType::LINUX_SLL => Self::Cooked,
            LinkType::LINUX_SLL2 => Self::Cooked2,
            LinkType::NULL | LinkType::LOOP => Self::Loopback,
            // 12 and 14 are what BSDs wrote for RAW.
            LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 | LinkType(12 | 14) => Self::After(0, Layer::Ip),
            LinkType::PPP => Self::After(0, Layer::Ppp),
            LinkType::PPP_HDLC => Self::PppHdlc,
            LinkType::PPP_ETHER => Self::After(0, Layer::Type(0x8864)),
            LinkType::PPP_PPPD => Self::Log(Log::Pppd),
            LinkType::PPP_WITH_DIR => Self::Directed(Layer::Ppp),
            LinkType::C_HDLC => Self::After(0, Layer::CiscoHdlc),
            LinkType::C_HDLC_WITH_DIR => Self::Directed(Layer::CiscoHdlc),
            LinkType::FRELAY => Self::After(0, Layer::FrameRelay),
            LinkType::FRELAY_WITH_DIR => Self::Directed(Layer::FrameRelay),
            LinkType::MPLS => Self::After(0, Layer::Mpls),
            LinkType::ATM_RFC1483 => Self::After(0, Layer::Llc),
            LinkType::IP_OVER_FC => Self::After(16, Layer::Llc),
            LinkType::APPLE_IP_OVER_IEEE1394 => Self::TypeAt(16),
            LinkType::NETANALYZER => Self::After(4, Layer::Ethernet),
            LinkType::DSA_TAG_BRCM_PREPEND => Self::After(4, Layer::Ethernet),
            LinkType::DSA_TAG_BRCM | LinkType::DSA_TAG_DSA => Self::TypeAt(16),
            LinkType::DSA_TAG_EDSA => Self::TypeAt(20),
            LinkType::DOCSIS => Self::Log(Log::Docsis),
            LinkType::NFLOG => Self::Log(Log::Nflog),
            LinkType::PFLOG => Self::Log(Log::Pflog),
            LinkType::ENC => Self::After(12, Layer::Ip),
            LinkType::ERF => Self::Log(Log::Erf),
            LinkType::PKTAP => Self::Log(Log::Pktap),
            LinkType::PPI => Self::Log(Log::Ppi),
            LinkType::IEEE802_11 => Self::Wireless(Wireless::Bare),
            LinkType::IEEE802_11_PRISM => Self::Wireless(Wireless::Prism),
            LinkType::IEEE802_11_RADIOTAP => Self::Wireless(Wireless::Radiotap),
            LinkType::IEEE802_11_AVS => Self::Wireless(Wireless::Avs),
            _ => return None,
        })
    }
}

/// True if it can be taken off.
pub(crate) fn is_known(link: LinkType) -> bool {
    Kind::of(link).is_some()
}

/// Takes the link layer off.
#[inline]
pub(crate) fn network<'a>(packet: &Packet<'a>, outside: &mut Outside) -> Result<Network<'a>, Skip> {
    let whole = Payload {
        bytes: packet.bytes,
        len: packet.wire_len.max(packet.bytes.len()),
    };
    if let Some(control) = packet.vlan {
        outside.tag(control);
    }
    let kind = Kind::of(packet.link).ok_or(Skip::UnknownLink)?;
    let (layer, rest, way) = inside(kind, whole, packet.way)?;
    Ok(Network {
        packet: ether::ip(layer, rest, outside)?,
        way,
    })
}

#[inline]
fn inside(kind: Kind, whole: Payload<'_>, way: Way) -> Inside<'_> {
    match kind {
        Kind::After(head, layer) => Ok((layer, whole.skip(head)?, way)),
        kind => by_header(kind, whole, way),
    }
}

fn by_header(kind: Kind, whole: Payload<'_>, way: Way) -> Inside<'_> {
    let bytes = whole.bytes;
    match kind {
        Kind::After(head, layer) => Ok((layer, whole.skip(head)?, way)),
        Kind::TypeAt(place) => Ok((Layer::Type(short(bytes, place)?), whole.skip(place + 2)?, way)),
        Kind::Directed(layer) => {
            let way = match byte(bytes, 0)? {
                0 => Way::Received,
                _ => Way::Sent,
            };
            Ok((layer, whole.skip(1)?, way))
        }
        Kind::Cooked => {
            let (hardware, kind) = (short(bytes, 2)?, byte(bytes, 1)?);
            cooked(hardware, kind, short(bytes, 14)?, whole.skip(16)?)
        }
        Kind::Cooked2 => {
            let (hardware, kind) = (short(bytes, 8)?, byte(bytes, 10)?);
            cooked(hardware, kind, short(bytes, 0)?, whole.skip(20)?)
        }
        Kind::Loopback => {
            // The family's number, in either byte order: 2 is IPv4, IPv6 differs among systems.
            let family = bytes.first_chunk::<4>().ok_or(Skip::Malformed)?;
            match u32::from_be_bytes(*family).min(u32::from_le_bytes(*family)) {
                2 | 10 | 24 | 28 | 30 => Ok((Layer::Ip, whole.skip(4)?, way)),
                _ => Err(Skip::NotIp),
            }
        }
        // Cisco's HDLC has another address, of one station or of all.
        Kind::PppHdlc => match byte(bytes, 0)? {
            0x0f | 0x8f => Ok((Layer::CiscoHdlc, whole, way)),
            _ => Ok((Layer::Ppp, whole, way)),
        },
        Kind::Log(kind) => logs::inside(kind, whole, way),
        Kind::Wireless(kind) => Ok((Layer::Llc, wireless::data(kind, whole)?, way)),
    }
}

/// What Linux says of a cooked packet, by its interface's type and its own: 4 is outgoing; 0, 1, 2 came in; 3 was for
/// another host.
fn cooked(hardware: u16, kind: u8, protocol: u16, rest: Payload<'_>) -> Inside<'_> {
    let way = match kind {
        _ if hardware == LOOPBACK => Way::Local,
        4 => Way::Sent,
        0..=2 => Way::Received,
        _ => Way::Unknown,
    };
    match hardware {
        FRAME_RELAY => Ok((Layer::FrameRelay, rest, way)),
        RADIOTAP => Ok((Layer::Llc, wireless::data(wireless::Kind::Radiotap, rest)?, way)),
        _ => Ok((Layer::Type(protocol), rest, way)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_records::Timestamp;

    fn taken(link: LinkType, head: &[u8]) -> Result<Way, Skip> {
        let bytes = [head, b"IP"].concat();
        let packet = Packet::new(Timestamp(0), link, &bytes, bytes.len() + 5);
        network(&packet, &mut Outside::default()).map(|network| {
            assert_eq!((network.packet.bytes, network.packet.len), (&b"IP"[..], 7));
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
        assert_eq!(ethernet(&[0, 40, 0x42, 0x42, 3]), Err(Skip::NotIp));
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
        assert_eq!(taken(LinkType::ethertype(ether::IPV6), &[]), Ok(Way::Unknown));
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
            assert_eq!(
                network(&packet, &mut Outside::default()),
                Err(Skip::Malformed),
                "{link}"
            );
        }
    }
}
