//! Records (RFC 8446, 5.1), and the handshake messages in them: a message may be cut over several records, and a record
//! hold several messages.

/// Type of a record: plain bytes of the handshake.
pub const HANDSHAKE: u8 = 22;
/// Type of a record: an alert, plain as long as nothing is encrypted.
const ALERT: u8 = 21;
/// Types of messages.
pub const CLIENT_HELLO: u8 = 1;
pub const SERVER_HELLO: u8 = 2;
/// Length of a record's header.
pub const HEADER: usize = 5;
/// Longest record, with what encryption may add to it.
pub const LONGEST: usize = (1 << 14) + 2048;
/// No hello is longer: with post-quantum keys some are nearly 2 KiB.
const LONGEST_MESSAGE: usize = 64 << 10;
/// Length of a message's header: its type and its length.
const MESSAGE_HEADER: usize = 4;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A hello: its type and its body.
    Hello(u8, Vec<u8>),
    /// An alert: its level and what it says.
    Alert(u8, u8),
    /// From here on everything is encrypted, or not understood.
    Opaque,
    /// A message that is too long to be kept.
    TooLong,
}

/// One side's records, until its hello has been read.
#[derive(Debug, Default)]
pub struct Records {
    header: Vec<u8>,
    /// Bytes that are missing of the record whose header is whole.
    missing: usize,
    kind: u8,
    /// The message, or the alert, so far.
    message: Vec<u8>,
}

impl Records {
    /// Memory that it takes.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.header.capacity() + self.message.capacity()
    }

    /// Takes bytes up to the first thing that is found.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        while !bytes.is_empty() {
            if self.missing == 0 {
                if let Some(found) = self.begin(bytes) {
                    return Some(found);
                }
                continue;
            }
            let (piece, rest) = bytes.split_at(self.missing.min(bytes.len()));
            self.missing -= piece.len();
            *bytes = rest;
            self.message.extend_from_slice(piece);
            if self.message.len() > LONGEST_MESSAGE {
                return Some(Found::TooLong);
            }
            if let Some(found) = self.whole() {
                return Some(found);
            }
        }
        None
    }

    /// A record's header.
    fn begin(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        let (piece, rest) = bytes.split_at((HEADER - self.header.len()).min(bytes.len()));
        self.header.extend_from_slice(piece);
        *bytes = rest;
        let [kind, 3, _, high, low] = self.header[..] else {
            return (self.header.len() == HEADER).then_some(Found::Opaque);
        };
        self.header.clear();
        self.missing = usize::from(u16::from_be_bytes([high, low]));
        if self.missing > LONGEST || (!self.message.is_empty() && kind != self.kind) {
            return Some(Found::Opaque);
        }
        self.kind = kind;
        (!matches!(kind, HANDSHAKE | ALERT)).then_some(Found::Opaque)
    }

    fn whole(&mut self) -> Option<Found> {
        if self.kind == ALERT {
            return match self.message[..] {
                [level, what, ..] => Some(Found::Alert(level, what)),
                _ => None,
            };
        }
        let [kind, length @ ..] = *self.message.first_chunk::<MESSAGE_HEADER>()?;
        if !matches!(kind, CLIENT_HELLO | SERVER_HELLO) {
            return Some(Found::Opaque);
        }
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > LONGEST_MESSAGE {
            return Some(Found::TooLong);
        }
        let body = self
            .message
            .get(MESSAGE_HEADER..MESSAGE_HEADER + length)?
            .to_vec();
        self.message.drain(..MESSAGE_HEADER + length);
        Some(Found::Hello(kind, body))
    }
}
