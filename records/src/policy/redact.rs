//! How secrets are taken out of URLs, and out of texts that hold URLs.

use super::edit::{Edit, apply};
use super::encoded::hides_secret;
use super::names::{Names, Told, is_random, is_uuid};
use super::{REDACTED, hint, tokens};
use std::{borrow::Cow, cell::LazyCell};

/// Bytes of the shortest code of an authorization.
const SHORTEST_CODE: usize = 16;
/// Bytes of a value at a name that tells little, within a value that has been looked into.
const LONGEST_WITHIN: usize = 256;

/// Takes the userinfo of each URL, the value of each password-like key and unmistakable tokens out of a text.
pub(super) fn url<'a>(text: &'a [u8], names: &Names) -> Cow<'a, [u8]> {
    let mut clean = Cow::Borrowed(text);
    apply(&mut clean, userinfo);
    apply(&mut clean, |text| pairs(text, names));
    if hint::has_run(&clean) || text.starts_with(b"B") || text.starts_with(b"b") {
        apply(&mut clean, tokens::without_secrets);
    }
    clean
}

/// A request's target without its secrets, of whichever form (RFC 9112, 3.2) it is.
pub(super) fn target<'a>(target: &'a [u8], names: &Names) -> Cow<'a, [u8]> {
    let mut clean = Cow::Borrowed(target);
    apply(&mut clean, authority);
    apply(&mut clean, |target| encoded_segments(target, names));
    match clean {
        Cow::Borrowed(target) => url(target, names),
        Cow::Owned(clean) => Cow::Owned(url(&clean, names).into_owned()),
    }
}

/// Segments of the path in which something is encoded that is a secret, or has one in it.
fn encoded_segments(target: &[u8], names: &Names) -> Option<Vec<u8>> {
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    memchr::memchr(b'%', &target[..end])?;
    let mut edit = Edit::new(target);
    let mut start = 0;
    for segment in target[..end].split(|byte| *byte == b'/') {
        // (Pairs are looked at one by one.)
        if memchr::memchr(b'=', segment).is_none() && hides_secret(segment, names) {
            edit.replace(start..start + segment.len());
        }
        start += segment.len() + 1;
    }
    edit.finish()
}

/// Userinfo stands before an `@` in an authority, which stands behind `//`.
pub(super) fn userinfo(text: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'@', text)?;
    let relative = text.starts_with(b"//").then_some(2);
    let absolute = memchr::memmem::find_iter(text, b"://").map(|at| at + 3);
    let mut edit = Edit::new(text);
    let mut done = 0;
    for start in relative.into_iter().chain(absolute) {
        if start < done {
            continue;
        }
        if let Some(at) = authority_userinfo(&text[start..])
            && &text[start..start + at] != REDACTED.as_bytes()
        {
            done = start + at;
            edit.replace(start..done);
        }
    }
    edit.finish()
}

/// Where the userinfo ends of the authority that this text begins with.
fn authority_userinfo(text: &[u8]) -> Option<usize> {
    let end = text
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(text.len());
    memchr::memrchr(b'@', &text[..end])
}

/// A text that begins with an authority, as the target of CONNECT does and the Host field, without its userinfo.
pub(super) fn authority(text: &[u8]) -> Option<Vec<u8>> {
    if matches!(text.first(), Some(b'/' | b'*')) || memchr::memmem::find(text, b"://").is_some() {
        return None;
    }
    let at = authority_userinfo(text)?;
    (&text[..at] != REDACTED.as_bytes()).then(|| [REDACTED.as_bytes(), &text[at..]].concat())
}

/// Replaces values of password-like keys, if there are any.
fn pairs(text: &[u8], names: &Names) -> Option<Vec<u8>> {
    let mut edit = Edit::new(text);
    let mut from = 0;
    let mut looked = 0;
    let path_end = LazyCell::new(|| memchr::memchr2(b'?', b'#', text).unwrap_or(text.len()));
    let has_state = LazyCell::new(|| memchr::memmem::find(text, b"state=").is_some());
    let is_webhook = LazyCell::new(|| memchr::memmem::find(text, b"webhook").is_some());
    // At a name that tells little stands a secret: a random value, the code of an authorization that comes with its state (RFC
    // 6749, 4.1.2), the key of a webhook.
    let is_meant = |key: &[u8], value: &[u8]| {
        is_random(value)
            || key == b"code" && value.len() >= SHORTEST_CODE && *has_state
            || is_uuid(value) && *is_webhook
    };
    while let Some(equals) = memchr::memchr(b'=', &text[from..]).map(|at| from + at) {
        let before = text[from..equals].iter().rposition(|b| {
            matches!(b, b'?' | b'&' | b';' | b'#' | b'/' | b',' | b'"') || b.is_ascii_whitespace()
        });
        let key = before.map_or(from, |at| from + at + 1);
        let value = equals + 1;
        let told = names.encoded_key(&text[key..equals]);
        // Within a value that has been looked into there is nothing new, but what a name tells.
        if told == Told::Nothing && value < looked {
            from = value;
            continue;
        }
        let limit = match told {
            Told::Doubtful if value < looked => text.len().min(value + LONGEST_WITHIN),
            _ => text.len(),
        };
        let end = value + value_length(&text[..limit], key, value, *path_end);
        if end == limit && limit < text.len() {
            from = value;
            continue;
        }
        looked = looked.max(end);
        let held = &text[value..end];
        let secret = match told {
            Told::Secret => true,
            Told::Doubtful => is_meant(&text[key..equals], held),
            Told::Nothing => false,
        } || hides_secret(held, names);
        if secret && !held.is_empty() && held != REDACTED.as_bytes() {
            edit.replace(value..end);
            from = end;
        } else {
            // A value may hold a URL with a query of its own.
            from = value;
        }
    }
    edit.finish()
}

/// How far a value goes. In doubt farther: replacing too much is better than too little.
fn value_length(text: &[u8], key: usize, value: usize, path_end: usize) -> usize {
    let in_path = key > 0 && matches!(text[key - 1], b';' | b'/') && key <= path_end;
    let rest = &text[value..];
    // (What was replaced has angles of its own.)
    let replaced = REDACTED.as_bytes();
    let in_link = text.first() == Some(&b'<') && !text.starts_with(replaced);
    let from = if rest.starts_with(replaced) {
        replaced.len()
    } else {
        0
    };
    rest[from..]
        .iter()
        .position(|b| match b {
            b'&' => true,
            b';' | b'/' | b'?' => in_path,
            b'>' => in_link,
            _ => false,
        })
        .map_or(rest.len(), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::Records;

    fn names() -> Names {
        Names::new(&Records::default())
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
            // As it stands.
            ("/a?filter={\"password\":\"x\"}&b=c", "/a?filter=<redacted>&b=c"),
            ("/g?query={login(password:\"x\")}", "/g?query=<redacted>"),
            ("/g?query=%7Blogin(password%3A%22x%22)%7D", "/g?query=<redacted>"),
            ("/g?query={login(password:+\"x\")}", "/g?query=<redacted>"),
            // Encoded twice, and three times.
            ("/a?next=%252Fl%253Ftoken%253Dabc", "/a?next=<redacted>"),
            ("/a?next=%25252Fl%25253Ftoken%25253Dabc", "/a?next=<redacted>"),
            ("/a?next=%257B%2522pwd%2522%253A1%257D", "/a?next=<redacted>"),
        ] {
            let seen = url(text.as_bytes(), &names());
            assert_eq!(String::from_utf8_lossy(&seen), clean, "{text}");
            assert_eq!(url(clean.as_bytes(), &names()), Cow::Borrowed(clean.as_bytes()));
        }
    }

    #[test]
    fn targets_of_every_form_lose_their_secrets() {
        for (text, clean) in [
            ("u:p@h:443", "<redacted>@h:443"),
            ("a@b/?password=hunter2", "<redacted>@b/?password=<redacted>"),
            ("/to/http%3A%2F%2Fu%3Ap%40h/x", "/to/<redacted>/x"),
            ("/to/%257B%2522token%2522%253A1%257D?a=b", "/to/<redacted>?a=b"),
        ] {
            let seen = target(text.as_bytes(), &names());
            assert_eq!(String::from_utf8_lossy(&seen), clean, "{text}");
            assert_eq!(
                target(clean.as_bytes(), &names()),
                Cow::Borrowed(clean.as_bytes())
            );
        }
        for text in ["h:443", "/@a", "*", "/caf%C3%A9/%20a%2Fb", "/a%3Db"] {
            assert_eq!(target(text.as_bytes(), &names()), Cow::Borrowed(text.as_bytes()));
        }
    }

    #[test]
    fn redaction_done_twice_changes_nothing() {
        let once = url(b"/?token=1&a=http://u:p@h/", &names()).into_owned();
        assert_eq!(url(&once, &names()), Cow::Borrowed(&once[..]));
    }

    #[test]
    fn a_name_that_tells_little_counts_with_a_random_value() {
        for (text, clean) in [
            ("/a?key=3f9a1c7be20d4a5688d1f0e7", "/a?key=<redacted>"),
            (
                "/cb?code=SplxlOBeZQQYbYSWx&state=xyz",
                "/cb?code=<redacted>&state=xyz",
            ),
            (
                "/cgi-bin/webhook/send?key=693a91f6-7aaa-4bc4-97a0-0ec2c1fa5aaa",
                "/cgi-bin/webhook/send?key=<redacted>",
            ),
        ] {
            let seen = url(text.as_bytes(), &names());
            assert_eq!(String::from_utf8_lossy(&seen), clean, "{text}");
        }
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
            "/a?key=images/2024/03/15/IMG_20240315_104530.jpg",
            "/a?key=7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1",
            "/a?code=404&state=open",
            "/a?at=12:30&q=a+b%20c",
        ] {
            assert_eq!(
                url(text.as_bytes(), &names()),
                Cow::Borrowed(text.as_bytes()),
                "{text}"
            );
        }
    }
}
