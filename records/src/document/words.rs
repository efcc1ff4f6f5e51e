//! Words of ours, which stand in documents as they are: nothing in them has to be escaped, so they are written as the names of
//! variants, and nobody looks.

use serde::{Serialize, Serializer};

struct Word(&'static str);

impl Serialize for Word {
    #[inline]
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_unit_variant("Word", 0, self.0)
    }
}

/// A word.
#[inline]
pub(super) fn one<S: Serializer>(word: &&'static str, s: S) -> Result<S::Ok, S::Error> {
    Word(word).serialize(s)
}

/// A word, or none.
#[inline]
pub(super) fn some<S: Serializer>(word: &Option<&'static str>, s: S) -> Result<S::Ok, S::Error> {
    word.map(Word).serialize(s)
}

/// A list of them.
#[inline]
pub(super) fn all<S: Serializer>(words: &&'static [&'static str], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(words.iter().copied().map(Word))
}

/// A number as a text.
pub(super) fn number<S: Serializer>(number: &u16, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(number)
}
