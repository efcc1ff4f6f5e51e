//! Heads: where they end, their lines, start lines and fields. Bytes and ranges only; strings are made in `document`.

use crate::detect::Verdict;
use memchr::{memchr, memchr_iter};
use std::ops::Range;

/// Longest method that is taken for one; the longest registered has 17 letters.
const MAX_METHOD: usize = 32;
/// Empty lines before a first request line are tolerated up to here.
const MAX_LEADING: usize = 16;

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
fn is_space(byte: u8) -> bool {
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

/// Is this the beginning of a request? `Yes` once the whole request line has been seen.
pub(super) fn request_verdict(bytes: &[u8]) -> Verdict {
    let line = skip_empty(bytes);
    if bytes.len() - line.len() > MAX_LEADING {
        return Verdict::No;
    }
    let method = line
        .iter()
        .take(MAX_METHOD + 1)
        .take_while(|&&b| is_token_byte(b))
        .count();
    match line.get(method) {
        _ if method > MAX_METHOD => return Verdict::No,
        None => return Verdict::More,
        Some(b' ') if method > 0 => {}
        Some(_) => return Verdict::No,
    }
    match line.get(method + 1) {
        None => return Verdict::More,
        Some(byte) if *byte <= b' ' || *byte == 0x7f => return Verdict::No,
        Some(_) => {}
    }
    match memchr(b'\n', line) {
        None => Verdict::More,
        Some(end) => match request_line(line[..end].strip_suffix(b"\r").unwrap_or(&line[..end])) {
            Some((_, _, Some(_))) => Verdict::Yes,
            _ => Verdict::No,
        },
    }
}

/// Is this the beginning of a request, in a stream that may be anywhere? Only a target of a known form will do, since
/// any text may hold words and end in a version.
pub(super) fn midway_request_verdict(bytes: &[u8]) -> Verdict {
    let verdict = request_verdict(bytes);
    let line = skip_empty(bytes);
    let Some(space) = memchr(b' ', line).filter(|_| verdict != Verdict::No) else {
        return verdict;
    };
    let target = &line[space + 1..];
    let target = target
        .split(|b| b.is_ascii_whitespace())
        .next()
        .unwrap_or_default();
    let begins = |form: &[u8]| target.iter().zip(form).all(|(a, b)| a.eq_ignore_ascii_case(b));
    let known = begins(b"/") || begins(b"*") || begins(b"http://") || begins(b"https://");
    let spaced = request_line_is_spaced(line);
    if spaced || !known && &line[..space] != b"CONNECT" {
        Verdict::No
    } else {
        verdict
    }
}

/// More than three words stand on the first line.
fn request_line_is_spaced(line: &[u8]) -> bool {
    let end = memchr(b'\n', line).unwrap_or(line.len());
    memchr_iter(b' ', &line[..end]).count() > 2
}

/// Is this the beginning of a response?
pub(super) fn response_verdict(bytes: &[u8]) -> Verdict {
    const SHAPE: &[u8; 13] = b"HTTP/1.D DDDE";
    let line = skip_empty(bytes);
    if bytes.len() - line.len() > MAX_LEADING {
        return Verdict::No;
    }
    for (byte, shape) in line.iter().zip(SHAPE) {
        let fits = match shape {
            b'D' => byte.is_ascii_digit(),
            b'E' => matches!(byte, b' ' | b'\r' | b'\n'),
            _ => byte == shape,
        };
        if !fits {
            return Verdict::No;
        }
    }
    if line.len() < SHAPE.len() {
        Verdict::More
    } else {
        Verdict::Yes
    }
}

/// Method, target and version of a request line; no version where the line was cut before it.
/// The target is all that lies between, spaces included.
pub(super) fn request_line(line: &[u8]) -> Option<(Range<u32>, Range<u32>, Option<Version>)> {
    let method = memchr(b' ', line)?;
    if !is_token(&line[..method]) {
        return None;
    }
    let (target, version) = match trailing_version(&line[method + 1..]) {
        Some(version) => (line.len() - 9, Some(version)),
        None => (line.len(), None),
    };
    let narrow = |range: Range<usize>| Some(u32::try_from(range.start).ok()?..u32::try_from(range.end).ok()?);
    Some((narrow(0..method)?, narrow(method + 1..target)?, version))
}

/// Version and status of a status line.
pub(super) fn status_line(line: &[u8]) -> Option<(Version, u16)> {
    let version = version(line.get(..8)?)?;
    let [b' ', digits @ ..] = line.get(8..12)? else {
        return None;
    };
    if !digits.iter().all(u8::is_ascii_digit) || line.get(12).is_some_and(|&b| b != b' ') {
        return None;
    }
    Some((
        version,
        digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')),
    ))
}

/// The version behind a space at the end of a line.
pub(super) fn trailing_version(line: &[u8]) -> Option<Version> {
    let [b' ', version @ ..] = line.last_chunk::<9>()? else {
        return None;
    };
    self::version(version)
}

/// `HTTP/1.0`, or a later minor version, which all read as 1.1 (RFC 9110, 2.5).
fn version(bytes: &[u8]) -> Option<Version> {
    match bytes.strip_prefix(b"HTTP/1.")? {
        b"0" => Some(Version::V10),
        [b'1'..=b'9'] => Some(Version::V11),
        _ => None,
    }
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

    #[test]
    fn a_request_is_certain_only_with_its_whole_line() {
        for (bytes, verdict) in [
            (&b"GET / HTTP/1.1\r\n"[..], Verdict::Yes),
            (b"PROPFIND /a HTTP/1.0\n", Verdict::Yes),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", Verdict::Yes),
            (b"GET /a b HTTP/1.1\r\n", Verdict::Yes),
            (b"GET / HTTP/1.1", Verdict::More),
            (b"G", Verdict::More),
            (b"\r\n", Verdict::More),
            (b"GET /\r\n", Verdict::No),
            (b"GET  / HTTP/1.1\r\n", Verdict::No),
            (b"PRI * HTTP/2.0\r\n", Verdict::No),
            (b"OPTIONS rtsp://a/ RTSP/1.0\r\n", Verdict::No),
            (b"\x16\x03\x01", Verdict::No),
            (b"EHLO there\r\n", Verdict::No),
            (b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", Verdict::No),
            (b" GET / HTTP/1.1\r\n", Verdict::No),
        ] {
            assert_eq!(request_verdict(bytes), verdict, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_request_in_the_middle_of_a_stream_has_a_target_of_a_known_form() {
        for (bytes, verdict) in [
            (&b"GET / HTTP/1.1\r\n"[..], Verdict::Yes),
            (b"GET http://a HTTP/1.1\r\n", Verdict::Yes),
            (b"CONNECT a:1 HTTP/1.1\r\n", Verdict::Yes),
            (b"OPTIONS * HTTP/1.1\r\n", Verdict::Yes),
            (b"GET /a", Verdict::More),
            (b"GET htt", Verdict::More),
            (b"GET ", Verdict::More),
            (b"the end", Verdict::No),
            (b"see / for more", Verdict::No),
            (b"a b HTTP/1.1\r\n", Verdict::No),
        ] {
            assert_eq!(midway_request_verdict(bytes), verdict, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_response_is_known_by_its_status_line() {
        for (bytes, verdict) in [
            (&b"HTTP/1.1 200 OK"[..], Verdict::Yes),
            (b"HTTP/1.0 404\r\n", Verdict::Yes),
            (b"HTTP/1.1 20", Verdict::More),
            (b"HTTP/1.1 2000", Verdict::No),
            (b"HTTP/2.0 200", Verdict::No),
            (b"220 mail ESMTP", Verdict::No),
        ] {
            assert_eq!(response_verdict(bytes), verdict, "{}", bytes.escape_ascii());
        }
    }
}
