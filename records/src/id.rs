//! Identities that a repeat of the same thing keeps, so that an export done twice overwrites itself.

use serde::{Serialize, Serializer, ser::Error};
use std::{fmt, hash::Hash, hash::Hasher};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

/// 128 bits, written as 32 hexadecimal digits. Not a secret and not collision-proof against an adversary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(pub u128);

impl DocumentId {
    /// The identity of a value: equal values give equal identities, in every process of the same build and architecture.
    pub fn of(value: &impl Hash) -> Self {
        let mut hasher = Digest::new();
        value.hash(&mut hasher);
        Self(hasher.digest128())
    }

    /// The identity of the `sequence`th exchange of the flow that has this identity, of the given kind (`weir.http`).
    pub fn exchange(self, dataset: &str, sequence: u64) -> Self {
        Self::of(&(self, dataset, sequence))
    }
}

/// What an exchange's identity is made of, and a flow's as a rule, has room here.
const SHORT: usize = 128;

/// What is hashed is gathered, and hashed in one piece if it is short: to do it in pieces costs several times as much, and every
/// document of an exchange has an identity.
struct Digest {
    short: [u8; SHORT],
    length: usize,
    /// Since it was too much.
    long: Option<Box<Xxh3>>,
}

impl Digest {
    fn new() -> Self {
        Self {
            short: [0; SHORT],
            length: 0,
            long: None,
        }
    }

    fn gathered(&self) -> &[u8] {
        &self.short[..self.length]
    }

    fn digest128(&self) -> u128 {
        match &self.long {
            Some(long) => long.digest128(),
            None => xxh3_128(self.gathered()),
        }
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        match &self.long {
            Some(long) => long.digest(),
            None => xxh3_64(self.gathered()),
        }
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        if let Some(long) = &mut self.long {
            return long.update(bytes);
        }
        let end = self.length + bytes.len();
        if let Some(place) = self.short.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
            return;
        }
        let mut long = Box::new(Xxh3::new());
        long.update(self.gathered());
        long.update(bytes);
        self.long = Some(long);
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The two hexadecimal digits of each byte.
pub(crate) const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

impl Serialize for DocumentId {
    /// As it is displayed; every document has two, so it goes without the formatting machinery.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 32];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0.to_be_bytes()) {
            *pair = HEX[usize::from(byte)];
        }
        s.serialize_str(str::from_utf8(&text).map_err(S::Error::custom)?)
    }
}

impl schemars::JsonSchema for DocumentId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DocumentId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes each piece as it comes.
    struct Plain(Xxh3);

    impl Hasher for Plain {
        fn finish(&self) -> u64 {
            self.0.digest()
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }

    #[test]
    fn an_identity_is_the_same_however_long_its_parts_are() {
        let flow = DocumentId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        for length in (0..300).chain([1000]) {
            let value = (flow, "x".repeat(length), 7u64);
            let (mut plain, mut ours) = (Plain(Xxh3::new()), Digest::new());
            value.hash(&mut plain);
            value.hash(&mut ours);
            assert_eq!(ours.digest128(), plain.0.digest128(), "{length}");
            assert_eq!(ours.finish(), plain.finish(), "{length}");
            assert_eq!(flow.exchange(&value.1, 7), DocumentId(plain.0.digest128()));
        }
    }
}
