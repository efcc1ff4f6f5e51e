//! Makes values out of what they look like.

/// Always makes the same values (xorshift).
pub struct Generator(u64);

/// A value, and what in it is the secret.
pub struct Made {
    pub value: String,
    pub secret: String,
}

impl Generator {
    pub fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn of(&mut self, letters: &str, length: usize) -> String {
        let letters = letters.as_bytes();
        (0..length)
            .map(|_| char::from(letters[self.below(letters.len())]))
            .collect()
    }

    /// What stands in braces.
    fn part(&mut self, kind: &str) -> String {
        const DIGITS: &str = "0123456789";
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
        const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        if kind == "uuid" {
            return ["h8", "h4", "h4", "h4", "h12"]
                .map(|part| self.part(part))
                .join("-");
        }
        let (kind, length) = kind.split_at(1);
        let length = length.parse().unwrap();
        let letters = match kind {
            "a" => [UPPER, LOWER, DIGITS].concat(),
            "u" => [UPPER, DIGITS].concat(),
            "U" => [UPPER, "234567"].concat(),
            "l" => [LOWER, DIGITS].concat(),
            "h" => [DIGITS, "abcdef"].concat(),
            "d" => DIGITS.to_owned(),
            "w" => [UPPER, LOWER, DIGITS, "-_"].concat(),
            "b" => [UPPER, LOWER, DIGITS, "+/"].concat(),
            _ => panic!("{kind}"),
        };
        self.of(&letters, length)
    }

    /// A value of this format.
    pub fn make(&mut self, format: &str) -> Made {
        let (mut value, mut rest) = (String::new(), format);
        let mut marks = (None, None);
        while let Some(c) = rest.chars().next() {
            match c {
                '{' => {
                    let (kind, behind) = rest[1..].split_once('}').unwrap();
                    value.push_str(&self.part(kind));
                    rest = behind;
                    continue;
                }
                '[' => marks.0 = Some(value.len()),
                ']' => marks.1 = Some(value.len()),
                '\\' if rest.starts_with("\\n") => {
                    value.push('\n');
                    rest = &rest[1..];
                }
                c => value.push(c),
            }
            rest = &rest[c.len_utf8()..];
        }
        let secret = match marks {
            (Some(start), Some(end)) => value[start..end].to_owned(),
            _ => value.clone(),
        };
        Made { value, secret }
    }
}
