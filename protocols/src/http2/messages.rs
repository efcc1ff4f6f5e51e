//! Messages of gRPC in one direction of a stream: five bytes (a flag, a length) before each, whatever frames they come in.

use weir_records::Timestamp;

/// Bytes before a message.
const PREFIX: usize = 5;

/// What was seen of the messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages {
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
}

impl Messages {
    /// Takes content of DATA frames; keeps so many bytes of the first message.
    pub fn take(&mut self, at: Timestamp, mut bytes: &[u8], keep: usize) {
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
                // 0x80: the trailers of gRPC-Web, which are no message.
                self.lost = self.prefix[0] & 0x7e != 0;
            }
            let length = (self.left as usize).min(bytes.len());
            if self.count == 0 && self.prefix[0] == 0 {
                self.first_size = u64::from(self.length());
                let room = keep.saturating_sub(self.first.len()).min(length);
                self.first.extend_from_slice(&bytes[..room]);
            }
            self.skip(at, u32::try_from(length).unwrap_or(u32::MAX));
            bytes = &bytes[length..];
        }
    }

    /// Bytes of the message under way.
    fn length(&self) -> u32 {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length)
    }

    /// So many bytes came or were missed.
    pub fn skip(&mut self, at: Timestamp, bytes: u32) {
        if bytes == 0 && self.have < PREFIX || self.lost {
            return;
        }
        if self.have < PREFIX || bytes > self.left {
            self.lost = true;
            return;
        }
        self.left -= bytes;
        if self.left == 0 {
            let flag = self.prefix[0];
            self.have = 0;
            if flag & 0x80 == 0 {
                self.count += 1;
                self.bytes += u64::from(self.length());
                self.compressed += u64::from(flag & 1);
                let first = self.span.map_or(self.begun, |(first, _)| first);
                self.span = Some((first, at));
            }
        }
    }

    /// All of the first message was kept.
    pub fn has_first(&self) -> bool {
        self.first_size == self.first.len() as u64
    }

    /// A message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.have > 0 && !self.lost
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
}
