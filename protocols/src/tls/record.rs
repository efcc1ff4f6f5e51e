//! Records (RFC 8446, 5.1), and the handshake messages in them: a message may be cut over several records, and a record
//! hold several messages. Hellos are put together; of everything else the kind is told, and its bytes are passed over.

/// Types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;
/// The last type, of heartbeats.
const LAST_TYPE: u8 = 24;
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
/// An alert in the open: its level and what it says.
const ALERT_SIZE: usize = 2;
/// First byte of a hello in SSL 2's form that has less than 256 bytes.
pub const SSL2: u8 = 0x80;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A hello: its type and its body.
    Hello(u8, Vec<u8>),
    /// A client's hello in SSL 2's form, from its version on.
    OldHello(Vec<u8>),
    /// Another message of the handshake, in the open: its type.
    Message(u8),
    /// What follows is encrypted, up to TLS 1.2; later it says nothing.
    ChangeCipherSpec,
    /// An alert in the open: its level and what it says.
    Alert(u8, u8),
    /// A record whose content is not to be read: its type and its length.
    Sealed(u8, usize),
    /// No TLS.
    Opaque,
    /// A hello that is too long to be kept.
    TooLong,
}

/// One side's records, as long as they are read.
#[derive(Debug, Default)]
pub struct Records {
    header: Vec<u8>,
    /// Bytes that are missing of the record whose header is whole.
    missing: usize,
    content: Content,
    /// The message so far, where a hello may become of it, or the alert.
    message: Vec<u8>,
    /// Bytes that are missing of a message that is passed over.
    pass: usize,
    /// Handshake and alerts are encrypted.
    encrypted: bool,
}

/// What becomes of a record's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Content {
    /// They are passed over.
    #[default]
    Sealed,
    Handshake,
    Alert,
    /// A hello in SSL 2's form.
    OldHello,
}

impl Records {
    /// Memory that it takes.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.header.capacity() + self.message.capacity()
    }

    /// From the next record on, handshake and alerts are encrypted.
    pub fn encrypt(&mut self) {
        self.encrypted = true;
    }

    /// Bytes were missed; true if that makes no difference to what follows.
    pub fn skip(&mut self, missed: u64) -> bool {
        let within = usize::try_from(missed).is_ok_and(|missed| missed <= self.missing);
        if within && self.content == Content::Sealed {
            self.missing -= usize::try_from(missed).unwrap_or_default();
        }
        within && self.content == Content::Sealed
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
            let mut piece = &bytes[..self.missing.min(bytes.len())];
            let before = piece.len();
            let found = self.content(&mut piece);
            let used = before - piece.len();
            self.missing -= used;
            *bytes = &bytes[used..];
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A record's header.
    fn begin(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        let (piece, rest) = bytes.split_at((HEADER - self.header.len()).min(bytes.len()));
        self.header.extend_from_slice(piece);
        *bytes = rest;
        let [kind, major, minor, high, low] = *self.header.first_chunk::<HEADER>()?;
        self.header = Vec::new();
        if (kind, minor, high) == (SSL2, CLIENT_HELLO, 3) {
            self.content = Content::OldHello;
            self.message = vec![high, low];
            self.missing = usize::from(major).saturating_sub(3);
            return None;
        }
        self.missing = usize::from(u16::from_be_bytes([high, low]));
        let is_record = major == 3 && (CHANGE_CIPHER_SPEC..=LAST_TYPE).contains(&kind);
        let is_within = !self.message.is_empty() || self.pass > 0;
        if !is_record || self.missing > LONGEST || (is_within && kind != HANDSHAKE) {
            return Some(Found::Opaque);
        }
        self.content = match kind {
            HANDSHAKE if !self.encrypted => Content::Handshake,
            ALERT if !self.encrypted && self.missing == ALERT_SIZE => Content::Alert,
            _ => Content::Sealed,
        };
        match kind {
            CHANGE_CIPHER_SPEC => Some(Found::ChangeCipherSpec),
            _ if self.content == Content::Sealed => Some(Found::Sealed(kind, self.missing)),
            _ => None,
        }
    }

    /// Takes what it needs of a record's bytes.
    fn content(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        match self.content {
            Content::Sealed => {
                *bytes = &[];
                None
            }
            Content::Handshake => self.handshake(bytes),
            Content::Alert | Content::OldHello => {
                let is_whole = bytes.len() == self.missing;
                self.message.extend_from_slice(bytes);
                *bytes = &[];
                if !is_whole {
                    return None;
                }
                let message = std::mem::take(&mut self.message);
                match (self.content, &*message) {
                    (Content::Alert, [level, what]) => Some(Found::Alert(*level, *what)),
                    _ => Some(Found::OldHello(message)),
                }
            }
        }
    }

    /// Puts hellos together.
    fn handshake(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        loop {
            let passed = self.pass.min(bytes.len());
            *bytes = &bytes[passed..];
            self.pass -= passed;
            let body = self.message.first_chunk().map_or(0, length);
            let wanted = MESSAGE_HEADER + body - self.message.len();
            let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.message.extend_from_slice(piece);
            *bytes = rest;
            if piece.len() < wanted {
                return None;
            }
            let kind = self.message[0];
            let length = self.message.first_chunk().map_or(0, length);
            if !matches!(kind, CLIENT_HELLO | SERVER_HELLO) {
                self.message = Vec::new();
                self.pass = length;
                return Some(Found::Message(kind));
            }
            if length > LONGEST_MESSAGE {
                return Some(Found::TooLong);
            }
            if self.message.len() == MESSAGE_HEADER + length {
                let body = std::mem::take(&mut self.message).split_off(MESSAGE_HEADER);
                return Some(Found::Hello(kind, body));
            }
        }
    }
}

/// Length of the message with this header.
fn length([_, high, middle, low]: &[u8; MESSAGE_HEADER]) -> usize {
    u32::from_be_bytes([0, *high, *middle, *low]) as usize
}
