//! Start lines: whether bytes begin one, and what it says.

use super::head::{Version, is_space, is_token, is_token_byte, skip_empty};
use super::odd::{Odd, odd_request_line};
use crate::detect::Verdict;
use memchr::{memchr, memchr_iter};
use std::ops::Range;

/// Length of a version.
pub(super) const VERSION: usize = 8;
/// Longest method that is taken for one; the longest registered has 17 letters.
pub(super) const MAX_METHOD: usize = 32;
/// Empty lines before a first request line are tolerated up to here.
const MAX_LEADING: usize = 16;

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
            Some(RequestLine {
                version: Some(_),
                odd: None,
                ..
            }) => Verdict::Yes,
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

/// What a request line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestLine {
    pub method: Range<u32>,
    /// All that lies between, spaces included.
    pub target: Range<u32>,
    /// Absent where the line was cut before it, or where it is none of HTTP/1.
    pub version: Option<Version>,
    /// It is not as it should be.
    pub odd: Option<Odd>,
}

/// Method, target and version of a request line.
pub(super) fn request_line(line: &[u8]) -> Option<RequestLine> {
    let Some(method) = memchr(b' ', line).filter(|end| is_token(&line[..*end])) else {
        return odd_request_line(line);
    };
    let (target, version) = match trailing_version(&line[method + 1..]) {
        Some(version) => (method + 1..line.len() - 9, Some(version)),
        None => (method + 1..line.len(), None),
    };
    let spaced = |at: Option<&u8>| at.is_none_or(|byte| is_space(*byte));
    let part = &line[target.clone()];
    if version.is_none() || spaced(part.first()) || spaced(part.last()) {
        return odd_request_line(line);
    }
    Some(RequestLine {
        method: narrow(0..method)?,
        target: narrow(target)?,
        version,
        odd: None,
    })
}

pub(super) fn narrow(range: Range<usize>) -> Option<Range<u32>> {
    Some(u32::try_from(range.start).ok()?..u32::try_from(range.end).ok()?)
}

/// Version and status of a status line.
pub(super) fn status_line(line: &[u8]) -> Option<(Version, u16)> {
    let version = version(line.get(..VERSION)?)?;
    let [b' ', digits @ ..] = line.get(8..12)? else {
        return None;
    };
    if line.get(12).is_some_and(|&b| b != b' ') {
        return None;
    }
    Some((version, status(digits)?))
}

pub(super) fn status(digits: &[u8]) -> Option<u16> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
}

/// The version behind a space at the end of a line.
pub(super) fn trailing_version(line: &[u8]) -> Option<Version> {
    let [b' ', version @ ..] = line.last_chunk::<9>()? else {
        return None;
    };
    self::version(version)
}

/// `HTTP/1.0`, or a later minor version, which all read as 1.1 (RFC 9110, 2.5).
pub(super) fn version(bytes: &[u8]) -> Option<Version> {
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
