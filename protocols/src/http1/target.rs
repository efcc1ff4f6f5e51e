//! Request targets and hosts.

use super::head::alphanumeric_or;
use compact_str::CompactString;
use weir_records::Octets;

/// The parts of a request's target (RFC 9112, 3.2). What it does not say is absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub scheme: Option<CompactString>,
    /// Host and port, userinfo included.
    pub authority: Option<Octets<'a>>,
    pub path: Option<Octets<'a>>,
    pub query: Option<Octets<'a>>,
}

impl<'a> Target<'a> {
    pub fn parse(method: &[u8], target: &Octets<'a>) -> Self {
        let http = || Some(CompactString::const_new("http"));
        if method == b"CONNECT" {
            return Self {
                authority: Some(target.clone()),
                ..Self::default()
            };
        }
        if **target == *b"*" {
            return Self {
                scheme: http(),
                ..Self::default()
            };
        }
        if target.first() == Some(&b'/') {
            return Self {
                scheme: http(),
                ..Self::from_path(target, 0)
            };
        }
        let Some((scheme, start)) = absolute(target) else {
            return Self::default();
        };
        let rest = &target[start..];
        let end = rest
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'))
            .map_or(target.len(), |end| start + end);
        let parts = Self::from_path(target, end);
        Self {
            scheme: Some(scheme),
            authority: Some(target.part(start..end)),
            path: parts.path.filter(|path| !path.is_empty()),
            query: parts.query,
        }
    }

    /// Path and query, which begin here.
    fn from_path(target: &Octets<'a>, start: usize) -> Self {
        let (path, query) = match memchr::memchr(b'?', &target[start..]).map(|at| start + at) {
            Some(at) => (start..at, Some(at + 1..target.len())),
            None => (start..target.len(), None),
        };
        Self {
            path: Some(target.part(path)),
            query: query.map(|query| target.part(query)),
            ..Self::default()
        }
    }
}

/// The scheme of an absolute target, and where its authority begins.
fn absolute(target: &[u8]) -> Option<(CompactString, usize)> {
    let at = memchr::memmem::find(target, b"://")?;
    let scheme = std::str::from_utf8(&target[..at]).ok()?;
    let plain = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let named = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    (plain && named).then(|| (scheme.to_ascii_lowercase().into(), at + 3))
}

/// Host, in lower case and with the brackets of an IPv6 address as in ECS, and port of an authority.
pub(crate) fn host(authority: &Octets<'_>) -> Option<(CompactString, Option<u16>)> {
    let text = match authority {
        Octets::Text(text) => text,
        Octets::Bytes(bytes) => std::str::from_utf8(bytes).ok()?,
    };
    // (An `@` is one of its own, and so is a colon: no other character has their bytes.)
    let last = |byte: u8| text.bytes().rposition(|b| b == byte);
    let text = last(b'@').map_or(text, |at| &text[at + 1..]);
    let (name, port) = match text.bytes().rposition(|b| b == b':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    let plain = match name.strip_prefix('[').map(|name| name.strip_suffix(']')) {
        Some(Some(address)) => address
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'%')),
        Some(None) => false,
        None => name.bytes().all(is_name_byte) || name.chars().all(is_name_character),
    };
    if !plain || name.is_empty() || name.len() > 255 {
        return None;
    }
    if !name.is_ascii() {
        return Some((name.to_lowercase().into(), port));
    }
    let mut lower = CompactString::new(name);
    lower.make_ascii_lowercase();
    Some((lower, port))
}

/// `reg-name` of RFC 3986.
fn is_name_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = alphanumeric_or(b"-._~%!$&'()*+,;=");
    TABLE[usize::from(byte)]
}

/// That, and letters beyond ASCII, which some clients send.
fn is_name_character(c: char) -> bool {
    if c.is_ascii() {
        is_name_byte(c as u8)
    } else {
        c.is_alphanumeric()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_in_four_forms() {
        let http = Some(CompactString::from("http"));
        let path = Some(Octets::from("/a"));
        for (method, target, parts) in [
            (
                "GET",
                "/a?b=c?d",
                Target {
                    scheme: http.clone(),
                    path: path.clone(),
                    query: Some("b=c?d".into()),
                    ..Target::default()
                },
            ),
            (
                "OPTIONS",
                "*",
                Target {
                    scheme: http,
                    ..Target::default()
                },
            ),
            (
                "CONNECT",
                "h:443",
                Target {
                    authority: Some("h:443".into()),
                    ..Target::default()
                },
            ),
            (
                "GET",
                "HTTPS://u@h:1/a",
                Target {
                    scheme: Some("https".into()),
                    authority: Some("u@h:1".into()),
                    path,
                    ..Target::default()
                },
            ),
            (
                "GET",
                "http://h?q",
                Target {
                    scheme: Some("http".into()),
                    authority: Some("h".into()),
                    query: Some("q".into()),
                    ..Target::default()
                },
            ),
            ("GET", "a", Target::default()),
        ] {
            assert_eq!(
                Target::parse(method.as_bytes(), &target.into()),
                parts,
                "{target}"
            );
        }
    }

    #[test]
    fn hosts_lose_case_and_port() {
        for (authority, seen) in [
            ("Example.COM", Some(("example.com", None))),
            ("a:8080", Some(("a", Some(8080)))),
            ("a:", Some(("a", None))),
            ("u:p@a:1", Some(("a", Some(1)))),
            ("[FD00::1]:80", Some(("[fd00::1]", Some(80)))),
            ("[::1]", Some(("[::1]", None))),
            ("a b", None),
            ("a:99999", None),
            ("a:b", None),
            ("[::1", None),
            ("", None),
            (":80", None),
            ("a/b", None),
        ] {
            let seen = seen.map(|(name, port)| (name.into(), port));
            assert_eq!(host(&authority.into()), seen, "{authority}");
            assert_eq!(host(&authority.as_bytes().into()), seen, "{authority}");
        }
    }
}
