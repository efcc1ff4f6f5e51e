//! Request targets and hosts.

/// The parts of a request's target (RFC 9112, 3.2). What it does not say is absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub scheme: Option<String>,
    /// Host and port, userinfo included.
    pub authority: Option<&'a [u8]>,
    pub path: Option<&'a [u8]>,
    pub query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    pub fn parse(method: &[u8], target: &'a [u8]) -> Self {
        let http = || Some("http".to_owned());
        if method == b"CONNECT" {
            return Self {
                authority: Some(target),
                ..Self::default()
            };
        }
        if target == b"*" {
            return Self {
                scheme: http(),
                ..Self::default()
            };
        }
        if target.first() == Some(&b'/') {
            let (path, query) = path(target);
            return Self {
                scheme: http(),
                path: Some(path),
                query,
                ..Self::default()
            };
        }
        let Some((scheme, rest)) = absolute(target) else {
            return Self::default();
        };
        let end = rest
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'))
            .unwrap_or(rest.len());
        let (path, query) = path(&rest[end..]);
        Self {
            scheme: Some(scheme),
            authority: Some(&rest[..end]),
            path: Some(path).filter(|path| !path.is_empty()),
            query,
        }
    }
}

fn path(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

fn absolute(target: &[u8]) -> Option<(String, &[u8])> {
    let at = memchr::memmem::find(target, b"://")?;
    let scheme = std::str::from_utf8(&target[..at]).ok()?;
    let plain = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let named = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    (plain && named).then(|| (scheme.to_ascii_lowercase(), &target[at + 3..]))
}

/// Host, in lower case and with the brackets of an IPv6 address as in ECS, and port of an authority.
pub(crate) fn host(authority: &[u8]) -> Option<(String, Option<u16>)> {
    let authority = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
    let text = std::str::from_utf8(authority).ok()?;
    let (name, port) = match text.rfind(':') {
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
        // `reg-name` of RFC 3986, and letters beyond ASCII, which some clients send.
        None => name
            .chars()
            .all(|c| c.is_alphanumeric() || "-._~%!$&'()*+,;=".contains(c)),
    };
    (plain && !name.is_empty() && name.len() <= 255).then(|| (name.to_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_in_four_forms() {
        let http = Some("http".to_owned());
        let path = Some(&b"/a"[..]);
        for (method, target, parts) in [
            (
                "GET",
                "/a?b=c?d",
                Target {
                    scheme: http.clone(),
                    path,
                    query: Some(b"b=c?d"),
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
                    authority: Some(b"h:443"),
                    ..Target::default()
                },
            ),
            (
                "GET",
                "HTTPS://u@h:1/a",
                Target {
                    scheme: Some("https".into()),
                    authority: Some(b"u@h:1"),
                    path,
                    ..Target::default()
                },
            ),
            (
                "GET",
                "http://h?q",
                Target {
                    scheme: Some("http".into()),
                    authority: Some(b"h"),
                    query: Some(b"q"),
                    ..Target::default()
                },
            ),
            ("GET", "a", Target::default()),
        ] {
            assert_eq!(
                Target::parse(method.as_bytes(), target.as_bytes()),
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
            let seen = seen.map(|(name, port)| (name.to_owned(), port));
            assert_eq!(host(authority.as_bytes()), seen, "{authority}");
        }
    }
}
