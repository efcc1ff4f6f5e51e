//! Whether there is anything to look for in a text at all. Every value of every header is asked, and nearly all have nothing:
//! so a few bytes are looked at, many at once, and a text that passes is looked into.

use crate::swar;

/// Bytes of letters, digits, `-` and `_` that every token has at a stretch.
const RUN: usize = 20;

/// Secrets in this text can't be ruled out.
#[inline]
pub(super) fn may_hide(text: &[u8]) -> bool {
    // JSON, something encoded, a scheme with its credentials.
    let telling = matches!(text.first(), Some(b'{' | b'[' | b'%' | b'B' | b'b'));
    telling && text.len() > 5 || has_sign(text) || text.len() >= RUN && has_run(text)
}

/// Pairs have one of these, and so has userinfo. (Most texts are short: a call for a search costs more than looking at eight
/// bytes at once.)
#[inline]
fn has_sign(text: &[u8]) -> bool {
    const FEW: usize = 32;
    let telling = |byte: &u8| matches!(byte, b'@' | b'=');
    match text.last_chunk::<8>() {
        None => text.iter().any(telling),
        Some(last) if text.len() <= FEW => {
            let (words, _) = text.as_chunks::<8>();
            words.iter().chain([last]).any(|word| {
                let word = u64::from_ne_bytes(*word);
                swar::equal(word, b'@') | swar::equal(word, b'=') != 0
            })
        }
        Some(_) => memchr::memchr2(b'@', b'=', text).is_some(),
    }
}

/// So many letters, digits, `-` and `_` stand at a stretch, and are more than an identifier (UUID, `traceparent`).
pub(super) fn has_run(text: &[u8]) -> bool {
    /// Wherever a run stands, one of the windows that are so far from each other is full of it.
    const STEP: usize = RUN - 7;
    let has_dashes = |places: &[usize]| places.iter().all(|at| text[*at] == b'-');
    match text.len() {
        36 if has_dashes(&[8, 13, 18, 23]) => return false,
        55 if has_dashes(&[2, 35, 52]) => return false,
        _ => {}
    }
    let mut at = 0;
    while let Some(window) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        if swar::odd_to_words(u64::from_le_bytes(*window)) != 0 {
            at += STEP;
            continue;
        }
        let behind = 8 + words_at_start(&text[at + 8..]);
        let before = words_at_end(&text[..at]);
        if before + behind >= RUN && has_exact_run(&text[at - before..at + behind]) {
            return true;
        }
        at += behind + 1;
    }
    false
}

/// Bytes that may be of a word, at the beginning of a text.
fn words_at_start(text: &[u8]) -> usize {
    let mut count = 0;
    while let Some(chunk) = text.get(count..).and_then(|rest| rest.first_chunk::<8>()) {
        let odd = swar::odd_to_words(u64::from_le_bytes(*chunk));
        if odd != 0 {
            return count + odd.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    count + text[count..].iter().take_while(|byte| is_word(**byte)).count()
}

/// Bytes that may be of a word, at the end of a text.
fn words_at_end(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((before, chunk)) = rest.split_last_chunk::<8>() {
        let odd = swar::odd_to_words(u64::from_le_bytes(*chunk));
        if odd != 0 {
            return text.len() - rest.len() + odd.leading_zeros() as usize / 8;
        }
        rest = before;
    }
    text.len() - rest.len() + rest.iter().rev().take_while(|byte| is_word(**byte)).count()
}

fn has_exact_run(text: &[u8]) -> bool {
    text.split(|byte| !is_word(*byte)).any(|word| word.len() >= RUN)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_found_wherever_they_stand() {
        for length in 0..80 {
            let plain = vec![b'!'; length];
            assert!(!may_hide(&plain), "{length}");
            for at in 0..length {
                for byte in *b"@=" {
                    let mut text = plain.clone();
                    text[at] = byte;
                    assert!(may_hide(&text), "{length} {at}");
                }
            }
        }
    }

    #[test]
    fn runs_are_found_wherever_they_stand() {
        for (plain, byte) in [
            (b'.', b'a'),
            (b' ', b'x'),
            (b'/', b'0'),
            (0xc3, b'_'),
            (b':', b'Z'),
        ] {
            for length in RUN..80 {
                for at in 0..=length - RUN {
                    let mut text = vec![plain; length];
                    text[at..at + RUN].fill(byte);
                    assert!(has_run(&text), "{length} {at} {byte}");
                    text[at + RUN / 2] = plain;
                    assert!(!has_run(&text), "{length} {at} {byte}");
                }
            }
        }
        assert!(!has_run(b"7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1"));
        assert!(!has_run(
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ));
        assert!(has_run(b"xoxb-123456789012-1234567890123-abcdef"));
    }
}
