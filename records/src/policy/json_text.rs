//! Secrets in a text that is JSON, or looks like it: what stands at password-like keys is replaced where it stands. Nothing
//! else changes, and the text need not be whole or valid.

use super::REDACTED;
use memchr::memchr2;

/// The text without secrets, if it is an object or a list and has any.
pub(super) fn without_secrets(text: &str, is_secret: &dyn Fn(&str) -> bool) -> Option<String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut clean = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(start) = text[at..].find('"').map(|found| at + found) {
        let end = string_end(text, start);
        at = end;
        let after = skip_space(text, end);
        if !text[after..].starts_with(':') || !is_secret(text[start..end].trim_matches('"')) {
            continue;
        }
        let value = skip_space(text, after + 1);
        at = value_end(text, value);
        if at > value {
            clean.push_str(&text[done..value]);
            clean.push('"');
            clean.push_str(REDACTED);
            clean.push('"');
            done = at;
        }
    }
    if done == 0 {
        return None;
    }
    clean.push_str(&text[done..]);
    Some(clean)
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    at + rest.len() - rest.trim_ascii_start().len()
}

/// Behind the string that begins here.
fn string_end(text: &str, start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text
        .as_bytes()
        .get(at..)
        .and_then(|rest| memchr2(b'"', b'\\', rest))
    {
        at += found;
        if text.as_bytes().get(at) == Some(&b'"') {
            return at + 1;
        }
        // Whatever is escaped; a character of several bytes ends where no quote is.
        at += 2;
    }
    text.len()
}

/// Behind the value that begins here; in doubt farther.
fn value_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    match bytes.get(start) {
        Some(b'"') => string_end(text, start),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (start, 0_usize);
            while let Some(byte) = bytes.get(at) {
                match byte {
                    b'"' => {
                        at = string_end(text, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
            text.len()
        }
        _ => {
            let rest = &text[start..];
            start + rest.find([',', '}', ']', '\n']).unwrap_or(rest.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> Option<String> {
        without_secrets(text, &|key| key == "password")
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
            (r#"{"password":{"a":"#, r#"{"password":"<redacted>""#),
            (
                "{\"\u{e9}\\\u{e9}\":1,\"password\":2}",
                "{\"\u{e9}\\\u{e9}\":1,\"password\":\"<redacted>\"}",
            ),
        ] {
            assert_eq!(clean(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for text in [
            "",
            "password",
            r#""password":1"#,
            r#"{"a":"password"}"#,
            r#"{"a":1}"#,
            "{",
            r#"{"password""#,
            r#"{"password":"#,
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }
}
