//! Messages of a call in one body: five bytes (a flag, a length) before each, whatever pieces they come in. The frame behind
//! the last of them may tell how the call ended: the beginning of that is kept.

use super::calls::{Ending, KEPT, Style};
use weir_records::Timestamp;

/// Bytes before a message.
const PREFIX: usize = 5;
/// Bytes of base64 that are decoded at once.
const PIECE: usize = 1024;

/// What was seen of the messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    style: Style,
    /// Bits of base64 that are no whole byte yet.
    base64: Base64,
    prefix: [u8; PREFIX],
    have: usize,
    /// Bytes of the message under way that have yet to come.
    left: u32,
    begun: Timestamp,
    /// Whole messages.
    pub count: u64,
    /// Their bytes, without what is before them.
    pub bytes: u64,
    /// How many of them were compressed.
    pub compressed: u64,
    /// When the first of them began, and the last ended.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Where the next one begins is unknown.
    pub lost: bool,
    /// The beginning of the first one, where that is wanted.
    pub first: Vec<u8>,
    /// Bytes that it has.
    pub first_size: u64,
    /// The beginning of what tells how the call ended.
    end: Vec<u8>,
    /// Bytes of that which may be kept.
    end_max: usize,
    /// All of that was seen and kept.
    end_whole: bool,
}

/// Four characters are three bytes. Text may be padded at any of its parts' ends (gRPC-Web encodes each by itself).
#[derive(Clone, Debug, Default)]
struct Base64 {
    bits: u32,
    have: u8,
}

impl Base64 {
    /// Decodes a piece; `None` where that is no base64.
    fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        for byte in text {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    (self.have, self.bits) = (0, 0);
                    continue;
                }
                b'\r' | b'\n' => continue,
                _ => return None,
            };
            self.bits = self.bits << 6 | u32::from(six);
            self.have += 6;
            if self.have >= 8 {
                self.have -= 8;
                out.push((self.bits >> self.have & 0xff) as u8);
            }
        }
        Some(())
    }
}

impl Messages {
    /// Those of a body in this style.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            end_max: KEPT,
            ..Self::default()
        }
    }

    /// Takes content of the body; keeps so many bytes of the first message.
    pub fn take(&mut self, at: Timestamp, bytes: &[u8], keep: usize) {
        match self.style {
            Style::Grpc | Style::Web | Style::Connect => self.frames(at, bytes, keep),
            Style::WebText => {
                let mut plain = Vec::with_capacity(PIECE.min(bytes.len()));
                for piece in bytes.chunks(PIECE) {
                    plain.clear();
                    self.lost |= self.base64.decode(piece, &mut plain).is_none();
                    self.frames(at, &plain, keep);
                }
            }
            Style::Unary => {
                self.end_whole = self.end.len() + bytes.len() <= self.end_max;
                self.keep_end(bytes);
            }
        }
    }

    fn frames(&mut self, at: Timestamp, mut bytes: &[u8], keep: usize) {
        while !bytes.is_empty() && !self.lost {
            if self.have == 0 {
                self.begun = at;
            }
            if self.have < PREFIX {
                let length = (PREFIX - self.have).min(bytes.len());
                self.prefix[self.have..self.have + length].copy_from_slice(&bytes[..length]);
                self.have += length;
                bytes = &bytes[length..];
                if self.have < PREFIX {
                    return;
                }
                self.left = self.length();
                self.lost = self.prefix[0] & !(1 | self.style.end_flag()) != 0;
                if self.lost {
                    return;
                }
            }
            let length = (self.left as usize).min(bytes.len());
            if self.is_end() {
                self.keep_end(&bytes[..length]);
            } else if self.count == 0 && self.prefix[0] == 0 {
                self.first_size = u64::from(self.length());
                let room = keep.saturating_sub(self.first.len()).min(length);
                self.first.extend_from_slice(&bytes[..room]);
            }
            self.pass(at, u32::try_from(length).unwrap_or(u32::MAX));
            bytes = &bytes[length..];
        }
    }

    /// So much more may be kept of what tells how the call ended.
    pub fn allow_end(&mut self, room: usize) {
        self.end_max = KEPT.min(self.end.len() + room);
    }

    /// The frame under way is no message, and the last one.
    fn is_end(&self) -> bool {
        self.prefix[0] & self.style.end_flag() != 0
    }

    fn keep_end(&mut self, bytes: &[u8]) {
        let room = self.end_max.saturating_sub(self.end.len()).min(bytes.len());
        self.end.extend_from_slice(&bytes[..room]);
    }

    /// Bytes of the message under way.
    fn length(&self) -> u32 {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length)
    }

    /// So many bytes of the body were missed.
    pub fn skip(&mut self, at: Timestamp, bytes: u32) {
        if bytes == 0 || self.lost {
            return;
        }
        match self.style {
            // Four characters are three bytes, and which four is not known any more.
            Style::WebText | Style::Unary => self.lost = true,
            _ if self.have < PREFIX || bytes > self.left || self.is_end() => self.lost = true,
            _ => self.pass(at, bytes),
        }
    }

    /// So many bytes of the message under way came or were missed.
    fn pass(&mut self, at: Timestamp, bytes: u32) {
        self.left -= bytes;
        if self.left > 0 {
            return;
        }
        let flag = self.prefix[0];
        self.have = 0;
        if self.is_end() {
            self.end_whole = self.end.len() == self.length() as usize;
        } else {
            self.count += 1;
            self.bytes += u64::from(self.length());
            self.compressed += u64::from(flag & 1);
            let first = self.span.map_or(self.begun, |(first, _)| first);
            self.span = Some((first, at));
        }
    }

    /// What the body says of how the call ended, if all of that was seen. Of [`Style::Unary`]: what an error says.
    pub fn ending(&self) -> Option<Ending> {
        let whole = self.end_whole && !(self.lost && self.style == Style::Unary);
        whole.then(|| Ending::of_frame(self.style, &self.end)).flatten()
    }

    /// Messages are counted, and none was missed.
    pub fn is_counted(&self) -> bool {
        !self.lost && self.style != Style::Unary
    }

    /// All of the first message was kept.
    pub fn has_first(&self) -> bool {
        self.first_size == self.first.len() as u64
    }

    /// A message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.have > 0 && !self.lost
    }

    /// Bytes of memory that what is kept takes.
    pub fn stored(&self) -> usize {
        self.first.len() + self.end.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let wire = b"\0\0\0\0\x03abc\x01\0\0\0\0\0\0\0\0\x01z\0\0\0\0\x02a";
        for piece in 1..wire.len() {
            let mut messages = Messages::default();
            for (at, bytes) in wire.chunks(piece).enumerate() {
                messages.take(Timestamp(at as u64 + 1), bytes, 2);
            }
            assert_eq!((messages.count, messages.bytes, messages.compressed), (3, 4, 1));
            assert!(messages.is_partial() && !messages.lost);
            assert_eq!(messages.first, b"ab");
            let (first, _) = messages.span.unwrap();
            assert_eq!(first, Timestamp(1));
        }
    }

    #[test]
    fn what_is_missed_within_a_message_is_counted() {
        let mut messages = Messages::default();
        messages.take(Timestamp(1), b"\0\0\0\0\x09abc", 0);
        messages.skip(Timestamp(2), 4);
        messages.take(Timestamp(3), b"de\0\0\0\0\0", 0);
        assert_eq!((messages.count, messages.bytes, messages.lost), (2, 9, false));
        messages.skip(Timestamp(4), 4);
        assert!(messages.lost);
    }

    #[test]
    fn what_is_no_message_ends_the_count() {
        let mut messages = Messages::default();
        messages.take(Timestamp(1), b"<html>", 0);
        assert!(messages.lost);
        assert_eq!(messages.count, 0);
    }

    /// Shows a body in pieces of every size.
    fn each_way(style: Style, wire: &[u8], check: impl Fn(&Messages)) {
        for piece in 1..=wire.len() {
            let mut messages = Messages::new(style);
            for bytes in wire.chunks(piece) {
                messages.take(Timestamp(1), bytes, 0);
            }
            check(&messages);
        }
    }

    #[test]
    fn the_last_frame_is_no_message_and_tells_the_end() {
        let web = b"\0\0\0\0\x03abc\x80\0\0\0\x10grpc-status: 5\r\n";
        each_way(Style::Web, web, |messages| {
            assert_eq!((messages.count, messages.bytes, messages.lost), (1, 3, false));
            assert_eq!(messages.ending().unwrap().status.unwrap(), "NOT_FOUND");
        });
        each_way(Style::Connect, b"\0\0\0\0\x01a\x02\0\0\0\x02{}", |messages| {
            assert_eq!((messages.count, messages.lost), (1, false));
            assert!(!messages.ending().unwrap().failed);
        });
        each_way(Style::Connect, b"\x80\0\0\0\x02{}", |messages| {
            assert!(messages.lost && messages.ending().is_none());
        });
        each_way(Style::Web, &web[..web.len() - 1], |messages| {
            assert_eq!((messages.count, messages.ending()), (1, None));
        });
    }

    #[test]
    fn base64_of_parts_that_are_padded_each_by_itself() {
        // A message of one byte, and trailers: `grpc-status:0\r\n`.
        let text = b"AAAAAAFh\r\ngAAAAA9ncnBjLXN0YXR1czowDQo=";
        each_way(Style::WebText, text, |messages| {
            assert_eq!((messages.count, messages.bytes, messages.lost), (1, 1, false));
            assert_eq!(messages.ending().unwrap().status.unwrap(), "OK");
        });
        let padded = b"AAAAAAJhYg==gAAAAA9ncnBjLXN0YXR1czowDQo=";
        each_way(Style::WebText, padded, |messages| {
            assert_eq!((messages.count, messages.bytes, messages.lost), (1, 2, false));
            assert!(messages.ending().is_some());
        });
        each_way(Style::WebText, b"<html>", |messages| assert!(messages.lost));
    }

    #[test]
    fn what_tells_the_end_is_kept_within_a_bound() {
        let mut wire = b"\x80\0\0\x20\0".to_vec();
        wire.extend_from_slice(b"grpc-status: 5\r\n");
        wire.resize(5 + 0x2000, b' ');
        let mut messages = Messages::new(Style::Web);
        messages.take(Timestamp(1), &wire, 0);
        assert_eq!((messages.stored(), messages.lost), (KEPT, false));
        assert!(messages.ending().is_none());
    }

    #[test]
    fn an_error_without_streams_is_the_body() {
        let error = br#"{"code":"unavailable","message":"later"}"#;
        each_way(Style::Unary, error, |messages| {
            let ending = messages.ending().unwrap();
            assert_eq!((&*ending.status.unwrap(), ending.failed), ("unavailable", true));
            assert!(!messages.is_counted());
        });
        let mut messages = Messages::new(Style::Unary);
        messages.take(Timestamp(1), &error[..9], 0);
        messages.skip(Timestamp(2), 10);
        messages.take(Timestamp(3), &error[19..], 0);
        assert!(messages.ending().is_none());
    }
}
