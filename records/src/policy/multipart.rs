//! Secrets in forms of several parts (RFC 7578): fields with password-like names lose their content, and texts in other
//! parts the secrets in them.

use super::names::{Told, is_random};
use super::{Policy, REDACTED};
use crate::Octets;
use memchr::memmem;
use std::borrow::Cow;

/// The body without secrets. Its last part need not be whole.
pub(super) fn without_secrets(body: &[u8], boundary: &[u8], policy: &Policy) -> Vec<u8> {
    let delimiter = [b"--", boundary].concat();
    let mut clean = Vec::with_capacity(body.len());
    let mut rest = body;
    loop {
        let end = next(rest, &delimiter);
        let (part, tail) = rest.split_at(end);
        clean_part(part, policy, &mut clean);
        if tail.is_empty() {
            return clean;
        }
        clean.extend_from_slice(&delimiter);
        rest = &tail[delimiter.len()..];
    }
}

/// Where the next delimiter stands, at the beginning of a line, or the end.
fn next(body: &[u8], delimiter: &[u8]) -> usize {
    memmem::find_iter(body, delimiter)
        .find(|at| *at == 0 || body[at - 1] == b'\n')
        .unwrap_or(body.len())
}

/// What stands between two delimiters: the end of the line, headers, an empty line, the content, the end of its line.
fn clean_part(part: &[u8], policy: &Policy, clean: &mut Vec<u8>) {
    let head = [&b"\r\n\r\n"[..], b"\n\n"]
        .into_iter()
        .filter_map(|gap| memmem::find(part, gap).map(|at| at + gap.len()))
        .min()
        .unwrap_or(part.len());
    let (head, content) = part.split_at(head);
    clean.extend_from_slice(head);
    let line = match content {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    let (content, line) = content.split_at(content.len() - line);
    let told = name(head).map(|name| policy.tells(&String::from_utf8_lossy(name)));
    let is_secret = match told {
        Some(Told::Secret) => !content.is_empty(),
        Some(Told::Doubtful) => is_random(content),
        Some(Told::Nothing) | None => false,
    };
    if is_secret {
        clean.extend_from_slice(REDACTED.as_bytes());
    } else {
        match policy.body(&Octets::from(content).into_text()) {
            Cow::Owned(text) => clean.extend_from_slice(text.as_bytes()),
            Cow::Borrowed(_) => clean.extend_from_slice(content),
        }
    }
    clean.extend_from_slice(line);
}

/// The field that a part's headers name.
fn name(head: &[u8]) -> Option<&[u8]> {
    for line in head.split(|byte| *byte == b'\n') {
        let colon = memchr::memchr(b':', line).unwrap_or(0);
        if !line[..colon]
            .trim_ascii()
            .eq_ignore_ascii_case(b"content-disposition")
        {
            continue;
        }
        for parameter in line[colon..].split(|byte| *byte == b';') {
            let equals = memchr::memchr(b'=', parameter).unwrap_or(0);
            if parameter[..equals].trim_ascii().eq_ignore_ascii_case(b"name") {
                let value = parameter[equals + 1..].trim_ascii();
                let value = value.strip_prefix(b"\"").unwrap_or(value);
                return Some(value.strip_suffix(b"\"").unwrap_or(value));
            }
        }
    }
    None
}
