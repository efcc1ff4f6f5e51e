//! What packets are wrapped in, one function a wrapping. Each takes what goes inside and gives it wrapped.

use crate::support::ip;
use std::net::SocketAddr;

/// An IPv4 packet of this protocol.
pub fn v4(protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = (20 + content.len()) as u16;
    let head = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 1, 0, 0, 64, protocol, 0, 0, 198, 19, 0, 1, 198, 19, 0, 2],
    ];
    [&head.concat(), content].concat()
}

/// An IPv6 packet of this protocol.
pub fn v6(protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    let head = [
        &[0x60, 0, 0, 0][..],
        &length,
        &[protocol, 64],
        &[0xfd; 16],
        &[0xfe; 16],
    ];
    [&head.concat(), content].concat()
}

/// A datagram to this port, by IPv4.
pub fn datagram(source: u16, port: u16, content: &[u8]) -> Vec<u8> {
    v4(17, &udp_header(source, port, content))
}

/// The header of UDP before this.
pub fn udp_header(source: u16, port: u16, content: &[u8]) -> Vec<u8> {
    let length = (8 + content.len()) as u16;
    let words = [source, port, length, 0].map(u16::to_be_bytes);
    [&words.concat(), content].concat()
}

/// The Ethernet type of an IP packet.
pub fn kind(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd }
}

/// An Ethernet frame of this type.
pub fn typed(kind: u16, content: &[u8]) -> Vec<u8> {
    [
        &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..],
        &kind.to_be_bytes(),
        content,
    ]
    .concat()
}

/// An Ethernet frame around an IP packet.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    typed(kind(packet), packet)
}

/// A VLAN tag before what has this type; gives the tag and what follows.
pub fn tagged(id: u16, kind: u16, content: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &kind.to_be_bytes(), content].concat()
}

/// GRE with these flags and fields between them and the content.
pub fn gre(flags: u16, kind: u16, fields: &[u8], content: &[u8]) -> Vec<u8> {
    [&flags.to_be_bytes()[..], &kind.to_be_bytes(), fields, content].concat()
}

/// VXLAN's header before a frame.
pub fn vxlan(id: u32, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(id << 8).to_be_bytes(), frame].concat()
}

/// Geneve's header with an option of eight bytes.
pub fn geneve(id: u32, kind: u16, content: &[u8]) -> Vec<u8> {
    let option = [1, 2, 3, 1, 9, 9, 9, 9];
    let kind = kind.to_be_bytes();
    [&[2, 0][..], &kind, &(id << 8).to_be_bytes(), &option, content].concat()
}

/// Labels before this, the last with the bottom's mark.
pub fn mpls(labels: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, label) in labels.iter().enumerate() {
        let bottom = u32::from(place + 1 == labels.len());
        bytes.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
    }
    bytes.extend(content);
    bytes
}

/// A session of PPP over Ethernet: what an Ethernet frame of its type has.
pub fn pppoe(ppp: &[u8]) -> Vec<u8> {
    let length = (ppp.len() as u16).to_be_bytes();
    [&[0x11, 0, 0, 7][..], &length, ppp].concat()
}

/// PPP around an IP packet.
pub fn ppp(packet: &[u8]) -> Vec<u8> {
    let protocol: u16 = if packet[0] >> 4 == 4 { 0x21 } else { 0x57 };
    [&protocol.to_be_bytes()[..], packet].concat()
}

/// LLC and SNAP of this organisation.
pub fn snap(organisation: [u8; 3], kind: u16, content: &[u8]) -> Vec<u8> {
    [&[0xaa, 0xaa, 3][..], &organisation, &kind.to_be_bytes(), content].concat()
}

/// A frame of 802.3 around LLC.
pub fn measured(llc: &[u8]) -> Vec<u8> {
    typed(llc.len() as u16, llc)
}

/// GTP-U with a sequence number and an extension header.
pub fn gtp(tunnel: u32, packet: &[u8]) -> Vec<u8> {
    let rest = [&[0, 1, 0, 0x85][..], &[1, 0x10, 9, 0], packet].concat();
    let length = (rest.len() as u16).to_be_bytes();
    [&[0x36, 255][..], &length, &tunnel.to_be_bytes(), &rest].concat()
}

/// Data of L2TP, with its length.
pub fn l2tp(ppp: &[u8]) -> Vec<u8> {
    let length = (8 + ppp.len()) as u16;
    [&[0x40, 2][..], &length.to_be_bytes(), &[0, 1, 0, 2], ppp].concat()
}

/// A data frame of 802.11 with quality of service, from an access point.
pub fn wireless(llc: &[u8]) -> Vec<u8> {
    [&[0x88, 2, 0, 0][..], &[7; 18], &[0x10, 0], &[0, 0], llc].concat()
}

/// An IP packet with a query for a name, and one that answers.
pub fn dns(source: &str, destination: &str, message: &[u8]) -> Vec<u8> {
    let [source, destination] = [source, destination].map(|text| text.parse::<SocketAddr>().unwrap());
    let mut bytes = Vec::new();
    let builder = ip(source, destination).udp(source.port(), destination.port());
    builder.write(&mut bytes, message).unwrap();
    bytes
}
