//! IP (4 and 6, with extension headers), TCP and UDP: headers read, and no more believed of lengths than is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a packet is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    UnknownLink,
    Malformed,
    /// A frame of what runs the network: ARP and its kin.
    NotIp,
    /// ICMP, and what routers tell each other.
    OtherTransport,
    /// Something that may carry what is looked for, and is not read.
    Unread(Unread),
}

/// What may carry data and is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Encrypted (or compressed by PPP).
    Encrypted,
    /// An Ethernet type that is not known.
    EtherType,
    /// A protocol of IP.
    IpProtocol,
    /// A protocol of PPP.
    PppProtocol,
    /// What a tunnel carries.
    TunnelContent,
    /// Tunnels within more tunnels than are taken off.
    TooDeep,
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
    /// Without its first bytes, which must have been captured.
    #[inline]
    pub fn skip(&self, head: usize) -> Result<Self, Skip> {
        Ok(Self {
            bytes: self.bytes.get(head..).ok_or(Skip::Malformed)?,
            len: self.len.checked_sub(head).ok_or(Skip::Malformed)?,
        })
    }

    /// Cuts a packet to the length that its header says: what follows is padding.
    #[inline]
    pub fn until(&self, len: usize) -> Self {
        Self {
            bytes: &self.bytes[..self.bytes.len().min(len)],
            len,
        }
    }
}

#[inline]
pub(crate) fn byte(bytes: &[u8], at: usize) -> Result<u8, Skip> {
    bytes.get(at).copied().ok_or(Skip::Malformed)
}

#[inline]
pub(crate) fn short(bytes: &[u8], at: usize) -> Result<u16, Skip> {
    let pair = bytes.get(at..).and_then(<[u8]>::first_chunk);
    pair.map(|pair| u16::from_be_bytes(*pair)).ok_or(Skip::Malformed)
}

#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> Result<u32, Skip> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk);
    four.map(|four| u32::from_be_bytes(*four)).ok_or(Skip::Malformed)
}

/// Bytes of the header of this protocol, if it stands between IP's and what is carried, and has another behind it.
fn extension(protocol: u8, is_v4: bool, bytes: &[u8]) -> Result<Option<usize>, Skip> {
    let units = || byte(bytes, 1).map(usize::from);
    Ok(match protocol {
        // Authentication
        51 => Some(8 + units()? * 4),
        // Hop by hop, routing, destination, mobility, HIP, shim6
        0 | 43 | 60 | 135 | 139 | 140 if !is_v4 => Some(8 + units()? * 8),
        _ => None,
    })
}

impl<'a> Ip<'a> {
    pub fn read(packet: &Payload<'a>) -> Result<Self, Skip> {
        match packet.bytes.first().map(|first| first >> 4) {
            Some(4) => Self::v4(packet),
            Some(6) => Self::v6(packet),
            _ => Err(Skip::Malformed),
        }
    }

    /// True if this can be nothing but an IP packet: its header agrees with itself and with the bytes that there are.
    pub fn is_sound(packet: &Payload<'a>) -> bool {
        let Some(head) = packet.bytes.first_chunk::<20>() else {
            return false;
        };
        match head[0] {
            // (A mirror may have cut the packet: then the checksum tells.)
            0x45..=0x4f => {
                let has_length = head[2..4] != [0, 0];
                let fits = Self::v4(packet).is_ok_and(|ip| has_length && ip.len <= packet.len);
                fits || Self::checks(packet.bytes)
            }
            0x60..=0x6f => {
                let fits = Self::v6(packet).is_ok_and(|ip| ip.len <= packet.len);
                fits || packet.bytes.len() >= 40 && matches!(head[6], TCP | UDP | 58)
            }
            _ => false,
        }
    }

    fn v4(packet: &Payload<'a>) -> Result<Self, Skip> {
        let bytes = packet.bytes;
        let header = usize::from(bytes[0] & 15) * 4;
        let [source, destination] = [12, 16].map(|at| word(bytes, at).map(Ipv4Addr::from_bits));
        let total = match usize::from(short(bytes, 2)?) {
            0 => packet.len, // the network card was to cut it into segments (TSO)
            total => total,
        };
        if header < 20 || total < header {
            return Err(Skip::Malformed);
        }
        let part = short(bytes, 6)?;
        let fragment = Fragment {
            id: u32::from(short(bytes, 4)?),
            offset: usize::from(part & 0x1fff) * 8,
            more: part & 0x2000 != 0,
        };
        let mut ip = Self {
            source: source?.into(),
            destination: destination?.into(),
            protocol: bytes[9],
            payload: packet.until(total).skip(header)?,
            fragment: (fragment.more || fragment.offset > 0).then_some(fragment),
            id: Some(short(bytes, 4)?),
            len: total,
        };
        if ip.protocol == 51 && ip.fragment.is_none() {
            ip.take_extensions()?;
        }
        Ok(ip)
    }

    fn v6(packet: &Payload<'a>) -> Result<Self, Skip> {
        let bytes = packet.bytes;
        let [source, destination] = [8, 24].map(|at| {
            let address = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>);
            let address = address.map(|address| Ipv6Addr::from(*address).into());
            address.ok_or(Skip::Malformed)
        });
        let packet = match usize::from(short(bytes, 4)?) {
            0 => *packet, // a jumbogram, or as in IPv4
            length => packet.until(40 + length),
        };
        let mut ip = Self {
            source: source?,
            destination: destination?,
            protocol: bytes[6],
            payload: packet.skip(40)?,
            fragment: None,
            id: None,
            len: packet.len,
        };
        ip.take_extensions()?;
        Ok(ip)
    }

    /// True if this begins with an IPv4 header whose checksum is right.
    pub fn checks(bytes: &[u8]) -> bool {
        let header = match bytes.first() {
            Some(first @ 0x45..=0x4f) => bytes.get(..usize::from(first & 15) * 4),
            _ => None,
        };
        let words = header.map(|header| header.chunks_exact(2));
        let words = words.into_iter().flatten();
        let sum: u32 = words
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        (sum & 0xffff) + (sum >> 16) == 0xffff
    }

    /// The packet's fragments are put together.
    pub fn whole(mut self, payload: &'a [u8]) -> Result<Self, Skip> {
        self.len = self.len.saturating_sub(self.payload.len) + payload.len();
        self.payload = Payload {
            bytes: payload,
            len: payload.len(),
        };
        self.fragment = None;
        self.take_extensions()?;
        Ok(self)
    }

    /// Takes off the headers between IP's own and what is carried.
    fn take_extensions(&mut self) -> Result<(), Skip> {
        let is_v4 = self.source.is_ipv4();
        loop {
            let bytes = self.payload.bytes;
            let size = match self.protocol {
                44 if !is_v4 => 8,
                protocol => match extension(protocol, is_v4, bytes)? {
                    Some(size) => size,
                    None => return Ok(()),
                },
            };
            let next = byte(bytes, 0)?;
            if self.protocol == 44 {
                let part = short(bytes, 2)?;
                let found = Fragment {
                    id: word(bytes, 4)?,
                    offset: usize::from(part & 0xfff8),
                    more: part & 1 != 0,
                };
                self.fragment = (found.more || found.offset > 0).then_some(found);
            }
            self.payload = self.payload.skip(size)?;
            self.protocol = next;
            // What follows in a fragment but the first is the middle of something.
            if self.fragment.is_some() {
                return Ok(());
            }
        }
    }
}

impl<'a> Segment<'a> {
    pub fn read(payload: &Payload<'a>) -> Result<Self, Skip> {
        let bytes = payload.bytes.get(..20).ok_or(Skip::Malformed)?;
        let header = usize::from(bytes[12] >> 4) * 4;
        let flags = bytes[13];
        if header < 20 || payload.len < header {
            return Err(Skip::Malformed);
        }
        Ok(Self {
            source_port: short(bytes, 0)?,
            destination_port: short(bytes, 2)?,
            sequence: word(bytes, 4)?,
            acknowledged: (flags & 0x10 != 0).then_some(word(bytes, 8)?),
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
    pub fn read(payload: &Payload<'a>) -> Result<Self, Skip> {
        let bytes = payload.bytes;
        let length = match usize::from(short(bytes, 4)?) {
            0 => payload.len, // a jumbogram
            length => length,
        };
        if length > payload.len {
            return Err(Skip::Malformed);
        }
        Ok(Self {
            source_port: short(bytes, 0)?,
            destination_port: short(bytes, 2)?,
            payload: payload.until(length).skip(8)?,
        })
    }
}
