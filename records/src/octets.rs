//! Bytes that a peer wrote, on their way into a document. Whether bytes are text is asked once of all that came together, a
//! head with all its fields, and not again of each part: that alone was a fifteenth of what a document of HTTP costs.

use std::{borrow::Cow, ops::Deref, ops::Range};

/// Bytes of which it may be known already that they are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Octets<'a> {
    /// They are.
    Text(&'a str),
    /// That is not known.
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Octets<'a> {
    /// Looks whether these bytes are text.
    pub fn read(bytes: &'a [u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => bytes.into(),
        }
    }

    /// A part of them; nothing where they have no such part. (Of text a part that begins or ends within a character is no text.)
    #[inline]
    pub fn part(&self, range: Range<usize>) -> Octets<'a> {
        match self {
            Self::Text(text) => match text.get(range.clone()) {
                Some(part) => Self::Text(part),
                None => text.as_bytes().get(range).unwrap_or_default().into(),
            },
            Self::Bytes(Cow::Borrowed(bytes)) => bytes.get(range).unwrap_or_default().into(),
            Self::Bytes(Cow::Owned(bytes)) => {
                Self::Bytes(bytes.get(range).unwrap_or_default().to_vec().into())
            }
        }
    }

    /// Text as it is, or else as ISO 8859-1, a character a byte.
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bytes(Cow::Borrowed(bytes)) => {
                str::from_utf8(bytes).map_or_else(|_| latin1(bytes).into(), Cow::Borrowed)
            }
            Self::Bytes(Cow::Owned(bytes)) => String::from_utf8(bytes)
                .unwrap_or_else(|error| latin1(error.as_bytes()))
                .into(),
        }
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

impl Deref for Octets<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a [u8]> for Octets<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Octets<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<&'a Vec<u8>> for Octets<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<&'a str> for Octets<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Octets<'_>> for Octets<'a> {
    fn from(octets: &'a Octets<'_>) -> Self {
        match octets {
            Octets::Text(text) => Self::Text(text),
            Octets::Bytes(bytes) => Self::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_text_are_text_where_they_hold_whole_characters() {
        let text = Octets::read("a\u{e9}b".as_bytes());
        assert_eq!(text.part(0..3), Octets::Text("a\u{e9}"));
        assert_eq!(text.part(0..2), Octets::from(b"a\xc3"));
        assert_eq!(text.part(2..9), Octets::from(b""));
        let bytes = Octets::read(b"a\xe9b");
        assert_eq!(bytes.part(0..2), Octets::from(b"a\xe9"));
        let owned = Octets::Bytes(b"abc".to_vec().into());
        assert_eq!(owned.part(1..3), Octets::from(b"bc"));
    }

    #[test]
    fn what_is_no_text_is_read_as_latin1() {
        let owned = |bytes: &[u8]| Octets::Bytes(bytes.to_vec().into());
        for (bytes, text) in [
            (&b"caf\xe9"[..], "caf\u{e9}"),
            (b"caf\xc3\xa9", "caf\u{e9}"),
            (b"", ""),
        ] {
            assert_eq!(Octets::read(bytes).into_text(), text);
            assert_eq!(Octets::from(bytes).into_text(), text);
            assert_eq!(owned(bytes).into_text(), text);
        }
    }
}
