//! Numbers of payment cards, in bodies and arguments: by their length, how they begin, and their check digit (Luhn).

use super::edit::Edit;

/// Digits of the longest number.
const LONGEST: usize = 19;
/// Groups that they stand in, at most.
const GROUPS: usize = 5;

/// The text without such numbers, if it has any.
pub(super) fn without_secrets(text: &[u8]) -> Option<Vec<u8>> {
    let mut edit = Edit::new(text);
    let mut at = 0;
    while let Some(start) = next_digit(text, at) {
        let first = digits(&text[start..]);
        at = start + first;
        if !is_joined(&text[..start])
            && let Some(length) = card(&text[start..])
        {
            at = start + length;
            edit.replace(start..at);
        }
    }
    edit.finish()
}

/// This number is that of a card.
pub(crate) fn is_card_number(number: u64) -> bool {
    const SHORTEST: u64 = 1_000_000_000_000;
    number >= SHORTEST && is_card(number.to_string().as_bytes())
}

fn next_digit(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    Some(from + rest.iter().position(u8::is_ascii_digit)?)
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Digits behind this are a part of something else.
fn is_joined(before: &[u8]) -> bool {
    match before {
        // The letter of an escape.
        [.., b'\\', b'n' | b'r' | b't'] => false,
        [.., byte] => {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+') || !byte.is_ascii()
        }
        [] => false,
    }
}

/// Bytes of the number that this text begins with: in one piece, or in groups as on the card.
fn card(text: &[u8]) -> Option<usize> {
    let mut number = [0; LONGEST];
    let mut groups = [0; GROUPS];
    let (mut count, mut at) = (0, 0);
    let mut longest = None;
    let mut sign = None;
    for known in 0..GROUPS {
        let group = digits(&text[at..]);
        let place = number.get_mut(count..count + group)?;
        place.copy_from_slice(&text[at..at + group]);
        (count, at) = (count + group, at + group);
        groups[known] = group;
        let next = text.get(at);
        let goes_on = next.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            || next == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !goes_on && is_grouped(&groups[..=known]) && is_card(&number[..count]) {
            longest = Some(at);
        }
        let is_sign =
            |byte: &&u8| matches!(byte, b' ' | b'-' | b'+') && sign.is_none_or(|sign| sign == **byte);
        let Some(next) = next.filter(is_sign) else {
            return longest;
        };
        sign = Some(*next);
        let more = digits(&text[at + 1..]);
        if more == 0 || count + more > LONGEST || known + 1 == GROUPS {
            // What goes on with a dash is a longer number.
            return longest.filter(|_| more == 0 || *next == b' ');
        }
        at += 1;
    }
    longest
}

/// As cards have them: fours, or four, six and four or five.
fn is_grouped(groups: &[usize]) -> bool {
    matches!(
        groups,
        [_] | [4, 6, 4 | 5] | [4, 4, 4, 1..=4] | [4, 4, 4, 4, 1..=3]
    )
}

fn is_card(number: &[u8]) -> bool {
    is_issued(number) && sum(number, |digit| if digit > 4 { digit * 2 - 9 } else { digit * 2 }) % 10 == 0
        // Articles have numbers of 13 digits too (EAN), with another check digit.
        && !(number.len() == 13 && sum(number, |digit| digit * 3) % 10 == 0)
}

/// The sum of all digits, of which every other one, before the last, counts as this says.
fn sum(number: &[u8], other: impl Fn(u32) -> u32) -> u32 {
    let digit = |byte: &u8| u32::from(byte - b'0');
    let of = |(at, byte)| {
        if at % 2 == 0 {
            digit(byte)
        } else {
            other(digit(byte))
        }
    };
    number.iter().rev().enumerate().map(of).sum()
}

/// It begins as the cards of its length do (ISO/IEC 7812).
fn is_issued(number: &[u8]) -> bool {
    let begin = |digits: usize| {
        let begin = number.iter().take(digits);
        begin.fold(0, |value, byte| value * 10 + u32::from(byte - b'0'))
    };
    let (two, three, four) = (begin(2), begin(3), begin(4));
    match number.len() {
        13 => number[0] == b'4',
        14 => matches!(two, 36 | 38 | 39) || matches!(three, 300..=305),
        15 => matches!(two, 34 | 37),
        16 => {
            number[0] == b'4'
                || matches!(two, 51..=55 | 62 | 65)
                || matches!(three, 644..=649)
                || matches!(four, 2200..=2204 | 2221..=2720 | 3528..=3589 | 6011)
                || is_maestro(four)
        }
        17 | 18 => two == 62 || is_maestro(four),
        19 => number[0] == b'4' || matches!(two, 62 | 65) || four == 6011 || is_maestro(four),
        _ => false,
    }
}

fn is_maestro(four: u32) -> bool {
    matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        let clean = without_secrets(text.as_bytes());
        String::from_utf8(clean.unwrap_or_else(|| text.into())).unwrap()
    }

    #[test]
    fn numbers_of_cards_are_replaced() {
        // (Numbers that issuers have set aside for tests.)
        for number in [
            "4111111111111111",
            "4242 4242 4242 4242",
            "5555-5555-5555-4444",
            "5105+1051+0510+5100",
            "2223003122003222",
            "378282246310005",
            "3782 822463 10005",
            "6011111111111117",
            "30569309025904",
            "3056 930902 5904",
            "3530111333300000",
            "6200000000000005",
            "4222222222222",
        ] {
            assert_eq!(clean(number), "<redacted>", "{number}");
            let body = format!("{{\"a\":\"{number}\",\"b\":{number}}} {number}, 2024 {number} 12 {number}.");
            let seen = clean(&body);
            assert!(!seen.contains(&number[4..]), "{seen}");
        }
        assert!(is_card_number(4_111_111_111_111_111));
    }

    #[test]
    fn other_numbers_stay_as_they_are() {
        for text in [
            "4111111111111112",
            "1700000000000000",
            "20240115103000",
            "0.4111111111111111",
            "4111111111111111.5",
            "x4111111111111111",
            "4111111111111111a",
            "41111111111111110000",
            "4111 1111-1111 1111",
            "41 11 11 11 11 11 11 11",
            "4006381333931",
            "4111-1111-1111-1111-1111-1111",
            "550e8400-4111-1111-1111-111111111111",
            "",
            "4",
        ] {
            assert_eq!(clean(text), text);
        }
        assert!(!is_card_number(4_111_111_111_111_112));
    }
}
