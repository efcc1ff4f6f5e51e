//! Secrets in free text: values that are assigned to password-like names, `password=x`, `token = "x"`, attributes of XML,
//! queries of URLs, `password: x` of YAML, GraphQL and logs; and the userinfo of URLs. What a value is ends sooner here than in
//! a URL of its own: with the word, or with its quotes; behind a colon with the line.

use super::REDACTED;
use super::encoded::hides_secret;
use super::names::{Names, Told, is_random};
use memchr::{memchr, memchr_iter, memchr2, memrchr};

/// Bytes of the longest name that is looked at.
const LONGEST_NAME: usize = 128;
/// Bytes of a value right behind a colon that are looked at, to tell whether it is one.
const LONGEST_WORD: usize = 256;
/// Bytes of a value at a name that tells little, within a value that has been looked into.
const LONGEST_WITHIN: usize = 256;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Everything; what is encoded in values, too.
    Deep,
    /// Everything that stands there as it is.
    Plain,
    /// What stands behind colons.
    Colons,
}

/// The text without secrets, if it has any.
pub(super) fn without_secrets(text: &str, names: &Names, look: Look) -> Option<String> {
    let bytes = text.as_bytes();
    memchr2(b'=', b':', bytes)?;
    let named = values(text, names, look);
    if look == Look::Colons {
        return named;
    }
    let addressed = userinfo(named.as_deref().unwrap_or(text));
    addressed.or(named)
}

/// Values at password-like names.
fn values(text: &str, names: &Names, look: Look) -> Option<String> {
    let bytes = text.as_bytes();
    let mut clean = String::new();
    let (mut done, mut at, mut looked) = (0, 0, 0);
    while let Some(sign) = memchr2(b'=', b':', &bytes[at..]).map(|found| at + found) {
        at = sign + 1;
        let is_colon = bytes[sign] == b':';
        if !is_colon && look == Look::Colons {
            continue;
        }
        let (start, name) = name_before(bytes, sign);
        if name.is_empty() || matches!(bytes.get(at), Some(b'=' | b'>')) {
            continue;
        }
        let told = names.encoded_key(name);
        // Most colons are those of times, URLs and addresses.
        if is_colon && (told == Told::Nothing || !is_assigned(bytes, start, at, told)) {
            continue;
        }
        // Within a value that has been looked into there is nothing new, but what a name tells.
        if told == Told::Nothing && at < looked {
            continue;
        }
        let limit = match told {
            Told::Doubtful if at < looked => bytes.len().min(at + LONGEST_WITHIN),
            _ => bytes.len(),
        };
        let is_line = is_colon && told == Told::Secret && matches!(bytes.get(at), Some(b' ' | b'\t'));
        let Some((value, end)) = value(&bytes[..limit], at, is_line) else {
            continue;
        };
        if end == limit && limit < bytes.len() {
            continue;
        }
        looked = looked.max(end);
        let held = &bytes[value..end];
        let secret = match told {
            Told::Secret => true,
            Told::Doubtful => is_random(held),
            Told::Nothing => false,
        } || look == Look::Deep && hides_secret(held, names);
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

/// What stands behind a colon is a value: there is a blank or a quote between, or else it looks like a secret, and the name is
/// not that of a host.
fn is_assigned(bytes: &[u8], name: usize, at: usize, told: Told) -> bool {
    match bytes.get(at) {
        Some(b' ' | b'\t' | b'"' | b'\'' | b'\\') => true,
        Some(b'/') | None => false,
        _ if told == Told::Doubtful || matches!(bytes[..name].last(), Some(b'/' | b'@')) => false,
        _ => {
            const PASSWORDS: [&[u8]; 5] = [b"password", b"passwd", b"secret", b"pwd", b"passphrase"];
            let name = bytes[name..at].to_ascii_lowercase();
            let limit = bytes.len().min(at + LONGEST_WORD);
            let word = &bytes[at..limit];
            let word = &word[..word.iter().position(ends_word).unwrap_or(word.len())];
            let is_mixed = word.iter().any(u8::is_ascii_digit) && word.iter().any(u8::is_ascii_alphabetic);
            PASSWORDS
                .iter()
                .any(|it| memchr::memmem::find(&name, it).is_some())
                || is_mixed && word.len() >= 8
        }
    }
}

/// The name that something is assigned to and where it begins, white space and quotes aside; of an attribute without its
/// namespace. (In double quotes stand names of JSON, which are looked at by themselves.)
fn name_before(bytes: &[u8], equals: usize) -> (usize, &[u8]) {
    let start = equals.saturating_sub(LONGEST_NAME);
    let before = bytes[start..equals].trim_ascii_end();
    let before = before.strip_suffix(b"'").unwrap_or(before);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[]%$".contains(byte) || !byte.is_ascii();
    let begin = before
        .iter()
        .rposition(|byte| !is_name(byte))
        .map_or(0, |at| at + 1);
    (start + begin, &before[begin..])
}

fn ends_word(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || b"&;\"'<>\\`".contains(byte)
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
            let end = string_end(bytes, value + 1, *quote, escapes);
            Some((value + 1, end - backslashes(bytes, value + 1, end)))
        }
        _ => {
            let ends = |byte: &u8| match line {
                true => b"\r\n\"<\\`".contains(byte),
                false => ends_word(byte),
            };
            let rest = &bytes[start..];
            Some((start, start + rest.iter().position(ends).unwrap_or(rest.len())))
        }
    }
}

/// Where the quote stands that ends a string, before which there are no more `escapes` than before that which began it.
fn string_end(bytes: &[u8], start: usize, quote: u8, escapes: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr(quote, &bytes[at..]).map(|found| at + found) {
        if backslashes(bytes, start, found) <= escapes {
            return found;
        }
        at = found + 1;
    }
    bytes.len()
}

/// Backslashes that stand right before this place.
fn backslashes(bytes: &[u8], from: usize, at: usize) -> usize {
    bytes[from..at]
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
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

    fn clean(text: &str) -> Option<String> {
        without_secrets(text, &Names::new(&weir_config::Records::default()), Look::Deep)
    }

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
                "{'user': 'a', 'password': 'x\\'y'}",
                "{'user': 'a', 'password': '<redacted>'}",
            ),
            ("{'token': 12}\n{'b': 1}", "{'token': <redacted>\n{'b': 1}"),
            ("password:hunter2 b:c", "password:<redacted> b:c"),
            ("{user:a,token:a1b2c3d4e5}", "{user:a,token:<redacted>"),
            ("key: 3f9a1c7be20d4a5688d1f0e7 x", "key: <redacted> x"),
            (
                "Authorization: Bearer abc\r\nHost: a",
                "Authorization: <redacted>\r\nHost: a",
            ),
        ] {
            assert_eq!(clean(text).as_deref(), Some(expected), "{text}");
            assert_eq!(clean(expected), None, "{expected}");
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
            "http://secret:8080/a",
            "session:create auth:read token:user:42",
            "secret://a",
            "key: page1, code: 404",
            "time: 10:30, key: value",
            "http://[fd00::1",
            "http://h\",\"mail\":\"a@b",
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }
}
