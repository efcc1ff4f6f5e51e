//! What a secret looks like by its name, and how secrets are taken out of URLs.

use super::{REDACTED, json_text};
use crate::swar;
use std::borrow::Cow;

/// A header, in lower case, whose value is a credential. Metadata of gRPC that is binary ends in `-bin`.
pub(super) fn is_secret_header(name: &str) -> bool {
    let name = name.strip_suffix("-bin").unwrap_or(name).as_bytes();
    // By the last letter first: nearly every harmless header is let through by this one look.
    match name.last() {
        Some(b'n') => ends(name, &["authorization", "token", "session"]),
        Some(b'e') => ends(name, &["cookie", "passphrase"]),
        Some(b'2') => ends(name, &["cookie2"]),
        Some(b'y') => is_key(name),
        Some(b'd') => ends(name, &["password", "passwd", "pwd"]) || is_session_id(name),
        Some(b't') => ends(name, &["secret", "jwt"]),
        Some(b's') => ends(name, &["credentials"]),
        Some(b'l') => ends(name, &["credential"]),
        Some(b'h') => ends(name, &["x-auth"]),
        _ => false,
    }
}

/// A key of a query or a form whose value is a credential. Case does not matter; a key as it stands, before decoding.
pub(super) fn is_secret_key(key: &[u8], further: &[String]) -> bool {
    if let Ok(plain) = str::from_utf8(key)
        && memchr::memchr(b'%', key).is_none()
    {
        return is_secret_name(plain, further);
    }
    let mut key = decode(key);
    key.make_ascii_lowercase();
    tells_secret(&key, further)
}

/// A key of an object, as it is. It is asked of every key of every value, so it allocates nothing.
pub(super) fn is_secret_name(key: &str, further: &[String]) -> bool {
    const USUAL: usize = 64;
    let mut lower = [0; USUAL];
    match lower.get_mut(..key.len()) {
        Some(lower) => {
            lower.copy_from_slice(key.as_bytes());
            lower.make_ascii_lowercase();
            tells_secret(lower, further)
        }
        None => tells_secret(key.to_ascii_lowercase().as_bytes(), further),
    }
}

/// A key in lower case.
fn tells_secret(mut key: &[u8], further: &[String]) -> bool {
    while let [
        rest @ ..,
        b']' | b'[' | b' ' | b'+' | b'.' | b'-' | b'_' | b'0'..=b'9',
    ] = key
    {
        key = rest;
    }
    let Some(last) = key.last() else { return false };
    // By the last letter first: it is asked of every key of every value.
    let by_end = match last {
        b'n' => ends(key, &["token", "session", "authorization"]),
        b'e' => ends(key, &["signature", "passphrase", "passcode", "cookie"]),
        b'h' => key.ends_with(b"auth"),
        b'l' => key.ends_with(b"credential"),
        b's' => key.ends_with(b"credentials") || key == b"pass",
        b't' => key.ends_with(b"jwt"),
        b'd' => key.ends_with(b"pwd") || key == b"sid" || is_session_id(key),
        b'w' => key == b"psw",
        b'g' => key == b"sig",
        b'p' => key == b"otp",
        b'y' => is_key(key),
        _ => false,
    };
    let telling = |(at, first): (usize, &u8)| match first {
        b'p' => key[at..].starts_with(b"password") || key[at..].starts_with(b"passwd"),
        b's' => key[at..].starts_with(b"secret"),
        _ => false,
    };
    by_end || key.iter().enumerate().any(telling) || further.iter().any(|name| name.as_bytes() == key)
}

fn ends(name: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| name.ends_with(word.as_bytes()))
}

/// `api-key`, `accessKey`, … but not `key` alone, which names harmless things as a rule.
fn is_key(name: &[u8]) -> bool {
    const KINDS: &[&str] = &[
        "api",
        "access",
        "auth",
        "private",
        "secret",
        "subscription",
        "functions",
        "account",
        "master",
        "encryption",
        "signing",
        "shared",
    ];
    name.strip_suffix(b"key")
        .is_some_and(|kind| ends(unjoined(kind), KINDS))
}

fn is_session_id(name: &[u8]) -> bool {
    name.strip_suffix(b"id")
        .is_some_and(|kind| ends(unjoined(kind), &["session", "sess"]))
}

fn unjoined(name: &[u8]) -> &[u8] {
    match name {
        [rest @ .., b'-' | b'_' | b'.'] => rest,
        _ => name,
    }
}

/// Nothing is taken out of a text without one of these. (Every header is asked, and most are short: a call for a search costs
/// more than looking at eight bytes at once.)
#[inline]
fn may_hide(text: &[u8]) -> bool {
    const FEW: usize = 32;
    let telling = |byte: &u8| matches!(byte, b'@' | b'=');
    match text.last_chunk::<8>() {
        None => text.iter().any(telling),
        Some(last) if text.len() <= FEW => {
            let (words, _) = text.as_chunks::<8>();
            words.iter().chain([last]).any(|word| {
                let word = u64::from_ne_bytes(*word);
                swar::equal(word, b'@') | swar::equal(word, b'=') != 0
            })
        }
        Some(_) => memchr::memchr2(b'@', b'=', text).is_some(),
    }
}

/// Takes the userinfo of each URL and the value of each password-like key out of a text.
pub(super) fn url<'a>(text: &'a [u8], further: &[String]) -> Cow<'a, [u8]> {
    if !may_hide(text) {
        return Cow::Borrowed(text);
    }
    let text = userinfo(text);
    match pairs(&text, further) {
        Some(clean) => Cow::Owned(clean),
        None => text,
    }
}

/// Userinfo stands before an `@` in an authority, which stands behind `//`.
fn userinfo(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'@', text).is_none() {
        return Cow::Borrowed(text);
    }
    let relative = text.starts_with(b"//").then_some(2);
    let absolute = memchr::memmem::find_iter(text, b"://").map(|at| at + 3);
    let mut clean = Vec::new();
    let mut done = 0;
    for start in relative.into_iter().chain(absolute) {
        if start < done {
            continue;
        }
        if let Some(at) = authority_userinfo(&text[start..])
            && &text[start..start + at] != REDACTED.as_bytes()
        {
            clean.extend_from_slice(&text[done..start]);
            clean.extend_from_slice(REDACTED.as_bytes());
            done = start + at;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    clean.extend_from_slice(&text[done..]);
    Cow::Owned(clean)
}

/// Where the userinfo ends of the authority that this text begins with.
fn authority_userinfo(text: &[u8]) -> Option<usize> {
    let end = text
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(text.len());
    memchr::memrchr(b'@', &text[..end])
}

/// A target that is an authority alone (CONNECT), without its userinfo.
pub(super) fn authority(target: &[u8]) -> Option<Vec<u8>> {
    if matches!(target.first(), Some(b'/' | b'*')) || memchr::memmem::find(target, b"://").is_some() {
        return None;
    }
    let at = authority_userinfo(target)?;
    Some([REDACTED.as_bytes(), &target[at..]].concat())
}

/// Replaces values of password-like keys, if there are any.
fn pairs(text: &[u8], further: &[String]) -> Option<Vec<u8>> {
    let mut clean = Vec::new();
    let mut done = 0;
    let mut from = 0;
    let mut looked = 0;
    let path_end = memchr::memchr2(b'?', b'#', text).unwrap_or(text.len());
    while let Some(equals) = memchr::memchr(b'=', &text[from..]).map(|at| from + at) {
        let before = text[from..equals].iter().rposition(|b| {
            matches!(b, b'?' | b'&' | b';' | b'#' | b'/' | b',' | b'"') || b.is_ascii_whitespace()
        });
        let key = before.map_or(from, |at| from + at + 1);
        let value = equals + 1;
        let named = is_secret_key(&text[key..equals], further);
        // Within a value that has been looked into there is nothing new.
        if !named && value < looked {
            from = value;
            continue;
        }
        let end = value + value_length(text, key, value, path_end);
        looked = end;
        let secret = named || hides_secret(&text[value..end], further);
        if secret && end > value && &text[value..end] != REDACTED.as_bytes() {
            clean.extend_from_slice(&text[done..value]);
            clean.extend_from_slice(REDACTED.as_bytes());
            done = end;
            from = end;
        } else {
            // A value may hold a URL with a query of its own.
            from = value;
        }
    }
    if done == 0 {
        return None;
    }
    clean.extend_from_slice(&text[done..]);
    Some(clean)
}

/// How far a value goes. In doubt farther: replacing too much is better than too little.
fn value_length(text: &[u8], key: usize, value: usize, path_end: usize) -> usize {
    let in_path = key > 0 && matches!(text[key - 1], b';' | b'/') && key <= path_end;
    let in_link = text.first() == Some(&b'<');
    let rest = &text[value..];
    rest.iter()
        .position(|b| match b {
            b'&' => true,
            b';' | b'/' | b'?' => in_path,
            b'>' => in_link,
            _ => false,
        })
        .unwrap_or(rest.len())
}

/// Encoded within a value, a URL or JSON has a secret in it. Encoded twice, it is not looked into.
pub(super) fn hides_secret(value: &[u8], further: &[String]) -> bool {
    if memchr::memchr(b'%', value).is_none() {
        return false;
    }
    let plain = decode(value);
    let json = || {
        let is_secret = |key: &str| is_secret_name(key, further);
        json_text::without_secrets(&String::from_utf8_lossy(&plain), &is_secret).is_some()
    };
    matches!(userinfo(&plain), Cow::Owned(_)) || plain != value && (nested(&plain, further) || json())
}

fn nested(plain: &[u8], further: &[String]) -> bool {
    plain
        .split(|b| matches!(b, b'?' | b'&' | b';' | b'#'))
        .any(|pair| memchr::memchr(b'=', pair).is_some_and(|equals| is_secret_key(&pair[..equals], further)))
}

/// Without percent-encoding.
fn decode(text: &[u8]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_a_secret_is_found_wherever_it_stands() {
        for length in 0..80 {
            let plain = vec![b'<'; length];
            assert!(!may_hide(&plain), "{length}");
            for at in 0..length {
                for byte in *b"@=" {
                    let mut text = plain.clone();
                    text[at] = byte;
                    assert!(may_hide(&text), "{length} {at}");
                }
            }
        }
    }

    #[test]
    fn secrets_are_taken_out_of_urls() {
        for (text, clean) in [
            ("/a?password=x&b=c", "/a?password=<redacted>&b=c"),
            ("/a?Pass%77ord=x", "/a?Pass%77ord=<redacted>"),
            (
                "/a?newPassword2=x&user[password]=y",
                "/a?newPassword2=<redacted>&user[password]=<redacted>",
            ),
            (
                "/a?api_key=1&apiKey=2&api-key=3",
                "/a?api_key=<redacted>&apiKey=<redacted>&api-key=<redacted>",
            ),
            ("/a?access_token=a=b==&x=1", "/a?access_token=<redacted>&x=1"),
            (
                "/a?X-Amz-Signature=1&X-Amz-Credential=2",
                "/a?X-Amz-Signature=<redacted>&X-Amz-Credential=<redacted>",
            ),
            ("/app;jsessionid=AB?x=1", "/app;jsessionid=<redacted>?x=1"),
            ("/cb#id_token=1", "/cb#id_token=<redacted>"),
            ("http://u:p@h:1/a", "http://<redacted>@h:1/a"),
            ("http://u:p@q@h/", "http://<redacted>@h/"),
            ("//u:p@h/", "//<redacted>@h/"),
            ("/?password=a b;c#d?e<f/g", "/?password=<redacted>"),
            ("/to?next=http%3A%2F%2Fu%3Ap%40h%2F", "/to?next=<redacted>"),
            ("/to?next=%2Flogin%3Ftoken%3Da%26b", "/to?next=<redacted>"),
            (
                "/to?filter=%7B%22password%22%3A%22a%22%7D&b=c",
                "/to?filter=<redacted>&b=c",
            ),
            ("/to?next=/login?token=a", "/to?next=/login?token=<redacted>"),
            (
                "<http://h/?sid=1>; rel=\"next\"",
                "<http://h/?sid=<redacted>>; rel=\"next\"",
            ),
            ("token=abc", "token=<redacted>"),
        ] {
            let seen = url(text.as_bytes(), &[]);
            assert_eq!(String::from_utf8_lossy(&seen), clean, "{text}");
        }
    }

    #[test]
    fn an_authority_loses_its_userinfo() {
        assert_eq!(authority(b"u:p@h:443").as_deref(), Some(&b"<redacted>@h:443"[..]));
        for target in ["h:443", "/@a", "*", "http://u@h/"] {
            assert_eq!(authority(target.as_bytes()), None, "{target}");
        }
    }

    #[test]
    fn redaction_done_twice_changes_nothing() {
        let once = url(b"/?token=1&a=http://u:p@h/", &[]).into_owned();
        assert_eq!(url(&once, &[]), Cow::Borrowed(&once[..]));
    }

    #[test]
    fn harmless_urls_stay_as_they_are() {
        for text in [
            "/",
            "/@name/a=b",
            "/a?key=1&page=2&author=x&code=3",
            "/a?passenger=1&tokens_used",
            "/a?token=",
            "mail@host",
            "http://h/@u",
            "text/html; charset=utf-8",
            "max-age=0",
        ] {
            assert_eq!(
                url(text.as_bytes(), &[]),
                Cow::Borrowed(text.as_bytes()),
                "{text}"
            );
        }
    }
}
