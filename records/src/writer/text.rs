//! Texts in quotes. Looking at each byte for what must be escaped, and calling for the copy of each few bytes, is most of what
//! a line of JSON costs: so texts are looked at many bytes at once, and a short one is put in place by moves of a fixed size.

use crate::{id::HEX, swar::special_or_no_ascii};

/// The first of the two bytes of U+0080 to U+00BF. U+0080 to U+009F are controls (C1), which terminals obey: one of them
/// begins a sequence that moves the cursor, or asks for an answer.
const FIRST: u8 = 0xc2;

/// Longest text that is put in place without a call.
const SHORT: usize = 16;

/// Appends a text in quotes. (One function for all: within its callers there would be no room for their own parts.)
#[inline(never)]
pub(super) fn quote(out: &mut Vec<u8>, text: &str) {
    // What is moved too much goes again: so the length of the move is known here.
    let mut quoted = [b'"'; SHORT + 2];
    if fill(&mut quoted, text.as_bytes()) {
        let end = out.len() + text.len() + 2;
        out.extend_from_slice(&quoted);
        out.truncate(end);
        return;
    }
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// Puts a short text between the quotes; false if it is long or something in it has to be escaped.
#[inline(always)]
fn fill(quoted: &mut [u8; SHORT + 2], text: &[u8]) -> bool {
    let length = text.len();
    if length > SHORT {
        return false;
    }
    // Parts may overlap.
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        quoted[1..9].copy_from_slice(first);
        quoted[length - 7..=length].copy_from_slice(last);
        special_bits(u64::from_ne_bytes(*first)) | special_bits(u64::from_ne_bytes(*last)) == 0
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        quoted[1..5].copy_from_slice(first);
        quoted[length - 3..=length].copy_from_slice(last);
        let half = |bytes: &[u8; 4]| u64::from(u32::from_ne_bytes(*bytes));
        special_bits(half(first) << 32 | half(last)) == 0
    } else {
        for (place, byte) in quoted[1..].iter_mut().zip(text) {
            *place = *byte;
        }
        !text.iter().any(|byte| is_special(*byte))
    }
}

/// Appends a text without its quotes.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape_some(out, text.as_bytes());
    }
}

#[cold]
fn escape_some(out: &mut Vec<u8>, mut rest: &[u8]) {
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = match special {
            // (A character that is no ASCII begins so, and most of them stay as they are.)
            [FIRST, second @ 0x80..=0x9f, rest @ ..] => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&HEX[usize::from(*second)]);
                rest
            }
            [first @ 0x80..=0xff, rest @ ..] => {
                out.push(*first);
                rest
            }
            [first, rest @ ..] => {
                escape_ascii(out, *first);
                rest
            }
            [] => return,
        };
    }
    out.extend_from_slice(rest);
}

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&HEX[usize::from(byte)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// True if nothing in a text has to be escaped, and all of it is ASCII.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<16>() else {
        return !text.iter().any(|byte| is_special(*byte));
    };
    // The last chunk overlaps the one before it.
    let (chunks, _) = text.as_chunks::<16>();
    !chunks.iter().chain([last]).any(|chunk| {
        let word = u128::from_ne_bytes(*chunk);
        special_bits(word as u64) | special_bits((word >> 64) as u64) != 0
    })
}

/// A byte that can't stand in a string as it is (RFC 8259, 7), that terminals obey (DEL), or with which characters begin of
/// which some are obeyed.
#[inline(always)]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f || byte == FIRST
}

/// Not 0 if one of eight bytes is such, or no ASCII.
#[inline(always)]
fn special_bits(word: u64) -> u64 {
    special_or_no_ascii(word, b'"', b'\\')
}
