//! Huffman-coded strings (RFC 7541, 5.2 and appendix B). The code is canonical: the lengths of its codes say all.

/// Bits of each byte's code.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The longest code, and that of the end of a string, which has as many ones.
const LONGEST: usize = 30;
/// The shortest.
const SHORTEST: usize = 5;

/// Of each length: the first code, the number of codes, and where their bytes begin in `symbols`.
struct Code {
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [u16; LONGEST + 1],
    symbols: [u8; 256],
}

const CODE: Code = {
    let mut code = Code {
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
        symbols: [0; 256],
    };
    let (mut next, mut placed, mut length) = (0_u32, 0_u16, 1);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        code.start[length] = placed;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                code.symbols[placed as usize] = symbol as u8;
                placed += 1;
                next += 1;
                code.count[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
};

/// Decodes onto the end of `out`; `None` where this is no string: a code that no byte has, or padding that is not the
/// beginning of the end's code or a byte long.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    static CODE_TABLE: Code = CODE;
    let mut rest = coded.iter();
    // The next bits are the highest ones of `word`; below them it is all ones, as padding would be.
    let (mut word, mut bits) = (u64::MAX, 0_usize);
    loop {
        while bits <= 56 {
            let Some(byte) = rest.next() else { break };
            word ^= u64::from(!byte) << (56 - bits);
            bits += 8;
        }
        if bits < 8 && word == u64::MAX {
            return Some(());
        }
        let (symbol, length) = CODE_TABLE.next(word)?;
        if length > bits {
            return None;
        }
        out.push(symbol);
        word = word << length | ((1 << length) - 1);
        bits -= length;
    }
}

impl Code {
    /// The byte whose code these bits begin with, and how long that is.
    fn next(&self, word: u64) -> Option<(u8, usize)> {
        (SHORTEST..=LONGEST).find_map(|length| {
            let code = u32::try_from(word >> (64 - length)).ok()?;
            let offset = code.wrapping_sub(self.first[length]);
            if code < self.first[length] || offset >= self.count[length] {
                return None;
            }
            let at = usize::from(self.start[length]) + offset as usize;
            Some((self.symbols[at], length))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A string's code, bit by bit.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let group = usize::from(CODE.start[length])..256;
            let offset = CODE.symbols[group].iter().position(|it| it == byte).unwrap();
            let word = CODE.first[length] + offset as u32;
            bits.extend((0..length).rev().map(|bit| word >> bit & 1));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(1);
        }
        bits.chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8))
            .collect()
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (symbol, length, code) in [
            (b'0', 5, 0x0),
            (b'a', 5, 0x3),
            (b' ', 6, 0x14),
            (b':', 7, 0x5c),
            (b'X', 8, 0xfc),
            (b'!', 10, 0x3f8),
            (0, 13, 0x1ff8),
            (b'\\', 19, 0x7fff0),
            (1, 23, 0x7fffd8),
            (255, 26, 0x3ffffee),
            (b'\n', 30, 0x3ffffffc),
            (22, 30, 0x3ffffffe),
        ] {
            assert_eq!(LENGTHS[usize::from(symbol)], length, "{symbol}");
            let bits = usize::from(length);
            let coded = encode(&[symbol]);
            let word = coded
                .iter()
                .fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            assert_eq!(word >> (coded.len() * 8 - bits), code, "{symbol}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        assert_eq!(decode(&encode(&all), &mut out), Some(()));
        assert_eq!(out, all);
    }

    #[test]
    fn wrong_padding_is_refused() {
        for (coded, why) in [
            (&[0x1f, 0xff][..], "more than 7 bits"),
            (&[0x18][..], "zeros"),
            (&[0xff; 4][..], "the end itself"),
        ] {
            assert_eq!(decode(coded, &mut Vec::new()), None, "{why}");
        }
        assert_eq!(decode(&[0x1f], &mut Vec::new()), Some(()));
    }
}
