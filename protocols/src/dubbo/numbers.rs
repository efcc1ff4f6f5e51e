//! Numbers of any length.

/// Longer ones are not put into digits.
const LONGEST: usize = 128;

/// The digits of a whole number in two's complement, big-endian; `None` if it is too long.
pub(super) fn decimal(bytes: &[u8]) -> Option<String> {
    if bytes.len() > LONGEST {
        return None;
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut magnitude = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut magnitude {
            let part = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(part / 10).unwrap_or(0);
            rest = part % 10;
        }
        digits.push(char::from_digit(rest, 10).unwrap_or('0'));
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
