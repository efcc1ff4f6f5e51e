//! Packets made by hand, with right checksums.

use std::net::{IpAddr, SocketAddr};

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

const ETHERNET: usize = 14;

/// A packet with one TCP or UDP header.
#[derive(Clone)]
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub protocol: u8,
    pub flags: u8,
    pub seq: u32,
    /// IPv4 options, or IPv6 extension headers as (type, bytes).
    pub options: Vec<u8>,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub fragment: u16,
    pub vlan: Option<u16>,
}

impl Packet {
    pub fn tcp(from: SocketAddr, to: SocketAddr, flags: u8) -> Self {
        Self {
            from,
            to,
            protocol: 6,
            flags,
            seq: 1000,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: 0,
            vlan: None,
        }
    }

    pub fn udp(from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            protocol: 17,
            ..Self::tcp(from, to, 0)
        }
    }

    /// Offset of the TCP or UDP header.
    pub fn l4(&self) -> usize {
        let extensions: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum();
        let tag = if self.vlan.is_some() { 4 } else { 0 };
        ETHERNET
            + tag
            + if self.to.is_ipv4() {
                20 + self.options.len()
            } else {
                40 + extensions
            }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let l4 = self.transport();
        let mut bytes = vec![0; 12];
        if let Some(tag) = self.vlan {
            bytes.extend(0x8100_u16.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend(0x0800_u16.to_be_bytes());
                let length = 20 + self.options.len();
                bytes.push(0x40 | u8::try_from(length / 4).unwrap());
                bytes.push(0);
                bytes.extend(u16::try_from(length + l4.len()).unwrap().to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(self.fragment.to_be_bytes());
                bytes.extend([64, self.protocol, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                bytes.extend(&self.options);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes.extend(0x86dd_u16.to_be_bytes());
                let extensions: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum();
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(u16::try_from(extensions + l4.len()).unwrap().to_be_bytes());
                let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
                kinds.push(self.protocol);
                bytes.extend([kinds[0], 64]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                for (i, (_, extension)) in self.extensions.iter().enumerate() {
                    bytes.push(kinds[i + 1]);
                    bytes.extend(&extension[1..]);
                }
            }
            _ => panic!("one family"),
        }
        bytes.extend(l4);
        bytes
    }

    fn transport(&self) -> Vec<u8> {
        let mut l4 = Vec::new();
        l4.extend(self.from.port().to_be_bytes());
        l4.extend(self.to.port().to_be_bytes());
        let checksum = if self.protocol == 6 {
            l4.extend(self.seq.to_be_bytes());
            l4.extend([0; 4]);
            l4.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
            16
        } else {
            l4.extend([0, 12, 0, 0]);
            l4.extend(b"ask?");
            6
        };
        let sum = checksum_of(self.from.ip(), self.to.ip(), self.protocol, &l4);
        l4[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
        l4
    }
}

/// The Internet checksum (RFC 1071) over pseudo header and bytes: 0 over bytes whose checksum is right.
pub fn checksum_of(from: IpAddr, to: IpAddr, protocol: u8, l4: &[u8]) -> u16 {
    let mut all = Vec::new();
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => all.extend(ip.octets()),
            IpAddr::V6(ip) => all.extend(ip.octets()),
        }
    }
    all.extend([0, protocol]);
    all.extend(u16::try_from(l4.len()).unwrap().to_be_bytes());
    all.extend(l4);
    if all.len() % 2 == 1 {
        all.push(0);
    }
    let mut sum: u32 = all
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
