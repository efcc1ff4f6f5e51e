//! Secrets in free text: values that are assigned to password-like names, `password=x`, `token = "x"`, attributes of XML,
//! queries of URLs, `password: x` of YAML, GraphQL and logs; and the userinfo of URLs. What a value is ends sooner here than in
//! a URL of its own: with the word, or with its quotes; behind a colon with the line.

use super::{REDACTED, redact};
use memchr::{memchr, memchr_iter, memchr2, memrchr};

/// Bytes of the longest name that is looked at.
const LONGEST_NAME: usize = 128;

/// The text without secrets, if it has any.
pub(super) fn without_secrets(text: &str, further: &[String]) -> Option<String> {
    let bytes = text.as_bytes();
    memchr2(b'=', b':', bytes)?;
    let named = values(text, further);
    let addressed = userinfo(named.as_deref().unwrap_or(text));
    addressed.or(named)
}

/// Values at password-like names.
fn values(text: &str, further: &[String]) -> Option<String> {
    let bytes = text.as_bytes();
    let mut clean = String::new();
    let (mut done, mut at, mut looked) = (0, 0, 0);
    while let Some(sign) = memchr2(b'=', b':', &bytes[at..]).map(|found| at + found) {
        at = sign + 1;
        let name = name_before(bytes, sign);
        if name.is_empty() || matches!(bytes.get(at), Some(b'=' | b'>')) {
            continue;
        }
        let named = redact::is_secret_key(name, further);
        let is_colon = bytes[sign] == b':';
        // Most colons are those of times, URLs and addresses.
        if is_colon && !(named && matches!(bytes.get(at), Some(b' ' | b'\t' | b'"' | b'\''))) {
            continue;
        }
        // Within a value that has been looked into there is nothing new.
        if !named && at < looked {
            continue;
        }
        let Some((value, end)) = value(bytes, at, is_colon) else {
            continue;
        };
        looked = end;
        let secret = named || redact::hides_secret(&bytes[value..end], further);
        if secret && end > value && !text[value..end].starts_with(REDACTED) {
            clean.push_str(&text[done..value]);
            clean.push_str(REDACTED);
            (done, at) = (end, end);
        }
    }
    if done == 0 {
        return None;
    }
    clean.push_str(&text[done..]);
    Some(clean)
}

/// The name that something is assigned to, white space aside; of an attribute without its namespace.
fn name_before(bytes: &[u8], equals: usize) -> &[u8] {
    let start = equals.saturating_sub(LONGEST_NAME);
    let before = bytes[start..equals].trim_ascii_end();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[]%$".contains(byte) || !byte.is_ascii();
    let begin = before
        .iter()
        .rposition(|byte| !is_name(byte))
        .map_or(0, |at| at + 1);
    &before[begin..]
}

/// The value that is assigned here, without its quotes. Where they don't end it goes on to the end. Without quotes it is a
/// word, or the rest of the `line`.
fn value(bytes: &[u8], from: usize, line: bool) -> Option<(usize, usize)> {
    let rest = &bytes[from..];
    let start = from
        + rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
    let escapes = bytes[start..].iter().take_while(|byte| **byte == b'\\').count();
    let value = start + escapes;
    match bytes.get(value)? {
        quote @ (b'"' | b'\'') => {
            let end = memchr(*quote, &bytes[value + 1..]).map_or(bytes.len(), |end| value + 1 + end);
            let escapes = bytes[value + 1..end]
                .iter()
                .rev()
                .take_while(|byte| **byte == b'\\')
                .count();
            Some((value + 1, end - escapes))
        }
        _ => {
            let ends = |byte: &u8| match line {
                true => b"\r\n\"<\\`".contains(byte),
                false => byte.is_ascii_whitespace() || b"&;\"'<>\\`".contains(byte),
            };
            let rest = &bytes[start..];
            Some((start, start + rest.iter().position(ends).unwrap_or(rest.len())))
        }
    }
}

/// Userinfo stands before an `@` in an authority, which stands behind `//`; JSON may write slashes with backslashes.
fn userinfo(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut clean = String::new();
    let mut done = 0;
    for colon in memchr_iter(b':', bytes) {
        let slashes = [&b"://"[..], b":\\/\\/"];
        let Some(slashes) = slashes.into_iter().find(|it| bytes[colon..].starts_with(it)) else {
            continue;
        };
        let start = colon + slashes.len();
        if start < done {
            continue;
        }
        let rest = &bytes[start..];
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'<>\\`".contains(byte);
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        // Where the text was cut, the `@` may not be there yet.
        let cut = (end == rest.len() && has_password(rest)).then_some(end);
        if let Some(at) = memrchr(b'@', &rest[..end]).or(cut) {
            clean.push_str(&text[done..start]);
            clean.push_str(REDACTED);
            done = start + at;
        }
    }
    if done == 0 {
        return None;
    }
    clean.push_str(&text[done..]);
    Some(clean)
}

/// What stands behind the colon can't be a port.
fn has_password(authority: &[u8]) -> bool {
    let colon = memchr(b':', authority).filter(|_| authority.first() != Some(&b'['));
    colon.is_some_and(|colon| !authority[colon + 1..].iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_secret_names_are_replaced() {
        for (text, expected) in [
            ("password=x y", "password=<redacted> y"),
            ("a\npassword = \"x y\"; b=1", "a\npassword = \"<redacted>\"; b=1"),
            ("token='a", "token='<redacted>"),
            (
                "<user ns:password='x' name=\"y\"/>",
                "<user ns:password='<redacted>' name=\"y\"/>",
            ),
            (
                "{\"url\":\"/a?token=abc\\u0026b=c\",\"d\":1}",
                "{\"url\":\"/a?token=<redacted>\\u0026b=c\",\"d\":1}",
            ),
            (
                "{\"xml\":\"<a password=\\\"x\\\" b=\\\"y\\\">\"}",
                "{\"xml\":\"<a password=\\\"<redacted>\\\" b=\\\"y\\\">\"}",
            ),
            (
                "see http://u:p@h/a and https:\\/\\/u:p@h\\/b or a@b",
                "see http://<redacted>@h/a and https:\\/\\/<redacted>@h\\/b or a@b",
            ),
            (
                "Server=h;Password=x;Port=1",
                "Server=h;Password=<redacted>;Port=1",
            ),
            ("next=%2F%3Ftoken%3Da b", "next=<redacted> b"),
            ("go to http://user:hunt", "go to http://<redacted>"),
            (
                "user: a\npassword: x y\nport: 1",
                "user: a\npassword: <redacted>\nport: 1",
            ),
            (
                "mutation { login(user: \"a\", password: \"x y\") { id } }",
                "mutation { login(user: \"a\", password: \"<redacted>\") { id } }",
            ),
            (
                "{\"log\":\"token: x y\",\"b\":1}",
                "{\"log\":\"token: <redacted>\",\"b\":1}",
            ),
            (
                "Authorization: Bearer abc\r\nHost: a",
                "Authorization: <redacted>\r\nHost: a",
            ),
        ] {
            assert_eq!(without_secrets(text, &[]).as_deref(), Some(expected), "{text}");
            assert_eq!(without_secrets(expected, &[]), None, "{expected}");
        }
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for text in [
            "",
            "=",
            "=x",
            "a=b",
            "password=",
            "password==x",
            "token=>x",
            "mail@host http://h, mail@host",
            "key=value",
            "http://h:80",
            "password:",
            "token: ",
            "token:8080",
            "time: 10:30, key: value",
            "http://[fd00::1",
            "http://h\",\"mail\":\"a@b",
        ] {
            assert_eq!(without_secrets(text, &[]), None, "{text}");
        }
    }
}
