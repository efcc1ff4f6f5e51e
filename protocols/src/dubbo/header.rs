//! The 16 bytes before each body.

use super::names;
use memchr::memchr;

/// Bytes of a header.
pub(super) const SIZE: usize = 16;

/// Every frame begins with it.
pub(super) const MAGIC: [u8; 2] = [0xda, 0xbb];
const REQUEST: u8 = 0x80;
const TWO_WAY: u8 = 0x40;
const EVENT: u8 = 0x20;
const SERIALIZATION: u8 = 0x1f;

/// The status of a response that was answered by the method.
pub(super) const OK: u8 = 20;

/// Longest body that is believed where a header is searched for. (Java takes 8 MiB unless it is told otherwise.)
const LONGEST: u32 = 64 << 20;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    flags: u8,
    /// Of a response. A request has 0 here.
    pub status: u8,
    /// Shared by request and response. Signed, as Java has it.
    pub id: i64,
    /// Bytes of the body.
    pub length: u32,
}

impl Header {
    /// Reads it; `None` if it is none.
    pub fn read(bytes: &[u8; SIZE]) -> Option<Self> {
        let [
            m0,
            m1,
            flags,
            status,
            i0,
            i1,
            i2,
            i3,
            i4,
            i5,
            i6,
            i7,
            l0,
            l1,
            l2,
            l3,
        ] = *bytes;
        let header = Self {
            flags,
            status,
            id: i64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        };
        ([m0, m1] == MAGIC && i32::try_from(header.length).is_ok()).then_some(header)
    }

    pub fn is_request(&self) -> bool {
        self.flags & REQUEST != 0
    }

    pub fn is_two_way(&self) -> bool {
        self.flags & TWO_WAY != 0
    }

    pub fn is_event(&self) -> bool {
        self.flags & EVENT != 0
    }

    pub fn serialization(&self) -> u8 {
        self.flags & SERIALIZATION
    }

    /// Nothing in it is out of the ordinary: good enough where nothing else says that a frame begins here.
    pub fn is_plausible(&self) -> bool {
        let status = if self.is_request() {
            self.status == 0
        } else {
            names::status(self.status).is_some()
        };
        status && names::serialization(self.serialization()).is_some() && self.length <= LONGEST
    }
}

/// Where in some bytes a plausible header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    At(usize),
    /// One may begin here: the bytes end within it.
    Partial(usize),
    Nowhere,
}

/// Looks for a plausible header.
pub(super) fn search(bytes: &[u8]) -> Found {
    let mut from = 0;
    while let Some(at) = memchr(MAGIC[0], &bytes[from..]).map(|at| from + at) {
        match bytes[at..].first_chunk() {
            Some(header) if Header::read(header).is_some_and(|header| header.is_plausible()) => {
                return Found::At(at);
            }
            None if may_begin(&bytes[at..]) => return Found::Partial(at),
            _ => from = at + 1,
        }
    }
    Found::Nowhere
}

/// Fewer bytes than a header has may be the beginning of a plausible one.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    // What has not come yet is taken to be in order: a heartbeat's answer, or its request.
    let mut header = [0; SIZE];
    header[..2].copy_from_slice(&MAGIC);
    header[2] = names::HESSIAN2;
    header[3] = OK;
    let known = bytes.len().min(SIZE);
    header[..known].copy_from_slice(&bytes[..known]);
    if known < 4 && header[2] & REQUEST != 0 {
        header[3] = 0;
    }
    Header::read(&header).is_some_and(|header| header.is_plausible())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [0xda, 0xbb, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 1, 0];

    #[test]
    fn a_header_is_found_wherever_it_begins() {
        let header = Header::read(&FRAME).unwrap();
        assert!(header.is_request() && header.is_two_way() && !header.is_event());
        assert_eq!((header.serialization(), header.id, header.length), (2, 7, 256));
        for before in [&b""[..], b"\xda", b"\xda\xbb", b"\xda\xbb\xc2\0\0\0\0\0\xda\xbb"] {
            let bytes = [before, &FRAME].concat();
            assert_eq!(search(&bytes), Found::At(before.len()), "{before:x?}");
            for end in before.len() + 1..bytes.len() {
                assert!(
                    matches!(search(&bytes[..end]), Found::Partial(at) if at <= before.len()),
                    "{end}"
                );
            }
        }
        assert_eq!(
            search(b"\xda\xbb\xc2\x01"),
            Found::Nowhere,
            "a request has no status"
        );
        assert_eq!(search(b"\xda\xbb\x02\x05"), Found::Nowhere, "no such status");
        assert_eq!(search(b"\xda\xbb\x05"), Found::Nowhere, "no such serialization");
        assert_eq!(
            search(b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\0\x10"),
            Found::Nowhere,
            "too long"
        );
    }
}
