//! Whole numbers. Those of a document are short as a rule: ports, counts of bytes, times. Eight digits are made at once and put
//! in place by one move.

/// The first number that has more digits.
const LONG: u64 = 100_000_000;

/// Appends the digits of a number.
#[inline]
pub(super) fn unsigned(out: &mut Vec<u8>, number: u64) {
    if number >= LONG {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        return;
    }
    let digits = eight_digits(number);
    // (A zero keeps one of its digits.)
    let leading = (digits.trailing_zeros() / 8).min(7);
    let text = (digits | u64::from_ne_bytes([b'0'; 8])) >> (8 * leading);
    let end = out.len() + 8 - leading as usize;
    out.extend_from_slice(&text.to_le_bytes());
    out.truncate(end);
}

/// The digits of a number below [`LONG`], a byte each, the first in the lowest byte: halves of it, halves of these and halves
/// of these again are told apart at once, each in its part of the word. To divide is to multiply and to shift, which is exact
/// for numbers as small as these.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - tens * 10) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: u64) -> String {
        let mut out = Vec::new();
        unsigned(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_have_their_digits() {
        let edges = (0..64).flat_map(|bits| [(1 << bits) - 1, 1 << bits]);
        let tens = (0..20).flat_map(|power| [10u64.pow(power) - 1, 10u64.pow(power), 10u64.pow(power) + 1]);
        for number in (0..200_000).chain(edges).chain(tens).chain([u64::MAX]) {
            assert_eq!(written(number), number.to_string());
        }
        for number in (0..LONG).step_by(997) {
            assert_eq!(written(number), number.to_string());
        }
    }
}
