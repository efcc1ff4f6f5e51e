//! Names of secrets. One table serves every place that a name can stand in: headers and metadata, queries and forms, keys of
//! JSON and of calls' arguments and attachments, elements and attributes of XML, and what is assigned in free text.

mod common;
mod table;

use crate::swar;
use table::{ANYWHERE, ENDS, HARMLESS_KEYS, KINDED, Kinded, OTHER_WORDS, PARTS, SPARED, WHOLE};
use weir_config::{NamePattern, Records};

/// What a name tells of the value that stands at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The value is no secret as far as the name tells.
    Nothing,
    /// The value is a secret if nobody has thought it up: see [`is_random`].
    Doubtful,
    /// The value is a secret.
    Secret,
}

/// The names of secrets, with those that the settings add and spare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    added: Vec<NamePattern>,
    spared: Vec<NamePattern>,
    /// Further header names, in lower case.
    headers: Vec<String>,
    /// Further keys, in lower case.
    keys: Vec<String>,
    /// There are names in these lists.
    are_changed: bool,
}

impl Names {
    pub fn new(settings: &Records) -> Self {
        let lower = |names: &[String]| {
            let lower = |name: &String| name.trim().to_ascii_lowercase();
            names.iter().map(lower).collect::<Vec<String>>()
        };
        let (added, spared) = (settings.redact_names.clone(), settings.spare_names.clone());
        let (headers, keys) = (
            lower(&settings.redact_headers),
            lower(&settings.redact_query_keys),
        );
        Self {
            are_changed: !(added.is_empty() && spared.is_empty() && headers.is_empty() && keys.is_empty()),
            added,
            spared,
            headers,
            keys,
        }
    }

    /// What a header's name, in lower case, tells. Every header is asked.
    #[inline]
    pub fn header(&self, name: &str) -> Told {
        if self.are_changed {
            return self.changed_header(name);
        }
        common::told(name.as_bytes()).unwrap_or_else(|| uncommon_header(name))
    }

    #[cold]
    fn changed_header(&self, name: &str) -> Told {
        self.settings(name.as_bytes(), &self.headers)
            .unwrap_or_else(|| uncommon_header(name))
    }

    /// What the key of an object tells, as it is. It is asked of every key of every value, so it allocates nothing.
    pub fn key(&self, key: &[u8]) -> Told {
        const USUAL: usize = 64;
        let mut lower = [0; USUAL];
        match lower.get_mut(..key.len()) {
            Some(lower) => {
                lower.copy_from_slice(key);
                lower.make_ascii_lowercase();
                self.lower_key(lower)
            }
            None => self.lower_key(&key.to_ascii_lowercase()),
        }
    }

    /// What a key of a query or a form tells. Case does not matter; the key stands there as before decoding.
    pub fn encoded_key(&self, key: &[u8]) -> Told {
        if !key.contains(&b'%') {
            return self.key(key);
        }
        self.key(&super::encoded::decode(key))
    }

    fn lower_key(&self, key: &[u8]) -> Told {
        if self.are_changed
            && let Some(told) = self.settings(key, &self.keys)
        {
            return told;
        }
        // (The most usual parameters have one letter.)
        if key.len() < 2 { Told::Nothing } else { judge(key) }
    }

    /// What the settings say of a name in lower case. What is added counts more than what is spared.
    fn settings(&self, name: &[u8], further: &[String]) -> Option<Told> {
        let trimmed = trim(name);
        let is = |pattern: &NamePattern| pattern.matches(name) || pattern.matches(trimmed);
        let is_further = further
            .iter()
            .any(|own| own.as_bytes() == name || own.as_bytes() == trimmed);
        if is_further || self.added.iter().any(is) {
            return Some(Told::Secret);
        }
        self.spared.iter().any(is).then_some(Told::Nothing)
    }
}

#[inline(never)]
fn uncommon_header(name: &str) -> Told {
    // Metadata of gRPC that is binary ends in `-bin`.
    let name = name.strip_suffix("-bin").unwrap_or(name).as_bytes();
    match judge(name) {
        Told::Secret => Told::Secret,
        _ if is_header_key(name) => Told::Secret,
        told => told,
    }
}

/// What a name in lower case tells by the table.
fn judge(name: &[u8]) -> Told {
    let name = trim(name);
    let told = if may_end(name) {
        by_end(name)
    } else {
        Told::Nothing
    };
    let told = match told {
        Told::Secret => told,
        _ if has_word(name) => Told::Secret,
        _ => told,
    };
    if told != Told::Nothing && ends(name, SPARED) {
        return Told::Nothing;
    }
    told
}

/// A name without the numbers and signs behind it: `password2`, `token[]`.
fn trim(mut name: &[u8]) -> &[u8] {
    while let [
        rest @ ..,
        b']' | b'[' | b' ' | b'+' | b'.' | b'-' | b'_' | b'0'..=b'9',
    ] = name
    {
        name = rest;
    }
    name
}

fn by_end(name: &[u8]) -> Told {
    let is_part = |part: &&str| {
        let before = name.strip_suffix(part.as_bytes());
        before.is_some_and(|before| before.last().is_none_or(|byte| is_separator(*byte)))
    };
    if is_end(name) || PARTS.iter().any(is_part) || WHOLE.iter().any(|it| it.as_bytes() == name) {
        return Told::Secret;
    }
    let mut told = Told::Nothing;
    for Kinded {
        word,
        kinds,
        doubtful,
    } in KINDED
    {
        let Some(kind) = name.strip_suffix(word.as_bytes()) else {
            continue;
        };
        let kind = unjoined(kind);
        if ends(kind, kinds) {
            return Told::Secret;
        }
        let is = |doubt: &&str| match doubt.is_empty() {
            true => kind.is_empty(),
            false => kind.ends_with(doubt.as_bytes()),
        };
        if doubtful.iter().any(is) {
            told = Told::Doubtful;
        }
    }
    // The name of a header may stand anywhere.
    if told == Told::Nothing && name.ends_with(b"-key") && is_header_key(name) {
        return Told::Doubtful;
    }
    told
}

/// Letters of the shortest word that tells wherever it stands.
const SHORTEST_WORD: usize = 6;

/// One of the words that tell wherever they stand.
fn has_word(name: &[u8]) -> bool {
    name.len() >= SHORTEST_WORD
        && may_have_word(name)
        && ANYWHERE.iter().any(|word| {
            memchr::memmem::find_iter(name, word).any(|at| {
                let rest = &name[at + word.len()..];
                !OTHER_WORDS.iter().any(|other| rest.starts_with(other.as_bytes()))
            })
        })
}

/// Each of these words has one of two pairs of letters in it that other names hardly have. (Seven pairs are looked at at once.)
fn may_have_word(name: &[u8]) -> bool {
    let pairs = |word: u64| swar::pair(word, b'c', b'r') | swar::pair(word, b's', b'w') != 0;
    let mut rest = name;
    while let Some(first) = rest.first_chunk::<8>() {
        if pairs(u64::from_le_bytes(*first)) {
            return true;
        }
        rest = &rest[7..];
    }
    rest.windows(2).any(|pair| matches!(pair, b"cr" | b"sw"))
}

/// A header's name that ends in `key`: what is no key to something is named in the table.
fn is_header_key(name: &[u8]) -> bool {
    let name = trim(name);
    name.strip_suffix(b"key").is_some_and(|kind| match kind {
        [] => true,
        [kind @ .., last] => is_separator(*last) && !ends(kind, HARMLESS_KEYS),
    })
}

fn ends(name: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| name.ends_with(word.as_bytes()))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.' | b' ' | b':' | b'[' | b'/' | b'$')
}

fn unjoined(name: &[u8]) -> &[u8] {
    match name {
        [rest @ .., b'-' | b'_' | b'.'] => rest,
        _ => name,
    }
}

/// A bit for each end of three letters that a word of the table has. Nearly every harmless name is let through by it.
static TAILS: [u64; 512] = tails();

const fn tails() -> [u64; 512] {
    let mut bits = [0; 512];
    let lists = [ENDS, WHOLE, PARTS];
    let mut list = 0;
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            bits = with_tail(bits, lists[list][at]);
            at += 1;
        }
        list += 1;
    }
    let mut at = 0;
    while at < KINDED.len() {
        bits = with_tail(bits, KINDED[at].word);
        at += 1;
    }
    bits
}

const fn with_tail(mut bits: [u64; 512], word: &str) -> [u64; 512] {
    let tail = tail(word.as_bytes());
    bits[tail as usize >> 6] |= 1 << (tail & 63);
    bits
}

/// The last three letters as a number of 15 bits.
const fn tail(name: &[u8]) -> u16 {
    match name {
        [.., a, b, c] => (*a as u16 & 31) << 10 | (*b as u16 & 31) << 5 | (*c as u16 & 31),
        _ => 0,
    }
}

fn may_end(name: &[u8]) -> bool {
    let tail = tail(name);
    TAILS[usize::from(tail >> 6)] >> (tail & 63) & 1 != 0 || name.ends_with(b"pw")
}

/// [`ENDS`] in the order of their last letters.
static BY_TAIL: [(u16, &str); ENDS.len()] = by_tail();

const fn by_tail() -> [(u16, &'static str); ENDS.len()] {
    let mut sorted = [(0, ""); ENDS.len()];
    let mut count = 0;
    while count < ENDS.len() {
        let (word, tail) = (ENDS[count], tail(ENDS[count].as_bytes()));
        let mut at = count;
        while at > 0 && sorted[at - 1].0 > tail {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = (tail, word);
        count += 1;
    }
    sorted
}

/// One of [`ENDS`] is the end of it.
fn is_end(name: &[u8]) -> bool {
    let tail = tail(name);
    BY_TAIL[BY_TAIL.partition_point(|(own, _)| *own < tail)..]
        .iter()
        .take_while(|(own, _)| *own == tail)
        .any(|(_, word)| name.ends_with(word.as_bytes()))
}

/// A value that nobody has thought up: of letters and digits, in no order that words, numbers and dates have. An identifier
/// of 36 characters (UUID) tells nothing.
pub(crate) fn is_random(value: &[u8]) -> bool {
    const SHORTEST: usize = 20;
    const LONGEST: usize = 4096;
    if !(SHORTEST..=LONGEST).contains(&value.len()) || value.windows(36).any(is_uuid) {
        return false;
    }
    #[derive(Clone, Copy, PartialEq)]
    enum Class {
        Lower,
        Upper,
        Digit,
    }
    let (mut last, mut letters, mut digits, mut changes) = (None, 0, 0, 0);
    for byte in value {
        let class = match byte {
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            b'0'..=b'9' => Class::Digit,
            b'-' | b'_' | b'.' | b'~' | b'+' | b'=' | b'%' => {
                last = None;
                continue;
            }
            _ => return false,
        };
        match class {
            Class::Digit => digits += 1,
            _ => letters += 1,
        }
        // A word may begin with a capital.
        changes += usize::from(
            last.is_some_and(|last| last != class && (last, class) != (Class::Upper, Class::Lower)),
        );
        last = Some(class);
    }
    letters > 0 && digits > 0 && (changes * 5 >= letters + digits || is_long_word(value))
}

/// A word that is longer than any: of small letters and digits, or of capitals and digits.
fn is_long_word(value: &[u8]) -> bool {
    const LONG: usize = 32;
    let has = |kind: fn(&u8) -> bool| value.iter().any(kind);
    value.len() >= LONG
        && value.iter().all(u8::is_ascii_alphanumeric)
        && !(has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase))
}

/// Four groups of hexadecimal digits joined to a fifth.
pub(crate) fn is_uuid(value: &[u8]) -> bool {
    let is = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    value.len() == 36 && value.iter().enumerate().all(is)
}

#[cfg(test)]
mod tests;
