//! Heads: where they end, and what their lines are made of. Bytes and ranges only; strings are made in `document`.

use memchr::{memchr, memchr_iter};
use std::ops::Range;

/// The two versions of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V10,
    V11,
}

/// A line of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Without its end.
    pub bytes: &'a [u8],
    /// It ended in CR LF.
    pub crlf: bool,
    /// It ended at all.
    pub ended: bool,
}

/// The lines of a head, the empty one at its end included.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a>(pub &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest, ended) = match memchr(b'\n', self.0) {
            Some(end) => (&self.0[..end], &self.0[end + 1..], true),
            None => (self.0, &[][..], false),
        };
        self.0 = rest;
        let stripped = line.strip_suffix(b"\r").filter(|_| ended);
        Some(Line {
            bytes: stripped.unwrap_or(line),
            crlf: stripped.is_some(),
            ended,
        })
    }
}

/// Where the head that begins `bytes` ends, searching from `from`: after its first empty line.
pub(super) fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    for at in memchr_iter(b'\n', &bytes[from..]) {
        match &bytes[from + at + 1..] {
            [b'\n', ..] => return Some(from + at + 2),
            [b'\r', b'\n', ..] => return Some(from + at + 3),
            _ => {}
        }
    }
    None
}

/// `tchar` of RFC 9110.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");
    TABLE[usize::from(byte)]
}

/// Of each byte whether it is a letter or a digit of ASCII, or one of these.
pub(super) const fn alphanumeric_or(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut other = 0;
    while other < others.len() {
        table[others[other] as usize] = true;
        other += 1;
    }
    table
}

/// A token: not empty, nothing but [`is_token_byte`].
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// Optional white space.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without optional white space (space, tab) at both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    &bytes[trimmed(bytes, 0..bytes.len())]
}

/// The same of a part.
#[inline]
pub(super) fn trimmed(bytes: &[u8], mut part: Range<usize>) -> Range<usize> {
    while part.start < part.end && is_space(bytes[part.start]) {
        part.start += 1;
    }
    while part.start < part.end && is_space(bytes[part.end - 1]) {
        part.end -= 1;
    }
    part
}

/// Without the empty lines that may stand before a message.
pub(super) fn skip_empty(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|b| !matches!(b, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    &bytes[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_after_its_first_empty_line() {
        for (bytes, end) in [
            (&b"A\r\n\r\nB"[..], Some(5)),
            (b"A\n\nB", Some(3)),
            (b"A\r\n\nB", Some(4)),
            (b"A\n\r\nB", Some(4)),
            (b"A\r\n\rB", None),
            (b"A\r\n", None),
        ] {
            assert_eq!(find_end(bytes, 0), end, "{}", bytes.escape_ascii());
        }
    }
}
