//! What the headers of a packet say, for those who count packets and decode nothing.

use crate::{
    Packet, link,
    outside::Outside,
    packet::{Ip, Payload, TCP, UDP},
};
use std::net::IpAddr;

/// Of a packet of TCP or UDP, or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Who sent it.
    pub source: IpAddr,
    /// IP's number of what it carries: 6 is TCP, 17 UDP.
    pub protocol: u8,
    /// Where it goes; nothing if that stands in another fragment.
    pub destination_port: Option<u16>,
    /// Bytes on the wire, from the IP header on.
    pub bytes: u64,
}

impl Heading {
    /// Reads it; nothing if the packet is something else, or not enough of it was captured.
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let network = link::network(packet, &mut Outside::default()).ok()?.packet;
        let ip = Ip::read(&network).ok()?;
        if ![TCP, UDP].contains(&ip.protocol) {
            return None;
        }
        let is_first = ip.fragment.is_none_or(|fragment| fragment.offset == 0);
        let port = ip.payload.bytes.get(2..4).filter(|_| is_first);
        Some(Self {
            source: ip.source,
            protocol: ip.protocol,
            destination_port: port.map(|port| u16::from_be_bytes([port[0], port[1]])),
            bytes: length(&network, ip.source) as u64,
        })
    }
}

/// What the packet says of its length, without what pads a short frame. Merged segments may have no room to say it.
fn length(network: &Payload<'_>, source: IpAddr) -> usize {
    let (at, more) = if source.is_ipv4() { (2, 0) } else { (4, 40) };
    match network.bytes.get(at..at + 2) {
        Some(&[high, low]) if (high, low) != (0, 0) => more + usize::from(u16::from_be_bytes([high, low])),
        _ => network.len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkType;
    use etherparse::PacketBuilder;
    use weir_records::Timestamp;

    fn heading(bytes: &[u8], kept: usize) -> Option<Heading> {
        let link = LinkType::RAW;
        Heading::of(&Packet::new(Timestamp(0), link, &bytes[..kept], bytes.len()))
    }

    #[test]
    fn lengths_are_the_packets_own() {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv6([7; 16], [8; 16], 64).udp(5000, 8080);
        builder.write(&mut bytes, &[1; 300]).unwrap();
        let expected = Heading {
            source: [7; 16].into(),
            protocol: 17,
            destination_port: Some(8080),
            bytes: 348,
        };
        assert_eq!(heading(&bytes, 348), Some(expected));
        assert_eq!(heading(&bytes, 60), Some(expected), "cut by the snaplen");
        assert_eq!(heading(&bytes, 30), None);
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([198, 18, 0, 1], [198, 18, 0, 2], 64).tcp(5000, 8080, 1, 1);
        builder.write(&mut bytes, &[]).unwrap();
        bytes.extend([0; 6]);
        let padded = heading(&bytes, 46).unwrap();
        assert_eq!((padded.bytes, padded.protocol), (40, 6));
        // A later fragment.
        bytes[7] = 9;
        assert_eq!(heading(&bytes, 46).unwrap().destination_port, None);
        bytes[9] = 1;
        assert_eq!(heading(&bytes, 46), None, "ICMP");
    }
}
