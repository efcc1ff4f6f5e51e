//! Start lines that are not as they should be, and which some reader understands all the same (RFC 9112, 3 and 4).

use super::head::{Version, is_space, is_token_byte, skip_empty, trim, trimmed};
use super::start::{
    MAX_METHOD, RequestLine, VERSION, narrow, request_verdict, response_verdict, status, version,
};
use crate::detect::Verdict;
use memchr::memchr;
use std::ops::Range;

/// Longest request line that is taken for one though it is not as it should be.
const MAX_ODD: usize = 8 << 10;

/// Is this the beginning of a request, where a request has to be? Spaces may be too many, and the version may be odd (RFC
/// 9112, 3).
pub(super) fn any_request_verdict(bytes: &[u8]) -> Verdict {
    match request_verdict(bytes) {
        Verdict::No => odd_request_verdict(bytes),
        verdict => verdict,
    }
}

fn odd_request_verdict(bytes: &[u8]) -> Verdict {
    let line = skip_empty(bytes);
    let end = memchr(b'\n', &line[..line.len().min(MAX_ODD)]);
    let line = &line[..end.unwrap_or(line.len().min(MAX_ODD))];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let method = line.iter().take_while(|byte| is_token_byte(**byte)).count();
    let spaced = line.get(method).is_none_or(|byte| is_space(*byte));
    let plain = line.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    if !(1..=MAX_METHOD).contains(&method) || !spaced || !plain {
        return Verdict::No;
    }
    match end {
        None if line.len() < MAX_ODD => Verdict::More,
        Some(_) if version_word(line).is_some() => Verdict::Yes,
        _ => Verdict::No,
    }
}

/// Where the last word of a line stands, if that is a version of HTTP.
fn version_word(line: &[u8]) -> Option<Range<usize>> {
    let line = &line[..trimmed(line, 0..line.len()).end];
    let start = line.iter().rposition(|byte| is_space(*byte))? + 1;
    line[start..].starts_with(b"HTTP/").then_some(start..line.len())
}

/// Is this the beginning of a response, where one has to be? Spaces may be too many (RFC 9112, 4).
pub(super) fn any_response_verdict(bytes: &[u8]) -> Verdict {
    match response_verdict(bytes) {
        Verdict::No => odd_response_verdict(bytes),
        verdict => verdict,
    }
}

fn odd_response_verdict(bytes: &[u8]) -> Verdict {
    let line = skip_empty(bytes);
    let Some(rest) = line
        .get(VERSION..)
        .filter(|_| version(&line[..VERSION]).is_some())
    else {
        return Verdict::No;
    };
    let spaces = rest
        .iter()
        .take(MAX_METHOD)
        .take_while(|byte| is_space(**byte))
        .count();
    let code = &rest[spaces..];
    let digits = code
        .iter()
        .take(3)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    match (spaces, digits, code.get(digits)) {
        (1.., 3, Some(b' ' | b'\t' | b'\r' | b'\n')) => Verdict::Yes,
        (_, _, Some(_)) | (0, 1.., None) => Verdict::No,
        (_, _, None) => Verdict::More,
    }
}

/// What is odd about a request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// Its parts are not one space apart.
    Spaces,
    NoTarget,
    /// This is in the version's place.
    Version(Range<usize>),
}

/// Method, target and version of a request line that is not as it should be.
pub(super) fn odd_request_line(line: &[u8]) -> Option<RequestLine> {
    let method = line.iter().take_while(|byte| is_token_byte(**byte)).count();
    if method == 0 || !line.get(method).is_some_and(|byte| is_space(*byte)) {
        return None;
    }
    let word = version_word(line);
    let end = word.as_ref().map_or(line.len(), |word| word.start);
    let target = match word {
        Some(_) => trimmed(line, method..end),
        None => method + 1..end,
    };
    let said = word.clone().map(|word| version(&line[word]));
    let odd = match (said, word) {
        (Some(None), Some(word)) => Some(Odd::Version(word)),
        (Some(_), _) if target.is_empty() => Some(Odd::NoTarget),
        (Some(_), _) => Some(Odd::Spaces),
        (None, _) => None,
    };
    Some(RequestLine {
        method: narrow(0..method)?,
        target: narrow(target)?,
        version: said.flatten(),
        odd,
    })
}

/// Version and status of a status line whose parts are more than a space apart.
pub(super) fn spaced_status_line(line: &[u8]) -> Option<(Version, u16)> {
    let version = version(line.get(..VERSION)?)?;
    let code = trim(&line[VERSION..]);
    let spaced = is_space(*line.get(VERSION)?) && code.get(3).is_none_or(|byte| is_space(*byte));
    Some((version, status(code.get(..3).filter(|_| spaced)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::start::request_line;

    #[test]
    fn what_is_odd_about_a_request_line_is_told() {
        let read = |line: &[u8]| {
            let read = request_line(line)?;
            let part = |range: Range<u32>| &line[range.start as usize..range.end as usize];
            let words =
                [part(read.method), part(read.target)].map(|part| str::from_utf8(part).unwrap().to_owned());
            Some((words, read.version, read.odd))
        };
        let words = |method: &str, target: &str| [method.to_owned(), target.to_owned()];
        let (v10, v11) = (Some(Version::V10), Some(Version::V11));
        for (line, seen) in [
            (&b"GET / HTTP/1.1"[..], Some((words("GET", "/"), v11, None))),
            (b"GET /a b HTTP/1.0", Some((words("GET", "/a b"), v10, None))),
            (
                b"GET  / HTTP/1.1",
                Some((words("GET", "/"), v11, Some(Odd::Spaces))),
            ),
            (
                b"GET /  HTTP/1.1 ",
                Some((words("GET", "/"), v11, Some(Odd::Spaces))),
            ),
            (
                b"GET\t/\tHTTP/1.0",
                Some((words("GET", "/"), v10, Some(Odd::Spaces))),
            ),
            (
                b"GET HTTP/1.1",
                Some((words("GET", ""), v11, Some(Odd::NoTarget))),
            ),
            (
                b"GET  HTTP/1.1",
                Some((words("GET", ""), v11, Some(Odd::NoTarget))),
            ),
            (
                b"GET / HTTP/1.0.8",
                Some((words("GET", "/"), None, Some(Odd::Version(6..16)))),
            ),
            (b"GET /long", Some((words("GET", "/long"), None, None))),
            (b"GET", None),
            (b"\x16\x03 / HTTP/1.1", None),
        ] {
            assert_eq!(read(line), seen, "{}", line.escape_ascii());
            let whole = [line, b"\r\n"].concat();
            let verdict = any_request_verdict(&whole);
            let valid = read(line).is_some_and(|(_, version, odd)| version.is_some() || odd.is_some());
            assert_eq!(verdict == Verdict::Yes, valid, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_status_line_may_have_too_many_spaces() {
        for (line, verdict, read) in [
            (
                &b"HTTP/1.1  200 OK\r\n"[..],
                Verdict::Yes,
                Some((Version::V11, 200)),
            ),
            (b"HTTP/1.0\t404\r\n", Verdict::Yes, Some((Version::V10, 404))),
            (b"HTTP/1.1 200\tOK\n", Verdict::Yes, Some((Version::V11, 200))),
            (b"HTTP/1.1  20", Verdict::More, None),
            (b"HTTP/1.1  2000 OK\r\n", Verdict::No, None),
            (b"HTTP/1.1200 OK\r\n", Verdict::No, None),
            (b"HTTP/2.0  200 OK\r\n", Verdict::No, None),
        ] {
            assert_eq!(any_response_verdict(line), verdict, "{}", line.escape_ascii());
            if verdict != Verdict::More {
                assert_eq!(
                    spaced_status_line(line.trim_ascii_end()),
                    read,
                    "{}",
                    line.escape_ascii()
                );
            }
        }
    }
}
