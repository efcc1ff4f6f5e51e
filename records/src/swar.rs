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

/// Not 0 if a byte is a control, one of these two signs, or no ASCII. (Of ASCII alone the differences have a top bit where they
/// borrow, and the sum has one at DEL; and what is no ASCII has one there, but 0xff, which no text has.)
#[inline(always)]
pub(crate) fn special_or_no_ascii(word: u64, one: u8, other: u8) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20);
    let one = (word ^ (ONES * u64::from(one))).wrapping_sub(ONES);
    let other = (word ^ (ONES * u64::from(other))).wrapping_sub(ONES);
    (control | one | other | word.wrapping_add(ONES)) & TOPS
}

/// Bytes that are `first` with `second` right behind them, in a word of little-endian order. Nothing is said of the last byte.
#[inline(always)]
pub(crate) fn pair(word: u64, first: u8, second: u8) -> u64 {
    below(
        (word ^ (ONES * u64::from(first))) | ((word >> 8) ^ (ONES * u64::from(second))),
        1,
    )
}

/// The top bits of bytes that are no letters, digits, `-` and `_`, as far as two sums tell it: blanks and other signs before the
/// digits, and what is no ASCII. (Signs behind the digits are not told from letters.)
#[inline(always)]
pub(crate) fn odd_to_words(word: u64) -> u64 {
    let low = word & !TOPS;
    // (Sums of seven bits each: no byte carries into the next.)
    let from_digits = low + ONES * (0x80 - 0x30);
    let other_than_dash = (low ^ (ONES * u64::from(b'-'))) + !TOPS;
    (!from_digits & other_than_dash | word) & TOPS
}
