//! Identities that a repeat of the same thing keeps, so that an export done twice overwrites itself.

use serde::{Serialize, Serializer, ser::Error};
use std::{fmt, hash::Hash, hash::Hasher};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// 128 bits, written as 32 hexadecimal digits. Not a secret and not collision-proof against an adversary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(pub u128);

impl DocumentId {
    /// The identity of a value: equal values give equal identities, in every process of the same build and architecture.
    pub fn of(value: &impl Hash) -> Self {
        let mut hasher = Digest(Xxh3::new());
        value.hash(&mut hasher);
        Self(hasher.0.digest128())
    }

    /// The identity of the `sequence`th exchange of the flow that has this identity, of the given kind (`weir.http`).
    pub fn exchange(self, dataset: &str, sequence: u64) -> Self {
        // The bytes that `Self::of` the three would take, in one piece: every document of an exchange has one.
        let mut bytes = [0; 64];
        let (end, sequence) = (16 + dataset.len(), sequence.to_ne_bytes());
        let Some(place) = bytes.get_mut(16..end + 9) else {
            return Self::of(&(self, dataset, u64::from_ne_bytes(sequence)));
        };
        place[..dataset.len()].copy_from_slice(dataset.as_bytes());
        place[dataset.len()] = 0xff;
        place[dataset.len() + 1..].copy_from_slice(&sequence);
        bytes[..16].copy_from_slice(&self.0.to_ne_bytes());
        Self(xxh3_128(&bytes[..end + 9]))
    }
}

struct Digest(Xxh3);

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0.digest()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The two digits of each byte.
const PAIRS: [[u8; 2]; 256] = {
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
            *pair = PAIRS[usize::from(byte)];
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

    #[test]
    fn an_exchange_has_the_identity_of_its_parts() {
        for dataset in [
            "",
            "weir.http",
            &"x".repeat(39),
            &"x".repeat(40),
            &"x".repeat(500),
        ] {
            let flow = DocumentId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
            assert_eq!(flow.exchange(dataset, 7), DocumentId::of(&(flow, dataset, 7u64)));
        }
    }
}
