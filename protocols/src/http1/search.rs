//! The way back into a stream whose framing was lost: the next sound head, wherever a line holds one.
//!
//! Every byte is looked at about once, and what is kept is bounded: a line that may turn out to begin a head, and the line
//! behind it, which has to be a field or the end of the head.

use super::exchange::Method;
use super::head::is_token_byte;
use super::start::{status_line, trailing_version};
use crate::Side;
use memchr::{memchr, memmem, memrchr};
use weir_records::Timestamp;

/// Longest start line that is found.
const LINE: usize = 8 << 10;
/// Bytes that are kept of a line that grows longer.
const REST: usize = 1 << 10;
/// Longest reason of a status line, and longest name of the field behind a start line.
const WORDS: usize = 256;

/// Methods that are found behind other bytes on their line.
const GLUED: &[&[u8]] = &[
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE",
];

/// A search under way.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The last line, which has not ended or may begin a head.
    tail: Vec<u8>,
    /// It begins with a start line, and what is behind that will tell.
    undecided: bool,
    /// When the first of its bytes came.
    at: Timestamp,
    /// When the first byte of all came.
    pub began: Timestamp,
    /// Bytes before it.
    passed: u64,
    /// What the bytes are is told by an answer that has yet to come: until then they are only counted.
    pub waits: bool,
    /// What it is behind, where no exchange says yet that there was something odd.
    pub behind: Option<Behind>,
}

/// A head that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Its beginning, out of bytes that came before.
    pub part: Vec<u8>,
    /// When that came.
    pub at: Timestamp,
    /// Where it begins, or goes on, in the bytes that came now.
    pub from: usize,
    /// Bytes that were passed over.
    pub passed: u64,
    /// What they are behind.
    pub behind: Option<Behind>,
}

/// What bytes are behind that belong to no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// A response that had ended.
    Response,
    /// A response that has no body, whatever its fields say.
    Bodiless(Bodiless),
}

/// Why a response has no body (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bodiless {
    Head,
    NoContent,
    NotModified,
}

impl Bodiless {
    pub fn of(method: Method, status: u16) -> Option<Self> {
        match status {
            204 => Some(Self::NoContent),
            304 => Some(Self::NotModified),
            _ if method == Method::Head => Some(Self::Head),
            _ => None,
        }
    }

    /// The anomaly of a body all the same.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "body_in_answer_to_head",
            Self::NoContent => "body_in_204",
            Self::NotModified => "body_in_304",
        }
    }
}

/// What a look at some lines has found.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A head, from here on.
    Head(usize),
    /// From here on it is open: whether a start line is there, and what is behind it will tell.
    Open(usize, bool),
}

impl Search {
    /// One that waits for an answer first.
    pub fn waiting(waits: bool) -> Self {
        Self {
            waits,
            ..Self::default()
        }
    }

    /// One that begins behind this.
    pub fn behind(behind: Option<Behind>) -> Self {
        Self {
            behind,
            ..Self::default()
        }
    }

    /// Looks for a head of this side in these bytes.
    pub fn feed(&mut self, side: Side, at: Timestamp, bytes: &[u8]) -> Option<Found> {
        if self.passed() == 0 {
            self.began = at;
        }
        if self.waits {
            self.passed += bytes.len() as u64;
            return None;
        }
        if self.tail.is_empty() {
            return self.look(side, at, bytes, 0);
        }
        // The line that was open, and the one behind it.
        let end = match memchr(b'\n', bytes).map(|first| first + 1) {
            Some(next) => memchr(b'\n', &bytes[next..]).map_or(bytes.len(), |end| next + end + 1),
            None if self.undecided => bytes.len(),
            None => {
                self.keep(bytes);
                return None;
            }
        };
        let before = self.tail.len();
        self.tail.extend_from_slice(&bytes[..end]);
        match scan(side, &self.tail) {
            Seen::Head(start) => {
                self.tail.truncate(before);
                let part = self.tail.split_off(start.min(before));
                Some(self.found(part, start.saturating_sub(before), start))
            }
            Seen::Open(start, undecided) if start < before => {
                self.undecided = undecided;
                self.tail.drain(..start);
                self.passed += start as u64;
                None
            }
            Seen::Open(start, _) => {
                self.passed += start as u64;
                self.tail = Vec::new();
                self.look(side, at, bytes, start - before)
            }
        }
    }

    fn look(&mut self, side: Side, at: Timestamp, bytes: &[u8], from: usize) -> Option<Found> {
        self.at = at;
        match scan(side, &bytes[from..]) {
            Seen::Head(start) => Some(self.found(Vec::new(), from + start, start)),
            Seen::Open(start, undecided) => {
                self.undecided = undecided;
                self.passed += start as u64;
                self.keep(&bytes[from + start..]);
                None
            }
        }
    }

    fn found(&self, part: Vec<u8>, from: usize, more: usize) -> Found {
        Found {
            part,
            at: self.at,
            from,
            passed: self.passed + more as u64,
            behind: self.behind,
        }
    }

    /// Keeps bytes of the line that is open; of one that is too long, its end.
    fn keep(&mut self, bytes: &[u8]) {
        if self.tail.len() + bytes.len() <= LINE {
            self.tail.extend_from_slice(bytes);
            return;
        }
        self.undecided = false;
        let all = self.tail.len() + bytes.len();
        let rest = bytes.len().min(REST);
        let old = (REST - rest).min(self.tail.len());
        self.passed += (all - rest - old) as u64;
        self.tail.drain(..self.tail.len() - old);
        self.tail.extend_from_slice(&bytes[bytes.len() - rest..]);
        self.tail.shrink_to(LINE);
    }

    /// All bytes in which nothing was found.
    pub fn passed(&self) -> u64 {
        self.passed + self.tail.len() as u64
    }

    /// Memory that it takes.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.tail.capacity()
    }
}

/// Looks through whole lines.
fn scan(side: Side, bytes: &[u8]) -> Seen {
    let mut start = 0;
    while let Some(end) = memchr(b'\n', &bytes[start..]).map(|end| start + end) {
        let line = &bytes[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let head = match side {
            Side::Client => request_in(line),
            Side::Server => response_in(line),
        };
        if let Some(at) = head {
            match goes_on(&bytes[end + 1..]) {
                Some(true) => return Seen::Head(start + at),
                Some(false) => {}
                None => return Seen::Open(start, true),
            }
        }
        start = end + 1;
    }
    Seen::Open(start, false)
}

/// Whether a field or an empty line stands here, if that can be told.
fn goes_on(bytes: &[u8]) -> Option<bool> {
    let name = bytes
        .iter()
        .take(WORDS)
        .take_while(|byte| is_token_byte(**byte))
        .count();
    match (name, &bytes[name..]) {
        (0, [b'\n', ..] | [b'\r', b'\n', ..]) => Some(true),
        (0, [] | [b'\r']) => None,
        (1..WORDS, []) => None,
        (1.., [b':', ..]) => Some(true),
        _ => Some(false),
    }
}

/// Where on a line a status line begins.
fn response_in(line: &[u8]) -> Option<usize> {
    memmem::find_iter(line, b"HTTP/1.").find(|start| {
        let line = &line[*start..];
        let is_plain = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
        let reason = line.get(12..).unwrap_or_default();
        status_line(line).is_some_and(|(_, status)| (100..600).contains(&status))
            && reason.len() <= WORDS
            && reason.iter().all(is_plain)
    })
}

/// Where on a line a request line begins: at its beginning, or right behind bytes that are no space.
fn request_in(line: &[u8]) -> Option<usize> {
    trailing_version(line)?;
    let line = &line[..line.len() - 9];
    let space = memrchr(b' ', line)?;
    let (before, target) = (&line[..space], &line[space + 1..]);
    let begins = |form: &[u8]| {
        target
            .get(..form.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(form))
    };
    let plain = !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    let known = begins(b"/") || target == b"*" || begins(b"http://") || begins(b"https://");
    let method = before
        .iter()
        .rev()
        .take(WORDS)
        .take_while(|byte| is_token_byte(**byte))
        .count();
    let start = space - method;
    let token = &before[start..];
    let whole = start == 0
        && (3..=32).contains(&method)
        && token.iter().all(|b| b.is_ascii_uppercase() || *b == b'-');
    let (start, token) = match GLUED.iter().find(|name| token.ends_with(name)) {
        _ if whole => (start, token),
        Some(name) => (space - name.len(), *name),
        None => return None,
    };
    let spaced = start > 0 && matches!(before[start - 1], b' ' | b'\t');
    let fits = known || token == b"CONNECT" && memchr(b':', target).is_some();
    (plain && fits && !spaced).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a head is found in these bytes, shown in pieces of this size; and how many bytes were passed over.
    fn find(side: Side, bytes: &[u8], size: usize) -> Option<usize> {
        let mut search = Search::default();
        let mut before = 0;
        for piece in bytes.chunks(size) {
            if let Some(found) = search.feed(side, Timestamp(1), piece) {
                let at = before + found.from - found.part.len();
                assert_eq!(found.passed, at as u64, "{size}");
                return Some(at);
            }
            before += piece.len();
            assert!(search.tail.len() <= LINE);
            assert_eq!(search.passed(), before as u64);
        }
        None
    }

    #[track_caller]
    fn finds(side: Side, bytes: &[u8], at: Option<usize>) {
        for size in 1..=bytes.len() {
            assert_eq!(find(side, bytes, size), at, "{size}: {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_sound_head_is_found_wherever_its_line_holds_it() {
        for (bytes, at) in [
            (&b"HTTP/1.1 200 OK\r\nA: b\r\n"[..], Some(0)),
            (b"HTTP/1.1 204\r\n\r\n", Some(0)),
            (b"helloHTTP/1.1 200 OK\r\n\r\n", Some(5)),
            (b"a\nb\r\nHTTP/1.0 404 No\nA: b\n", Some(5)),
            (b"HTTP/1.1 HTTP/1.1 200 OK\r\nX-Y: z\r\n", Some(9)),
            (b"HTTP/1.1 200 OK\r\nHTTP/1.1 201 OK\r\nA: b\r\n", Some(17)),
            (b"HTTP/1.1 200 OK\r\nsome text: of a page\r\n", None),
            (b"HTTP/1.1 999 OK\r\n\r\n", None),
            (b"HTTP/1.1 2000\r\n\r\n", None),
            (b"HTTP/2.0 200 OK\r\n\r\n", None),
            (b"HTTP/1.1 200 \x01\r\n\r\n", None),
            (b"HTTP/1.1 200 OK\r\n", None),
        ] {
            finds(Side::Server, bytes, at);
        }
        for (bytes, at) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], Some(0)),
            (b"0\r\n\r\nGPOST /x HTTP/1.1\r\n\r\n", Some(5)),
            (b"helloGET /x HTTP/1.1\r\nA: b\r\n", Some(5)),
            (b"\x00\x01PUT http://a/x HTTP/1.0\n\n", Some(2)),
            (b"CONNECT a:1 HTTP/1.1\r\n\r\n", Some(0)),
            (b"OPTIONS * HTTP/1.1\r\n\r\n", Some(0)),
            (b"GET / HTTP/1.1\r\nHost:", Some(0)),
            (b"read GET /x HTTP/1.1\r\nA: b\r\n", None),
            (b"hello /x HTTP/1.1\r\nA: b\r\n", None),
            (b"GET x HTTP/1.1\r\nA: b\r\n", None),
            (b"GET /x HTTP/2.0\r\nA: b\r\n", None),
            (b"GET /x HTTP/1.1\r\nand so on\r\n", None),
        ] {
            finds(Side::Client, bytes, at);
        }
    }

    #[test]
    fn a_head_behind_a_long_line_is_found() {
        let bytes = [&[b'x'; 3 * LINE][..], b"HTTP/1.1 200 OK\r\n\r\n"].concat();
        for size in [1, 7, 100, 1460, LINE, bytes.len()] {
            assert_eq!(find(Side::Server, &bytes, size), Some(3 * LINE), "{size}");
        }
    }

    #[test]
    fn until_the_answer_bytes_are_only_counted() {
        let mut search = Search {
            waits: true,
            ..Search::default()
        };
        assert!(
            search
                .feed(Side::Client, Timestamp(1), b"GET / HTTP/1.1\r\n\r\n")
                .is_none()
        );
        assert_eq!(search.passed(), 18);
    }
}
