//! Headers of frames (RFC 6455, 5.2).

use crate::Side;

/// Longest header: two bytes, a length of eight, a mask.
pub(super) const LONGEST: usize = 14;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Longest payload of a control frame.
const LONGEST_CONTROL: u64 = 125;
/// The bit that compressed messages have (RFC 7692, 6).
const RSV1: u8 = 0x40;
const RSV: u8 = 0x70;

/// What the handshake allows beyond the standard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Messages may be compressed (permessage-deflate).
    pub deflate: bool,
    /// Something else was agreed on, which may give the reserved bits a meaning.
    pub unknown_extension: bool,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The last frame of its message.
    pub fin: bool,
    reserved: u8,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    /// Bytes of the payload.
    pub length: u64,
}

/// Bytes that the header has which begins like this; as many as are needed to tell, at first.
pub(super) fn size(bytes: &[u8]) -> usize {
    let Some(second) = bytes.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

impl Header {
    /// Reads a whole header.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        let (second, rest) = rest.split_first()?;
        let (length, rest) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            length => (u64::from(length), rest),
        };
        let mask = match second & 0x80 {
            0 => None,
            _ => Some(*rest.first_chunk()?),
        };
        Some(Self {
            fin: first & 0x80 != 0,
            reserved: first & RSV,
            opcode: first & 0x0f,
            mask,
            length,
        })
    }

    pub fn is_control(&self) -> bool {
        self.opcode & 8 != 0
    }

    /// Its message is compressed.
    pub fn is_compressed(&self) -> bool {
        self.reserved & RSV1 != 0
    }

    /// What `side` may not send, if this is it; `within` a message whose last frame has not come.
    pub fn fault(&self, side: Side, rules: Rules, within: bool) -> Option<&'static str> {
        let begins = matches!(self.opcode, TEXT | BINARY);
        let allowed = match () {
            () if rules.unknown_extension => RSV,
            () if rules.deflate && begins => RSV1,
            () => 0,
        };
        match side {
            Side::Client if self.mask.is_none() => Some("not masked"),
            Side::Server if self.mask.is_some() => Some("masked"),
            _ if self.reserved & !allowed != 0 => Some("a reserved bit is set"),
            _ if !begins && !matches!(self.opcode, CONTINUATION | CLOSE | PING | PONG) => {
                Some("of an unknown kind")
            }
            _ if self.is_control() && !self.fin => Some("a control frame in fragments"),
            _ if self.is_control() && self.length > LONGEST_CONTROL => {
                Some("a control frame that is too long")
            }
            _ if self.length > u64::MAX >> 1 => Some("too long"),
            _ if begins && within => Some("a message within another"),
            _ if self.opcode == CONTINUATION && !within => Some("it goes on with no message"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_three_forms() {
        for (bytes, length, masked) in [
            (&[0x81, 5][..], 5, false),
            (&[0x81, 0x85, 1, 2, 3, 4], 5, true),
            (&[0x82, 126, 1, 0], 256, false),
            (&[0x82, 0xfe, 1, 0, 1, 2, 3, 4], 256, true),
            (&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32, false),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 1 << 16, true),
        ] {
            assert_eq!(size(bytes), bytes.len());
            assert_eq!(size(&bytes[..1]), 2);
            let header = Header::read(bytes).unwrap();
            assert_eq!((header.length, header.mask.is_some()), (length, masked));
            assert_eq!(Header::read(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn what_may_not_be_sent_is_named() {
        let none = Rules::default();
        let deflate = Rules {
            deflate: true,
            ..none
        };
        let other = Rules {
            unknown_extension: true,
            ..none
        };
        let read = |bytes: &[u8]| Header::read(bytes).unwrap();
        for (bytes, rules, within, fault) in [
            (&[0x81, 0][..], none, false, None),
            (&[0x81, 0], none, true, Some("a message within another")),
            (&[0x80, 0], none, false, Some("it goes on with no message")),
            (&[0x80, 0], none, true, None),
            (&[0x89, 0], none, true, None),
            (&[0x09, 0], none, false, Some("a control frame in fragments")),
            (
                &[0x89, 126, 0, 126],
                none,
                false,
                Some("a control frame that is too long"),
            ),
            (&[0x83, 0], none, false, Some("of an unknown kind")),
            (&[0xc1, 0], none, false, Some("a reserved bit is set")),
            (&[0xc1, 0], deflate, false, None),
            (&[0xc0, 0], deflate, true, Some("a reserved bit is set")),
            (&[0xc9, 0], deflate, false, Some("a reserved bit is set")),
            (&[0xa1, 0], deflate, false, Some("a reserved bit is set")),
            (&[0xa1, 0], other, false, None),
            (
                &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
                none,
                false,
                Some("too long"),
            ),
        ] {
            assert_eq!(
                read(bytes).fault(Side::Server, rules, within),
                fault,
                "{bytes:x?}"
            );
        }
        assert_eq!(
            read(&[0x81, 0]).fault(Side::Client, none, false),
            Some("not masked")
        );
        let masked = read(&[0x81, 0x80, 0, 0, 0, 0]);
        assert_eq!(masked.fault(Side::Server, none, false), Some("masked"));
        assert_eq!(masked.fault(Side::Client, none, false), None);
    }
}
