//! Gathers a head: in place when one piece holds it whole, else from its pieces; past the limit it is only counted.

use super::framing::{CrWatch, Fields};
use super::head::{Version, find_end};
use super::start::trailing_version;
use crate::detect::Verdict;
use memchr::{memchr, memrchr};

/// Bytes that are kept of each line past the limit: enough for any field that frames a body.
const LINE: usize = 512;

/// Bytes that are kept of the end of a start line: a version and CR.
const TAIL: usize = 10;

/// A complete head.
#[derive(Debug)]
pub(super) struct Block {
    /// The head, cut at the limit.
    pub raw: Vec<u8>,
    /// Bytes that it had.
    pub size: u64,
    /// What its fields say.
    pub fields: Fields,
    /// The version, where a request line was cut before it.
    pub version: Option<Version>,
}

/// The head that is arriving. Holds no memory between heads.
#[derive(Debug, Default)]
pub(super) struct Collector {
    part: Vec<u8>,
    /// It is known to be a head.
    valid: bool,
    over: Option<Box<Overflow>>,
}

/// What came of feeding a head.
#[derive(Debug)]
pub(super) enum Collected {
    /// More is to come.
    More,
    /// This is no head; of these bytes none was taken.
    Invalid,
    /// Complete after so many bytes.
    Complete(Block, usize),
}

/// What came of feeding the part of a head past the limit.
enum Overflowed {
    More,
    /// Its start line, now that its end was seen, is none.
    Invalid,
    /// The head ended after so many bytes.
    Done(usize),
}

/// The part of a head past the limit.
#[derive(Debug)]
struct Overflow {
    fields: Fields,
    size: u64,
    /// The beginning of the current line, and the length that it has so far.
    line: Vec<u8>,
    length: u64,
    in_start_line: bool,
    /// The end of the start line, where it is longer than the limit.
    tail: Vec<u8>,
    version: Option<Version>,
    crs: CrWatch,
}

impl Block {
    /// Reads what of the head is here, out of `size` bytes.
    pub fn new(raw: Vec<u8>, size: u64) -> Self {
        let (fields, _) = Fields::read(&raw);
        Self {
            raw,
            size,
            fields,
            version: None,
        }
    }
}

impl Collector {
    /// Takes bytes of a head of at most `max` bytes that begins as `check` says.
    pub fn feed(&mut self, bytes: &[u8], max: usize, check: fn(&[u8]) -> Verdict) -> Collected {
        if let Some(over) = &mut self.over {
            let fed = over.feed(bytes, self.valid);
            return self.after_overflow(fed, 0);
        }
        let kept = self.part.len();
        let taken = bytes.len().min(max - kept);
        if kept == 0 {
            // The usual case: it is read where it is, and nothing is copied but the head itself, once.
            if self.invalid(&bytes[..taken], check) {
                return Collected::Invalid;
            }
            if let (fields, Some(end)) = Fields::read(&bytes[..taken]) {
                *self = Self::default();
                let block = Block {
                    raw: bytes[..end].to_vec(),
                    size: end as u64,
                    fields,
                    version: None,
                };
                return Collected::Complete(block, end);
            }
            self.part.extend_from_slice(&bytes[..taken]);
        } else {
            self.part.extend_from_slice(&bytes[..taken]);
            if !self.valid {
                let part = std::mem::take(&mut self.part);
                let invalid = self.invalid(&part, check);
                self.part = part;
                if invalid {
                    self.part.truncate(kept);
                    return Collected::Invalid;
                }
            }
            if let Some(end) = find_end(&self.part, kept.saturating_sub(2)) {
                let mut raw = std::mem::take(&mut self.part);
                raw.truncate(end);
                raw.shrink_to_fit();
                *self = Self::default();
                let size = raw.len() as u64;
                return Collected::Complete(Block::new(raw, size), end - kept);
            }
        }
        if taken == bytes.len() {
            return Collected::More;
        }
        let over = self.over.insert(Box::new(Overflow::new(&self.part)));
        let fed = over.feed(&bytes[taken..], self.valid);
        self.after_overflow(fed, taken)
    }

    fn invalid(&mut self, bytes: &[u8], check: fn(&[u8]) -> Verdict) -> bool {
        if !self.valid {
            match check(bytes) {
                Verdict::Yes => self.valid = true,
                Verdict::No => return true,
                Verdict::More => {}
            }
        }
        false
    }

    fn after_overflow(&mut self, fed: Overflowed, before: usize) -> Collected {
        let used = match fed {
            Overflowed::More => return Collected::More,
            Overflowed::Invalid => return Collected::Invalid,
            Overflowed::Done(used) => before + used,
        };
        let Self { part, over, .. } = std::mem::take(self);
        let Some(over) = over else {
            return Collected::Invalid;
        };
        Collected::Complete(
            Block {
                raw: part,
                size: over.size,
                fields: over.fields,
                version: over.version,
            },
            used,
        )
    }

    /// What has arrived of a head that is not complete, and how many bytes that was.
    pub fn part(&self) -> (&[u8], u64) {
        (
            &self.part,
            self.over
                .as_ref()
                .map_or(self.part.len() as u64, |over| over.size),
        )
    }

    /// Memory that it takes.
    pub fn held(&self) -> usize {
        let over = self.over.as_ref().map_or(0, |_| size_of::<Overflow>() + LINE);
        self.part.capacity() + over
    }

    /// Takes it away.
    pub fn take_part(&mut self) -> (Vec<u8>, u64) {
        let Self { part, over, .. } = std::mem::take(self);
        let size = over.map_or(part.len() as u64, |over| over.size);
        (part, size)
    }
}

impl Overflow {
    fn new(part: &[u8]) -> Self {
        let line = memrchr(b'\n', part).map_or(part, |end| &part[end + 1..]);
        let mut crs = CrWatch::default();
        crs.see(line);
        Self {
            fields: Fields::read(part).0,
            size: part.len() as u64,
            line: line[..line.len().min(LINE)].to_vec(),
            length: line.len() as u64,
            in_start_line: line.len() == part.len(),
            tail: if line.len() == part.len() {
                line[line.len().saturating_sub(TAIL)..].to_vec()
            } else {
                Vec::new()
            },
            version: None,
            crs,
        }
    }

    /// Takes bytes past the limit; `valid` when the start line is known to be one.
    fn feed(&mut self, bytes: &[u8], valid: bool) -> Overflowed {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let end = memchr(b'\n', rest);
            let piece = &rest[..end.map_or(rest.len(), |end| end + 1)];
            at += piece.len();
            self.size += piece.len() as u64;
            self.crs.see(piece);
            let text = if end.is_some() {
                &piece[..piece.len() - 1]
            } else {
                piece
            };
            self.length += text.len() as u64;
            let room = LINE.saturating_sub(self.line.len()).min(text.len());
            self.line.extend_from_slice(&text[..room]);
            if self.in_start_line {
                self.tail
                    .extend_from_slice(&text[text.len().saturating_sub(TAIL)..]);
                self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                if end.is_some() {
                    self.version = trailing_version(self.tail.strip_suffix(b"\r").unwrap_or(&self.tail));
                    if !valid && self.version.is_none() {
                        return Overflowed::Invalid;
                    }
                }
            }
            if end.is_some() && self.line_ended() {
                if self.crs.bare {
                    self.fields.doubt("bare_cr", "");
                }
                return Overflowed::Done(at);
            }
        }
        Overflowed::More
    }

    /// The current line has ended; true when it was the empty one.
    fn line_ended(&mut self) -> bool {
        let mut line = std::mem::take(&mut self.line);
        let length = std::mem::take(&mut self.length);
        let cut = length > line.len() as u64;
        if !cut && line.last() == Some(&b'\r') {
            line.pop();
        } else if !cut {
            self.fields.note("bare_lf", "");
        }
        if self.in_start_line {
            self.in_start_line = false;
        } else if line.is_empty() {
            return true;
        } else {
            self.fields.line(&line, cut);
        }
        line.clear();
        self.line = line;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{body::Body, start::request_verdict};

    fn collect(bytes: &[u8], max: usize, step: usize) -> (Option<Block>, usize) {
        let mut collector = Collector::default();
        let mut before = 0;
        for piece in bytes.chunks(step) {
            match collector.feed(piece, max, request_verdict) {
                Collected::More => before += piece.len(),
                Collected::Invalid => return (None, before),
                Collected::Complete(block, used) => return (Some(block), before + used),
            }
        }
        (None, before)
    }

    #[test]
    fn every_split_gives_the_same_head() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        let bytes = [&head[..], b"hello"].concat();
        for max in [head.len(), head.len() - 1, 30, 20, 10, 1] {
            for step in 1..=bytes.len() {
                let (block, used) = collect(&bytes, max, step);
                let mut block = block.unwrap();
                block.fields.finish(crate::Side::Client, Some(Version::V11));
                assert_eq!(
                    (used, block.size),
                    (head.len(), head.len() as u64),
                    "{max} {step}"
                );
                assert_eq!(block.raw, head[..max.min(head.len())]);
                assert_eq!(block.fields.count, 2);
                assert!(matches!(
                    block.fields.body(Body::UntilClose),
                    Some(Body::Length(5))
                ));
                assert!(block.fields.anomalies.is_empty(), "{:?}", block.fields.anomalies);
            }
        }
    }

    #[test]
    fn past_the_limit_framing_is_still_read_and_text_is_not_kept() {
        let mut head = b"GET / HTTP/1.1\r\n".to_vec();
        head.extend_from_slice(format!("Cookie: {}\r\n", "x".repeat(100_000)).as_bytes());
        head.extend_from_slice(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n");
        for step in [1, 1000, head.len()] {
            let (block, used) = collect(&head, 1024, step);
            let mut block = block.unwrap();
            block.fields.finish(crate::Side::Client, Some(Version::V11));
            assert_eq!(
                (used, block.raw.len(), block.size),
                (head.len(), 1024, head.len() as u64)
            );
            assert!(block.fields.body(Body::UntilClose).is_none());
            assert_eq!(
                block.fields.anomalies,
                ["content_length_and_transfer_encoding: \"5\", \"chunked\""]
            );
        }
    }

    #[test]
    fn what_is_no_head_is_told_at_once() {
        assert!(collect(b"\x16\x03\x01\x00", 1024, 1).0.is_none());
    }
}
