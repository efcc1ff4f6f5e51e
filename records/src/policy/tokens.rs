//! Secrets that are unmistakable whatever their name is: signed tokens (JWT), keys of services that begin in their own way,
//! credentials behind their scheme (Bearer, Basic), private keys, and addresses that are secrets themselves (webhooks).
//!
//! A text is looked at word by word, from left to right, and each word by how it begins, how long it is, and what follows.

mod schemes;
mod shapes;

use super::edit::Edit;
use super::names::{is_random, is_uuid};
use shapes::{SHAPES, Shape};
use std::ops::Range;

/// Bytes of a token that need not begin a word, or whose beginning tells little.
const LONGEST_WITHIN: usize = 512;

/// What a token consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    Hex,
    /// So many hexadecimal digits, and no letter or digit behind them.
    HexExact,
    Alnum,
    /// Letters, digits, `-` and `_`.
    Word,
    /// And dots.
    Dotted,
    /// As [`Self::Dotted`], with `~`.
    Tilde,
    /// As [`Self::Word`], with slashes.
    Slashed,
    /// As [`Self::Word`], with `$`.
    Dollar,
    /// Base64 of any kind.
    Base64,
    /// As [`Self::Dotted`], where nobody has thought the token up: the prefix alone tells little.
    Random,
    Uuid,
}

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric() && !matches!(self, Self::Hex | Self::HexExact)
            || match self {
                Self::Hex | Self::HexExact => byte.is_ascii_hexdigit(),
                Self::Alnum => false,
                Self::Word | Self::Uuid => matches!(byte, b'-' | b'_'),
                Self::Dotted | Self::Random => matches!(byte, b'-' | b'_' | b'.'),
                Self::Tilde => matches!(byte, b'-' | b'_' | b'.' | b'~'),
                Self::Slashed => matches!(byte, b'-' | b'_' | b'/'),
                Self::Dollar => matches!(byte, b'-' | b'_' | b'$'),
                Self::Base64 => matches!(byte, b'-' | b'_' | b'/' | b'+' | b'='),
            }
    }

    /// Bytes of this alphabet that a text begins with.
    fn run(self, text: &[u8]) -> usize {
        text.iter()
            .position(|byte| !self.has(*byte))
            .unwrap_or(text.len())
    }
}

impl Shape {
    /// Bytes of the token that this text begins with.
    fn length(&self, text: &[u8]) -> Option<usize> {
        let rest = text.strip_prefix(self.prefix.as_bytes())?;
        // (What is too long is not looked at again and again.)
        let most = match self.of {
            Alphabet::HexExact | Alphabet::Uuid => self.least + 1,
            Alphabet::Random => LONGEST_WITHIN,
            _ => rest.len(),
        };
        let run = self.of.run(&rest[..rest.len().min(most)]);
        let is = match self.of {
            Alphabet::HexExact => run == self.least && !rest.get(run).is_some_and(u8::is_ascii_alphanumeric),
            Alphabet::Random => (self.least..most).contains(&run) && is_random(&rest[..run]),
            Alphabet::Uuid => run == 36 && is_uuid(&rest[..run]),
            _ => run >= self.least,
        };
        is.then_some(self.prefix.len() + run)
    }
}

/// The text without such secrets, if it has any.
pub(super) fn without_secrets(text: &[u8]) -> Option<Vec<u8>> {
    let mut edit = Edit::new(text);
    let mut at = 0;
    while let Some(start) = next_word(text, at) {
        let word = Alphabet::Alnum.run(&text[start..]);
        at = match secret(text, start, word) {
            Some(range) => {
                let end = range.end;
                edit.replace(range);
                end
            }
            None => start + word,
        };
    }
    edit.finish()
}

/// Subprotocols that a client offers (RFC 6455, 11.3.4), without the credentials among them: browsers can send none
/// elsewhere. What follows the name of a credential is one.
pub(super) fn offered(text: &[u8]) -> Option<Vec<u8>> {
    let mut edit = Edit::new(text);
    let (mut start, mut is_next) = (0, false);
    for item in text.split(|byte| *byte == b',') {
        let offer = item.trim_ascii();
        if is_next && !offer.is_empty() {
            let begin = start + item.len() - item.trim_ascii_start().len();
            edit.replace(begin..begin + offer.len());
        }
        let names = [
            "bearer",
            "token",
            "access_token",
            "access-token",
            "authorization",
            "auth",
            "jwt",
        ];
        is_next = names
            .iter()
            .any(|name| offer.eq_ignore_ascii_case(name.as_bytes()));
        start += item.len() + 1;
    }
    edit.finish()
}

/// Where the next word begins. Hexadecimal digits of percent-encoding, and the letter of an escape, are no part of one.
fn next_word(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let mut at = from + rest.iter().position(u8::is_ascii_alphanumeric)?;
    match text[..at].last() {
        Some(b'%') => {
            while text[at..].starts_with(b"25") {
                at += 2;
            }
            if text.len() > at + 2 && text[at..at + 2].iter().all(u8::is_ascii_hexdigit) {
                at += 2;
            }
        }
        Some(b'\\') => match text[at] {
            b'u' if text.len() > at + 5 => at += 5,
            b'n' | b'r' | b't' | b'b' | b'f' => at += 1,
            _ => {}
        },
        _ => {}
    }
    Some(at)
}

/// The secret that stands at this word of so many letters and digits.
fn secret(text: &[u8], start: usize, word: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    if let Some(secret) = schemes::secret(text, start, word) {
        return Some(secret);
    }
    let own = |length: usize| start..start + length;
    by_prefix(rest)
        .or_else(|| jwt(rest, &text[..start]))
        .or_else(|| by_length(rest, word))
        .map(own)
        .or_else(|| in_path(text, start, word))
}

fn by_prefix(rest: &[u8]) -> Option<usize> {
    let first = rest.get(..2)?;
    let begin = |shape: &Shape| shape.prefix.as_bytes().get(..2) < Some(first);
    SHAPES[SHAPES.partition_point(begin)..]
        .iter()
        .take_while(|shape| shape.prefix.as_bytes().starts_with(first))
        .find_map(|shape| shape.length(rest))
}

/// A signed or encrypted token in compact form (RFC 7515, 7516), with all of its parts: what begins as the base64 of a JSON
/// object, and has two parts more, or one that is an object too. So begin signed cookies of some frameworks as well. Mapbox
/// marks its secret ones, which have but one part more.
fn jwt(rest: &[u8], before: &[u8]) -> Option<usize> {
    const SHORTEST: usize = 20;
    if !rest.starts_with(b"eyJ") {
        return None;
    }
    let within = matches!(before.last(), Some(b'-' | b'_'));
    let most = if within { LONGEST_WITHIN } else { rest.len() };
    let header = Alphabet::Word.run(&rest[..rest.len().min(most)]);
    let (mut end, mut parts) = (header, 1);
    while parts < 5 && rest.get(end) == Some(&b'.') {
        end += 1 + Alphabet::Word.run(&rest[end + 1..]);
        parts += 1;
    }
    let is_signed = (parts > 2 || parts == 2 && before.ends_with(b"sk.")) && end - header >= SHORTEST;
    let is_object = parts > 1 && rest[header + 1..].starts_with(b"eyJ");
    (is_signed || is_object).then_some(end)
}

/// Tokens without a prefix, by the length of their first part and by what follows.
fn by_length(rest: &[u8], word: usize) -> Option<usize> {
    let (first, behind) = rest.split_at(word);
    let then = |mark: &[u8], of: Alphabet, least: usize| {
        let run = of.run(behind.strip_prefix(mark)?);
        (run >= least).then_some(word + mark.len() + run)
    };
    match word {
        // Microsoft's client secrets.
        5 if first[3].is_ascii_digit() && first[4] == b'Q' => then(b"~", Alphabet::Tilde, 30),
        // Telegram's bots. (Other numbers have a digest behind them that is longer or shorter.)
        8..=12 if first.iter().all(u8::is_ascii_digit) => {
            then(b":", Alphabet::Word, 35).filter(|length| *length == word + 36)
        }
        11 => then(b":APA91b", Alphabet::Word, 100),
        14 => then(b".atlasv1.", Alphabet::Word, 60),
        20 if is_aws_id(first) => Some(word + aws_secret(behind)),
        23..=28 if matches!(first[0], b'M' | b'N' | b'O') => {
            // Discord's bots.
            let second = Alphabet::Word.run(behind.strip_prefix(b".")?);
            let third = behind[second + 1..].strip_prefix(b".")?;
            let third = Alphabet::Word.run(third);
            (second == 6 && third >= 27).then_some(word + 8 + third)
        }
        32 if first.iter().all(u8::is_ascii_hexdigit) => {
            then(b"-us", Alphabet::Alnum, 1).filter(|_| behind.get(3).is_some_and(u8::is_ascii_digit))
        }
        40 if first.ends_with(b"NRAL") => Some(word),
        _ => None,
    }
}

/// The identifier of an access key.
fn is_aws_id(word: &[u8]) -> bool {
    let kinds = [&b"AKIA"[..], b"ASIA", b"ABIA", b"ACCA"];
    kinds.iter().any(|kind| word.starts_with(kind))
        && word
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// Bytes up to the end of the secret that stands beside an identifier; 0 if none does.
fn aws_secret(behind: &[u8]) -> usize {
    const FAR: usize = 8;
    const LENGTH: usize = 40;
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+');
    let gap = behind
        .iter()
        .take(FAR)
        .take_while(|byte| !is_base64(byte))
        .count();
    let run = behind[gap..]
        .iter()
        .take(LENGTH + 1)
        .take_while(|byte| is_base64(byte))
        .count();
    if gap > 0 && run == LENGTH { gap + run } else { 0 }
}

/// Parts of paths that are secrets by what stands before them.
fn in_path(text: &[u8], start: usize, word: usize) -> Option<Range<usize>> {
    let (name, rest) = text[start..].split_at(word);
    let rest = rest.strip_prefix(b"/")?;
    if !matches!(text[..start].last(), Some(b'/' | b'-' | b'_')) {
        return None;
    }
    let from = start + word + 1;
    // The part of so many further on.
    let part = |skipped: usize| {
        let parts = rest.split(|byte| *byte == b'/');
        let before: usize = parts.take(skipped).map(|part| part.len() + 1).sum();
        let part = rest.get(before..)?;
        let length = Alphabet::Dotted.run(part);
        Some((&part[..length], from + before..from + before + length))
    };
    let is = |known: &[&str]| {
        known
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    };
    let (token, place) = if is(&["webhooks"]) {
        part(1).filter(|(token, _)| token.len() >= 20)?
    } else if is(&["services"]) && rest.starts_with(b"T") {
        part(2).filter(|_| {
            rest.splitn(3, |byte| *byte == b'/')
                .nth(1)
                .is_some_and(|it| it.starts_with(b"B"))
        })?
    } else if is(&["incomingwebhook"]) {
        part(0).filter(|(token, _)| token.len() == 32)?
    } else if is(&[
        "hook", "reset", "password", "token", "recover", "recovery", "link",
    ]) {
        part(0).filter(|(token, _)| is_random(token) || is_uuid(token))?
    } else if is(&[
        "verify",
        "confirm",
        "activate",
        "activation",
        "invite",
        "invitation",
        "unlock",
        "unsubscribe",
    ]) {
        part(0).filter(|(token, _)| is_random(token))?
    } else {
        return None;
    };
    (!token.is_empty()).then_some(place)
}

#[cfg(test)]
mod tests;
