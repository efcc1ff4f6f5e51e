//! Numbers of any length.

/// Longer ones are not put into digits.
const LONGEST: usize = 128;

/// The digits of a whole number in two's complement, big-endian; `None` if it is too long.
pub(super) fn decimal(bytes: &[u8]) -> Option<String> {
    if bytes.len() > LONGEST {
        return None;
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    // In pieces of 32 bits, and nine digits at a time: a number is read whether or not there is room for its digits.
    let mut pieces: Vec<u32> = bytes
        .rchunks(4)
        .rev()
        .map(|piece| {
            let first = if negative { u32::MAX } else { 0 };
            piece
                .iter()
                .fold(first, |whole, byte| whole << 8 | u32::from(*byte))
        })
        .collect();
    if negative {
        let mut carry = true;
        for piece in pieces.iter_mut().rev() {
            (*piece, carry) = (!*piece).overflowing_add(u32::from(carry));
        }
    }
    let mut digits = Vec::new();
    while pieces.iter().any(|piece| *piece != 0) {
        let mut rest = 0_u64;
        for piece in &mut pieces {
            let part = rest << 32 | u64::from(*piece);
            *piece = u32::try_from(part / 1_000_000_000).unwrap_or(0);
            rest = part % 1_000_000_000;
        }
        for _ in 0..9 {
            digits.push(char::from(b'0' + (rest % 10) as u8));
            rest /= 10;
        }
    }
    while digits.last() == Some(&'0') {
        digits.pop();
    }
    let sign = if negative { "-" } else { "" };
    let digits = if digits.is_empty() {
        "0".to_owned()
    } else {
        digits.iter().rev().collect()
    };
    Some(format!("{sign}{digits}"))
}

/// Digits with so many of them behind the point, as Java's `BigDecimal.toPlainString` has it; of a great or a negative
/// scale with an exponent.
pub(super) fn scaled(digits: &str, scale: i32) -> String {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |digits| ("-", digits));
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) if scale <= 2 * LONGEST => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        _ => format!("{sign}{digits}E{}", -i64::from(scale)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_keep_their_digits() {
        for (bytes, digits) in [
            (&[][..], "0"),
            (&[0], "0"),
            (&[0xff], "-1"),
            (&[0x80], "-128"),
            (&[0x01, 0, 0, 0, 0, 0, 0, 0, 0], "18446744073709551616"),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0, 0], "-18446744073709551616"),
        ] {
            assert_eq!(decimal(bytes).as_deref(), Some(digits));
        }
        assert_eq!(decimal(&[1; 1000]), None);
    }

    #[test]
    fn decimals_have_their_point() {
        for (digits, scale, text) in [
            ("-98765432109876543210000100", 6, "-98765432109876543210.000100"),
            ("110", 2, "1.10"),
            ("5", 3, "0.005"),
            ("-5", 0, "-5"),
            ("5", -3, "5E3"),
            ("5", i32::MAX, "5E-2147483647"),
        ] {
            assert_eq!(scaled(digits, scale), text);
        }
    }
}
