//! Credentials that stand behind a word which says what they are: Bearer, Basic, BEGIN PRIVATE KEY, a bot in a path.

use super::Alphabet;
use base64::{Engine, alphabet::STANDARD, engine};
use std::ops::Range;

/// Bytes within which the name of a private key ends.
const NAME: usize = 48;

const LENIENT: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The secret behind this word.
pub(super) fn secret(text: &[u8], start: usize, word: usize) -> Option<Range<usize>> {
    let (name, behind) = text[start..].split_at(word);
    match name {
        b"BEGIN" => private_key(text, start),
        [b'b', b'o', b't', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let colon = [&b":"[..], b"%3A", b"%3a"];
            let token = colon.iter().find_map(|colon| behind.strip_prefix(*colon))?;
            let token = Alphabet::Word.run(token);
            let end = start + word + behind.len() - token_rest(behind, token);
            (token >= 16).then_some(end - token..end)
        }
        _ if name.eq_ignore_ascii_case(b"bearer") => {
            let (place, token) = credentials(text, start + word)?;
            let is_all = start == 0 && place.end == text.len();
            let digit = token.iter().any(u8::is_ascii_digit);
            let letter = token.iter().any(u8::is_ascii_alphabetic);
            let is_token = token.len() >= 8 && digit && letter || token.len() >= 32;
            (is_all && token.len() >= 6 || is_token).then_some(place)
        }
        _ if name.eq_ignore_ascii_case(b"basic") => {
            let (place, token) = credentials(text, start + word)?;
            let plain = LENIENT.decode(token).ok()?;
            plain.contains(&b':').then_some(place)
        }
        _ => None,
    }
}

/// What stands behind the token, which follows the colon.
fn token_rest(behind: &[u8], token: usize) -> usize {
    let colon = if behind.first() == Some(&b':') { 1 } else { 3 };
    behind.len() - colon - token
}

/// The credentials behind the name of a scheme (RFC 9110, 11.2). A parameter, as in a challenge, is none.
fn credentials(text: &[u8], from: usize) -> Option<(Range<usize>, &[u8])> {
    let behind = &text[from..];
    let blanks = behind
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let start = from + blanks;
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let token = text[start..].iter().take_while(|byte| is_token(byte)).count();
    let padding = text[start + token..]
        .iter()
        .take_while(|byte| **byte == b'=')
        .count();
    let end = start + token + padding;
    let is_parameter = padding > 0
        && text
            .get(end)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'"' | b'\\'));
    (blanks > 0 && token > 0 && !is_parameter).then(|| (start..end, &text[start..end]))
}

/// A private key in text, from its first line to its last; one that does not end goes on to the end.
fn private_key(text: &[u8], start: usize) -> Option<Range<usize>> {
    if !text[..start].ends_with(b"-----") {
        return None;
    }
    let name = &text[start..text.len().min(start + NAME)];
    let private = memchr::memmem::find(name, b"PRIVATE")?;
    let behind = &name[private + 7..];
    let gaps = [&b" KEY"[..], b"+KEY", b"%20KEY", b"_KEY"];
    if !gaps.iter().any(|gap| behind.starts_with(gap)) {
        return None;
    }
    let last = memchr::memmem::find(&text[start..], b"-----END").map(|at| start + at + 8);
    let end = last.map_or(text.len(), |last| {
        let line = &text[last..text.len().min(last + NAME)];
        memchr::memmem::find(line, b"-----").map_or(last + line.len(), |at| last + at + 5)
    });
    Some(start - 5..end)
}
