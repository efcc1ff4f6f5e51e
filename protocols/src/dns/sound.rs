//! Whether a datagram is a message of DNS beyond doubt, where its port says nothing: every field has a value that it may have,
//! and the records end where the datagram ends.

use super::message::{Header, Kind};

const NAME: usize = 255;
/// Classes of questions: IN, CH, HS, ANY.
const CLASSES: [u16; 4] = [1, 3, 4, 255];
/// What a query may bring beside its question: OPT, SIG(0), TSIG.
const WITH_QUERY: [u16; 3] = [41, 24, 250];
/// Types of records that are assigned one by one, and the two beyond; then those for private use.
const TYPES: u16 = 300;
const BEYOND: [u16; 2] = [32768, 32769];
const PRIVATE: u16 = 65280;

/// The kind of message that these bytes are, whole and to the last one.
pub(super) fn sound(bytes: &[u8]) -> Option<Kind> {
    // Nearly everything else ends here.
    let [_, _, flags, code, 0, 1, ..] = bytes else {
        return None;
    };
    let (operation, reserved) = (flags >> 3 & 0xf, code & 0x40);
    if operation != 0 || reserved != 0 {
        return None;
    }
    let header = Header::read(bytes)?;
    let [_, answers, authorities, additional] = header.counts;
    let kind = header.kind();
    let authoritative_or_failed = flags & 4 != 0 || code & 0x8f != 0;
    if kind == Kind::Query && (authoritative_or_failed || answers != 0 || authorities != 0 || additional > 2)
    {
        return None;
    }
    let mut at = question(bytes)?;
    let records = usize::from(answers) + usize::from(authorities) + usize::from(additional);
    for _ in 0..records {
        at = record(bytes, at, kind)?;
    }
    (at == bytes.len()).then_some(kind)
}

/// True if this may be a response, be the rest of it damaged: its header says nothing that no response says.
pub(super) fn is_like_response(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, flags, code, 0, 0 | 1, _, _, _, _, _, _, ..] => flags >> 3 == 0x10 && code & 0x40 == 0,
        _ => false,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*word))
}

fn is_type(kind: u16) -> bool {
    (1..TYPES).contains(&kind) || kind >= PRIVATE || BEYOND.contains(&kind)
}

/// Where the question ends, whose name is never compressed.
fn question(bytes: &[u8]) -> Option<usize> {
    let mut at = Header::SIZE;
    loop {
        match *bytes.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
        if at - Header::SIZE >= NAME {
            return None;
        }
    }
    let (kind, class) = (word(bytes, at + 1)?, word(bytes, at + 3)?);
    (is_type(kind) && CLASSES.contains(&class)).then_some(at + 5)
}

/// Where the record ends that begins there.
fn record(bytes: &[u8], mut at: usize, of: Kind) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => {
                at += 1;
                break;
            }
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                at += 2;
                break;
            }
            _ => return None,
        }
    }
    let kind = word(bytes, at)?;
    if of == Kind::Query && !WITH_QUERY.contains(&kind) || !is_type(kind) {
        return None;
    }
    let end = at + 10 + usize::from(word(bytes, at + 8)?);
    (end <= bytes.len()).then_some(end)
}
