//! What is percent-encoded within a value. URLs stand in URLs, encoded once more at each step of a redirection.

use super::assignments::{self, Look};
use super::names::{Names, Told, is_random};
use super::{json_text, redact, tokens};
use std::borrow::Cow;

/// How often a value may be encoded and is still looked into.
const DEEPEST: usize = 3;

/// A value, as it stands or encoded, has a secret in it: a URL, JSON, GraphQL, a token.
pub(super) fn hides_secret(value: &[u8], names: &Names) -> bool {
    // (Most values are short: a call for a search costs more than a look at each byte.)
    const FEW: usize = 16;
    let telling = |byte: &u8| matches!(byte, b':' | b'%' | b'+');
    if value.len() <= FEW && !value.iter().any(telling) {
        return false;
    }
    if memchr::memchr(b':', value).is_some() && holds_named(value, names, Look::Colons) {
        return true;
    }
    let mut plain = Cow::Borrowed(value);
    for _ in 0..DEEPEST {
        if memchr::memchr2(b'%', b'+', &plain).is_none() {
            return false;
        }
        // In a query a plus sign is a blank.
        let mut spaced = plain.into_owned();
        spaced
            .iter_mut()
            .filter(|byte| **byte == b'+')
            .for_each(|byte| *byte = b' ');
        let next = decode(&spaced);
        if holds(&next, names) {
            return true;
        }
        plain = Cow::Owned(next);
    }
    false
}

/// A text that was encoded has a secret in it.
fn holds(plain: &[u8], names: &Names) -> bool {
    redact::userinfo(plain).is_some()
        || has_pair(plain, names)
        || holds_named(plain, names, Look::Plain)
        || tokens::without_secrets(plain).is_some()
}

fn holds_named(plain: &[u8], names: &Names, look: Look) -> bool {
    let text = String::from_utf8_lossy(plain);
    // (What was replaced before is replaced again.)
    json_text::without_secrets(&text, &|key| names.key(key.as_bytes())).is_some_and(|clean| clean != text)
        || assignments::without_secrets(&text, names, look).is_some()
}

fn has_pair(plain: &[u8], names: &Names) -> bool {
    plain
        .split(|b| matches!(b, b'?' | b'&' | b';' | b'#'))
        .any(|pair| {
            let Some(equals) = memchr::memchr(b'=', pair) else {
                return false;
            };
            let value = &pair[equals + 1..];
            match names.encoded_key(&pair[..equals]) {
                Told::Secret => !value.is_empty(),
                Told::Doubtful => is_random(value),
                Told::Nothing => false,
            }
        })
}

/// Without percent-encoding.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}
