//! Secrets in a text that is XML, or has some in it: the content of elements with password-like names is replaced. The text
//! need not be whole or valid. (Attributes are assignments as any other: see `assignments`.)

use super::REDACTED;
use super::names::{Told, is_random};
use memchr::{memchr, memmem};

/// Elements without an end that are looked for in a text that is no XML; behind them everything is replaced.
const MOST_UNENDED: usize = 4;

/// The text without secrets, if it has any.
pub(super) fn without_secrets(text: &str, tells: &dyn Fn(&str) -> Told) -> Option<String> {
    let bytes = text.as_bytes();
    let is_xml = text
        .trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n'])
        .starts_with('<');
    let mut clean = String::new();
    let (mut done, mut at, mut unended) = (0, 0, 0);
    while let Some(open) = find(bytes, at, b'<') {
        at = open + 1;
        let name = name(text, at);
        let local = name.rsplit(':').next().unwrap_or_default();
        let told = if local.is_empty() {
            Told::Nothing
        } else {
            tells(local)
        };
        if told == Told::Nothing {
            continue;
        }
        let Some((content, empty)) = tag_end(bytes, at + name.len()) else {
            break;
        };
        at = content;
        if empty {
            continue;
        }
        if told == Told::Doubtful && !is_random(text_at(bytes, content)) {
            continue;
        }
        let end = match element_end(bytes, content, name.as_bytes()) {
            Some(end) => end,
            None if is_xml || unended == MOST_UNENDED => bytes.len(),
            // A word in angles, or an element that is cut, within a text of another kind.
            None => {
                unended += 1;
                let rest = &bytes[content..];
                content
                    + rest
                        .iter()
                        .position(|b| matches!(b, b'"' | b'\n'))
                        .unwrap_or(rest.len())
            }
        };
        if end > content && !text[content..end].starts_with(REDACTED) {
            clean.push_str(&text[done..content]);
            clean.push_str(REDACTED);
            done = end;
        }
        at = end;
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

/// The text up to the next tag.
fn text_at(bytes: &[u8], content: usize) -> &[u8] {
    let end = find(bytes, content, b'<').unwrap_or(bytes.len());
    bytes[content..end].trim_ascii()
}

/// The name that begins here; empty if none does.
fn name(text: &str, start: usize) -> &str {
    let rest = &text[start..];
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if !rest.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return "";
    }
    &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]
}

/// Behind the start tag, and whether it is that of an empty element. A `>` in a quoted value does not end it.
fn tag_end(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match (quote, byte) {
            (None, b'>') => return Some((at + 1, bytes[at - 1] == b'/')),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Where the end tag begins of the element whose content begins here.
fn element_end(bytes: &[u8], content: usize, name: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (content, 1_usize);
    while let Some(open) = find(bytes, at, b'<') {
        at = open + 1;
        let rest = &bytes[at..];
        let skipped = [(&b"![CDATA["[..], &b"]]>"[..]), (b"!--", b"-->")]
            .into_iter()
            .find(|(begin, _)| rest.starts_with(begin));
        if let Some((_, end)) = skipped {
            at += memmem::find(rest, end)?;
            continue;
        }
        // JSON may write the slash with a backslash.
        let closed = rest.strip_prefix(b"/").or_else(|| rest.strip_prefix(b"\\/"));
        let tail = closed.unwrap_or(rest).strip_prefix(name);
        if !tail.is_some_and(|tail| matches!(tail.first(), Some(b' ' | b'\t' | b'\r' | b'\n' | b'>' | b'/')))
        {
            continue;
        }
        if closed.is_some() {
            depth -= 1;
            if depth == 0 {
                return Some(open);
            }
        } else {
            at = find(bytes, at, b'>')?;
            depth += usize::from(bytes[at - 1] != b'/');
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> Option<String> {
        without_secrets(text, &|name| match name {
            "password" | "Password" => Told::Secret,
            "key" => Told::Doubtful,
            _ => Told::Nothing,
        })
    }

    #[test]
    fn elements_with_secret_names_lose_their_content() {
        for (text, expected) in [
            (
                "<a><password>x</password><b>y</b></a>",
                "<a><password><redacted></password><b>y</b></a>",
            ),
            (
                "<wsse:Password Type=\"a>b\">x</wsse:Password><c/>",
                "<wsse:Password Type=\"a>b\"><redacted></wsse:Password><c/>",
            ),
            (
                "<password><password>x</password>y</password>z",
                "<password><redacted></password>z",
            ),
            (
                "<password><![CDATA[</password>x]]></password >",
                "<password><redacted></password >",
            ),
            (
                "<password><!--</password>-->x</password>",
                "<password><redacted></password>",
            ),
            ("<password>x<b/></password2>", "<password><redacted>"),
            ("<a><password>cut her", "<a><password><redacted>"),
            ("<password>x</passw", "<password><redacted>"),
            (
                "<password/><password>x</password>",
                "<password/><password><redacted></password>",
            ),
            (
                r#"{"a":"<password>x<\/password>","b":1}"#,
                r#"{"a":"<password><redacted><\/password>","b":1}"#,
            ),
            (
                r#"{"a":"<password>cut","b":1}"#,
                r#"{"a":"<password><redacted>","b":1}"#,
            ),
            (
                "<key>a</key><key> 3f9a1c7be20d4a5688d1f0e7 </key>",
                "<key>a</key><key><redacted></key>",
            ),
            ("List<Password> a;\nb", "List<Password><redacted>\nb"),
        ] {
            assert_eq!(clean(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for text in [
            "",
            "<",
            "<password",
            "<password>",
            "<password a='>'",
            "<password></password>",
            "<password/>x",
            "</password>x",
            "<a>password</a>",
            "1 < password",
            "<password><redacted></password>",
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }
}
