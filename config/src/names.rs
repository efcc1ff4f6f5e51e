//! Patterns for names of headers and keys, as settings of redaction have them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// Bytes of the longest pattern.
const LONGEST: usize = 128;

/// A name, in which `*` stands for any characters. Case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(
    /// In lower case.
    String,
);

impl NamePattern {
    /// Whether this name, in lower case, is one of those that are meant.
    pub fn matches(&self, name: &[u8]) -> bool {
        let mut pieces = self.0.as_bytes().split(|byte| *byte == b'*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        // Of each piece in between the first place will do: what stands behind has the more room.
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let Some(at) = rest.windows(piece.len()).position(|window| window == piece) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_lowercase();
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if lower.len() > LONGEST || lower.contains(odd) || lower.chars().all(|c| c == '*') {
            return Err(format!(
                "`{text}` is no name of a header or a key; write for example x-customer, iban, or *_pin, at most {LONGEST} bytes"
            ));
        }
        Ok(Self(lower))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, is) in [
            ("IBAN", "iban", true),
            ("iban", "ibans", false),
            ("x-*", "x-a", true),
            ("x-*", "x-", true),
            ("x-*", "y-a", false),
            ("*_pin", "card_pin", true),
            ("*_pin", "card_pins", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("aa*aa", "aaa", false),
            ("**x", "x", true),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name.as_bytes()), is, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", " ", "*", "**", "a b", "a\nb", &"x".repeat(129)] {
            let error = text.parse::<NamePattern>().unwrap_err();
            assert!(error.contains("x-customer"), "{error}");
        }
    }
}
