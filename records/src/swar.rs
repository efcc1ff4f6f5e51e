//! Eight bytes looked at as one word. Each function gives the top bit of bytes of which something is true, and is 0 if it is
//! true of none. (A borrow out of such a byte may give the bit of the next one too, so that only 0 and the lowest are certain.)

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const TOPS: u64 = ONES << 7;

/// Bytes below a bound of at most 128.
#[inline(always)]
pub(crate) fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & TOPS
}

/// Bytes that are this one.
#[inline(always)]
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}
