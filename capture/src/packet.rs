//! IP (4 and 6, with extension headers), TCP and UDP: headers read, and no more believed of lengths than is there.

use crate::link::Network;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a packet is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    UnknownLink,
    Malformed,
    NotIp,
    OtherTransport,
}

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// An IP packet, or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ip<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// What the payload is.
    pub protocol: u8,
    pub payload: Payload<'a>,
    pub fragment: Option<Fragment>,
    /// IPv4's identification, by which a packet that was seen twice is known.
    pub id: Option<u16>,
    /// Bytes of the packet, from this header on.
    pub len: usize,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// What there was of it.
    pub len: usize,
}

/// Which part of a packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub id: u32,
    /// Where it belongs, in bytes.
    pub offset: usize,
    /// It is not the last.
    pub more: bool,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    /// Which byte the other side is to send next.
    pub acknowledged: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// How much the sender can take, not scaled.
    pub window: u16,
    /// Bytes of the header, options included.
    pub header: usize,
    /// What was captured of the options; `options` reads them.
    pub options: &'a [u8],
    pub payload: Payload<'a>,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub payload: Payload<'a>,
}

impl<'a> Payload<'a> {
    /// Without its first bytes; nothing if these were not captured.
    fn after(&self, head: usize) -> Option<Self> {
        Some(Self {
            bytes: self.bytes.get(head..)?,
            len: self.len.checked_sub(head)?,
        })
    }

    /// No longer than this: what follows is padding.
    fn until(&self, len: usize) -> Self {
        Self {
            bytes: &self.bytes[..self.bytes.len().min(len)],
            len,
        }
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> Ip<'a> {
    pub fn read(network: &Network<'a>) -> Result<Self, Skip> {
        let read = match network.bytes.first().map(|first| first >> 4) {
            Some(4) => Self::v4(network),
            Some(6) => Self::v6(network),
            _ => None,
        };
        read.ok_or(Skip::Malformed)
    }

    fn v4(network: &Network<'a>) -> Option<Self> {
        let bytes = network.bytes;
        let header = usize::from(bytes[0] & 15) * 4;
        let [source, destination] = [12, 16].map(|at| word(bytes, at).map(Ipv4Addr::from_bits));
        let total = match usize::from(short(bytes, 2)?) {
            0 => network.wire_len, // the network card was to cut it into segments (TSO)
            total => total,
        };
        if header < 20 || total < header {
            return None;
        }
        let part = short(bytes, 6)?;
        let fragment = Fragment {
            id: u32::from(short(bytes, 4)?),
            offset: usize::from(part & 0x1fff) * 8,
            more: part & 0x2000 != 0,
        };
        let whole = Payload {
            bytes,
            len: network.wire_len.max(bytes.len()),
        };
        Some(Self {
            source: source?.into(),
            destination: destination?.into(),
            protocol: bytes[9],
            payload: whole.until(total).after(header)?,
            fragment: (fragment.more || fragment.offset > 0).then_some(fragment),
            id: short(bytes, 4),
            len: total,
        })
    }

    fn v6(network: &Network<'a>) -> Option<Self> {
        let bytes = network.bytes;
        let [source, destination] = [8, 24].map(|at| {
            let address: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
            Some(Ipv6Addr::from(*address).into())
        });
        let whole = Payload {
            bytes,
            len: network.wire_len.max(bytes.len()),
        };
        let packet = match usize::from(short(bytes, 4)?) {
            0 => whole, // a jumbogram, or as in IPv4
            length => whole.until(40 + length),
        };
        let mut payload = packet.after(40)?;
        let mut protocol = bytes[6];
        let mut fragment = None;
        loop {
            let size = match protocol {
                // Hop by hop, routing, destination, mobility, HIP, shim6
                0 | 43 | 60 | 135 | 139 | 140 => 8 + usize::from(*payload.bytes.get(1)?) * 8,
                // Authentication
                51 => 8 + usize::from(*payload.bytes.get(1)?) * 4,
                44 => 8,
                _ => break,
            };
            let next = *payload.bytes.first()?;
            if protocol == 44 {
                let part = short(payload.bytes, 2)?;
                let found = Fragment {
                    id: word(payload.bytes, 4)?,
                    offset: usize::from(part & 0xfff8),
                    more: part & 1 != 0,
                };
                fragment = (found.more || found.offset > 0).then_some(found);
            }
            payload = payload.after(size)?;
            protocol = next;
            // What follows in a fragment but the first is the middle of something.
            if fragment.is_some() {
                break;
            }
        }
        Some(Self {
            source: source?,
            destination: destination?,
            protocol,
            payload,
            fragment,
            id: None,
            len: packet.len,
        })
    }
}

impl<'a> Segment<'a> {
    /// `None` if it is malformed.
    pub fn read(payload: &Payload<'a>) -> Option<Self> {
        let bytes = payload.bytes.get(..20)?;
        let header = usize::from(bytes[12] >> 4) * 4;
        let flags = bytes[13];
        if header < 20 || payload.len < header {
            return None;
        }
        Some(Self {
            source_port: short(bytes, 0)?,
            destination_port: short(bytes, 2)?,
            sequence: word(bytes, 4)?,
            acknowledged: word(bytes, 8).filter(|_| flags & 0x10 != 0),
            syn: flags & 2 != 0,
            fin: flags & 1 != 0,
            rst: flags & 4 != 0,
            window: short(bytes, 14)?,
            header,
            options: payload.bytes.get(20..header).unwrap_or_default(),
            payload: Payload {
                // (Options may not have been captured.)
                bytes: payload.bytes.get(header..).unwrap_or_default(),
                len: payload.len - header,
            },
        })
    }
}

impl<'a> Datagram<'a> {
    /// `None` if it is malformed.
    pub fn read(payload: &Payload<'a>) -> Option<Self> {
        let bytes = payload.bytes;
        let length = match usize::from(short(bytes, 4)?) {
            0 => payload.len, // a jumbogram
            length => length,
        };
        if length > payload.len {
            return None;
        }
        Some(Self {
            source_port: short(bytes, 0)?,
            destination_port: short(bytes, 2)?,
            payload: payload.until(length).after(8)?,
        })
    }
}
