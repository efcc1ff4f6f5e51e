//! Secrets in a text that is JSON, or has some in it: what stands at password-like keys is replaced where it stands. Nothing
//! else changes, and the text need not be whole or valid.
//!
//! A key is told by its colon, and by the quotes before that, so that nothing that stands further ahead can hide it. JSON
//! may stand in a string of JSON, with every quote escaped, and that in another one: the level is how deep.

use super::REDACTED;
use super::names::{Told, is_random};
use memchr::{memchr, memrchr};
use std::borrow::Cow;

/// Bytes of the longest key that is looked at.
const LONGEST_KEY: usize = 256;
/// Quotes in it that are looked at.
const MOST_QUOTES: usize = 8;
/// The deepest level of JSON in strings that is looked at.
const DEEPEST: u32 = 3;

/// The text without secrets, if it has any.
pub(super) fn without_secrets(text: &str, tells: &dyn Fn(&str) -> Told) -> Option<String> {
    let bytes = text.as_bytes();
    let mut clean = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(colon) = find(bytes, at, b':') {
        at = colon + 1;
        let Some((key, level)) = key_before(text, colon) else {
            continue;
        };
        let told = tells(&unescaped(key));
        if told == Told::Nothing {
            continue;
        }
        let value = skip_space(bytes, at, level);
        // (Where the value decides, what it holds is looked at by itself.)
        if told == Told::Doubtful && !begins_string(bytes, value, level) {
            continue;
        }
        let end = value_end(bytes, value, level);
        if end > value && (told == Told::Secret || is_random(unquoted(&bytes[value..end]))) {
            let quote = &"\\\\\\\\\\\\\\\""[7 - escapes(level)..];
            clean.push_str(&text[done..value]);
            clean.push_str(quote);
            clean.push_str(REDACTED);
            clean.push_str(quote);
            (done, at) = (end, end);
        }
    }
    if done == 0 {
        return None;
    }
    clean.push_str(&text[done..]);
    Some(clean)
}

fn find(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    memchr(byte, bytes.get(from..)?).map(|found| from + found)
}

/// What stands in a string, at any level.
fn unquoted(string: &[u8]) -> &[u8] {
    let is_sign = |byte: &u8| matches!(byte, b'"' | b'\\');
    let start = string.iter().take_while(|byte| is_sign(byte)).count();
    let end = string[start..]
        .iter()
        .rev()
        .take_while(|byte| is_sign(byte))
        .count();
    &string[start..string.len() - end]
}

/// The string that ends before this colon, and its level.
fn key_before(text: &str, colon: usize) -> Option<(&str, u32)> {
    let bytes = text.as_bytes();
    let start = colon.saturating_sub(LONGEST_KEY);
    let before = bytes[start..colon].trim_ascii_end();
    let close = start + before.len().checked_sub(1)?;
    if bytes[close] != b'"' {
        return None;
    }
    let run = backslashes(bytes, start, close);
    let level = (0..=DEEPEST).find(|level| ends_string(run, *level))?;
    let end = close - escapes(level);
    let mut open = end;
    for _ in 0..MOST_QUOTES {
        open = start + memrchr(b'"', &bytes[start..open])?;
        let run = backslashes(bytes, start, open);
        if run == escapes(level) || level == 0 && run.is_multiple_of(2) {
            return Some((&text[open + 1..end], level));
        }
    }
    None
}

/// Backslashes before a quote at this level.
fn escapes(level: u32) -> usize {
    (1 << level) - 1
}

/// Backslashes that stand right before this place.
fn backslashes(bytes: &[u8], from: usize, at: usize) -> usize {
    bytes[from..at]
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
}

/// So many backslashes and a quote end a string at this level.
fn ends_string(run: usize, level: u32) -> bool {
    match level {
        0 => run.is_multiple_of(2),
        _ => !run.is_multiple_of(2) && ends_string((run - 1) / 2, level - 1),
    }
}

/// A key as it is meant.
fn unescaped(key: &str) -> Cow<'_, str> {
    if memchr(b'\\', key.as_bytes()).is_none() {
        return Cow::Borrowed(key);
    }
    let mut plain = String::new();
    let mut pieces = key.split('\\');
    plain.extend(pieces.next());
    for piece in pieces {
        let code = piece.strip_prefix('u').and_then(|rest| rest.get(..4));
        let meant = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
        match meant {
            Some(meant) => {
                plain.push(meant);
                plain.push_str(&piece[5..]);
            }
            None => plain.push_str(piece),
        }
    }
    Cow::Owned(plain)
}

/// Behind white space, which may be escaped where the JSON stands in a string.
fn skip_space(bytes: &[u8], mut at: usize, level: u32) -> usize {
    loop {
        at += bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        let run = bytes[at..].iter().take_while(|b| **b == b'\\').count();
        match bytes.get(at + run) {
            Some(b'n' | b'r' | b't') if level > 0 && run > 0 => at += run + 1,
            _ => return at,
        }
    }
}

/// How a quote relates to strings of a level.
enum Quote {
    /// It begins or ends one.
    Ours,
    /// It ends the string in which everything of that level stands.
    Outer,
    /// It is part of one.
    Inner,
}

fn quote(bytes: &[u8], from: usize, at: usize, level: u32) -> Quote {
    let run = backslashes(bytes, from, at);
    if ends_string(run, level) {
        Quote::Ours
    } else if (0..level).any(|outer| ends_string(run, outer)) {
        Quote::Outer
    } else {
        Quote::Inner
    }
}

/// Behind the string whose content begins here.
fn string_end(bytes: &[u8], start: usize, level: u32) -> usize {
    let mut at = start;
    while let Some(found) = find(bytes, at, b'"') {
        match quote(bytes, start, found, level) {
            Quote::Ours => return found + 1,
            Quote::Outer => return found - backslashes(bytes, start, found),
            Quote::Inner => at = found + 1,
        }
    }
    bytes.len()
}

fn begins_string(bytes: &[u8], start: usize, level: u32) -> bool {
    let rest = &bytes[start..];
    let run = rest.iter().take_while(|b| **b == b'\\').count();
    rest.get(run) == Some(&b'"') && ends_string(run, level)
}

/// Behind the value that begins here; in doubt farther.
fn value_end(bytes: &[u8], start: usize, level: u32) -> usize {
    let rest = &bytes[start..];
    let run = rest.iter().take_while(|b| **b == b'\\').count();
    match rest.get(run) {
        Some(b'"') if ends_string(run, level) => string_end(bytes, start + run + 1, level),
        Some(b'{' | b'[') if run == 0 => nested_end(bytes, start, level),
        _ => {
            let ends = |byte: &u8| match byte {
                b',' | b'}' | b']' | b'\n' => true,
                b'"' | b'\\' => level > 0,
                _ => false,
            };
            start + rest.iter().position(ends).unwrap_or(rest.len())
        }
    }
}

/// Behind the object or the list that begins here.
fn nested_end(bytes: &[u8], start: usize, level: u32) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match quote(bytes, start, at, level) {
                Quote::Ours => {
                    at = string_end(bytes, at + 1, level);
                    continue;
                }
                Quote::Outer => return at - backslashes(bytes, start, at),
                Quote::Inner => {}
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> Option<String> {
        without_secrets(text, &|key| match key {
            "password" => Told::Secret,
            "key" => Told::Doubtful,
            _ => Told::Nothing,
        })
    }

    #[test]
    fn what_stands_at_a_secret_key_is_replaced() {
        for (text, expected) in [
            (
                r#"{"a":1,"password":"x\"y","b":2}"#,
                r#"{"a":1,"password":"<redacted>","b":2}"#,
            ),
            (
                r#" [ {"password" : 12 } ]"#,
                r#" [ {"password" : "<redacted>"} ]"#,
            ),
            (
                r#"{"password":{"a":["}"]},"b":[1]}"#,
                r#"{"password":"<redacted>","b":[1]}"#,
            ),
            (
                r#"{"password":[1,{}],"password":null}"#,
                r#"{"password":"<redacted>","password":"<redacted>"}"#,
            ),
            (r#"{"password":"cut her"#, r#"{"password":"<redacted>""#),
            (r#"{"password":"cut\"#, r#"{"password":"<redacted>""#),
            (r#"{"password":{"a":"#, r#"{"password":"<redacted>""#),
            (r#"{"password":tru"#, r#"{"password":"<redacted>""#),
            (
                "{\"\u{e9}\\\u{e9}\":1,\"password\":2}",
                "{\"\u{e9}\\\u{e9}\":1,\"password\":\"<redacted>\"}",
            ),
            (r#""password":1"#, r#""password":"<redacted>""#),
            (
                "{\"password\":1}\n{\"password\":\"2\"}\n",
                "{\"password\":\"<redacted>\"}\n{\"password\":\"<redacted>\"}\n",
            ),
            (r#"data: {"password":"x"}"#, r#"data: {"password":"<redacted>"}"#),
        ] {
            assert_eq!(clean(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_key_may_be_escaped_and_follow_anything() {
        for (text, expected) in [
            (
                r#"{"pass\u0077ord":"x","p\u0061ssword":1}"#,
                r#"{"pass\u0077ord":"<redacted>","p\u0061ssword":"<redacted>"}"#,
            ),
            (
                r#"it's 5" wide: {"password":"x"}"#,
                r#"it's 5" wide: {"password":"<redacted>"}"#,
            ),
            // (The quote that ends what is replaced may be the one that begins the next key.)
            (
                r#"{"password":","password":"x"}"#,
                r#"{"password":"<redacted>"password":"<redacted>"}"#,
            ),
            (
                r#"{"a":"\\","password":"x\\","b":"y"}"#,
                r#"{"a":"\\","password":"<redacted>","b":"y"}"#,
            ),
            (
                r#"{"a":"b\":","password":"x"}"#,
                r#"{"a":"b\":","password":"<redacted>"}"#,
            ),
        ] {
            assert_eq!(clean(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn at_a_doubtful_key_the_value_decides() {
        assert_eq!(
            clean(r#"{"key":"page1","a":"{\"key\":\"3f9a1c7be20d4a5688d1f0e7\"}","key":12}"#).as_deref(),
            Some(r#"{"key":"page1","a":"{\"key\":\"<redacted>\"}","key":12}"#)
        );
    }

    #[test]
    fn json_in_strings_of_json_is_looked_into() {
        let inner = r#"{"a":"\"","password":"x\"y","c":[{"password":{"z":"}"}}]}"#;
        let expected = r#"{"a":"\"","password":"<redacted>","c":[{"password":"<redacted>"}]}"#;
        let wrap = |text: &str| serde_json::json!({"log": text, "n": 1}).to_string();
        let (mut text, mut expected) = (inner.to_owned(), expected.to_owned());
        for level in 0..=DEEPEST {
            assert_eq!(clean(&text).as_deref(), Some(&*expected), "{level}");
            (text, expected) = (wrap(&text), wrap(&expected));
        }
        // Cut within a string within a string, and within its number.
        assert_eq!(
            clean(r#"{"log":"{\"password\":\"hun"#).as_deref(),
            Some(r#"{"log":"{\"password\":\"<redacted>\""#)
        );
        assert_eq!(
            clean(r#"{"log":"{\"password\": \n12}","b":1}"#).as_deref(),
            Some(r#"{"log":"{\"password\": \n\"<redacted>\"}","b":1}"#)
        );
        // It ends with the string that it stands in.
        assert_eq!(
            clean(r#"{"log":"{\"password\":\"cut","b":1}"#).as_deref(),
            Some(r#"{"log":"{\"password\":\"<redacted>\"","b":1}"#)
        );
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for text in [
            "",
            "password",
            r#"{"a":"password"}"#,
            r#"{"a":1}"#,
            "{",
            r#"{"password""#,
            r#"{"password":"#,
            "password: x",
            "a\":b",
            "\":",
            ":",
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }

    #[test]
    fn wherever_a_document_is_cut_nothing_of_a_secret_is_left() {
        let text = r#"{"a":"b","password":"hunter2","c":{"password":{"x":["hunter2"]}},"d":"{\"password\":\"hunter2\"}"}"#;
        for end in 0..=text.len() {
            let cut = &text[..end];
            let clean = clean(cut).unwrap_or_else(|| cut.to_owned());
            assert!(!clean.contains("\"h"), "{clean}");
            assert!(!clean.contains("hu"), "{clean}");
        }
    }
}
