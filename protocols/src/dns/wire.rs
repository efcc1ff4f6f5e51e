//! Reads the bytes of a message: numbers, texts, and names, which may point at an earlier place of the message (RFC 1035, 4.1.4).

/// Bytes of the longest name.
const NAME: usize = 255;
/// Pointers that one name has at most: as many as labels fit in it.
const MAX_POINTERS: usize = 127;

/// The part of a message that is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
}

/// A name, as its labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Name<'a>(Vec<&'a [u8]>);

impl<'a> Wire<'a> {
    /// For what stands between these places of a message.
    pub fn new(message: &'a [u8], at: usize, end: usize) -> Self {
        let end = end.min(message.len());
        Self {
            message,
            at: at.min(end),
            end,
        }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn left(&self) -> usize {
        self.end - self.at
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end)?;
        let taken = &self.message[self.at..end];
        self.at = end;
        Some(taken)
    }

    /// So many bytes as a part of their own, in which names may still point back.
    pub fn part(&mut self, count: usize) -> Option<Self> {
        let at = self.at;
        self.take(count)?;
        Some(Self::new(self.message, at, self.at))
    }

    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.message[self.at..self.end];
        self.at = self.end;
        rest
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A text with its length in a byte before it.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A name; pointers in it must point backwards.
    pub fn name(&mut self) -> Option<Name<'a>> {
        let (mut labels, mut length, mut pointers) = (Vec::new(), 1, 0);
        let (mut at, mut before, mut end) = (self.at, self.at, None);
        loop {
            // What stands in the part that is read must end there; what is pointed at is before it.
            let bound = if end.is_none() {
                self.end
            } else {
                self.message.len()
            };
            let part = self.message.get(at..bound)?;
            match *part.first()? {
                0 => break,
                size @ 1..=63 => {
                    let size = usize::from(size);
                    length += 1 + size;
                    if length > NAME {
                        return None;
                    }
                    labels.push(part.get(1..=size)?);
                    at += 1 + size;
                }
                high @ 0xc0.. => {
                    let target = usize::from(high & 0x3f) << 8 | usize::from(*part.get(1)?);
                    pointers += 1;
                    if target >= before || pointers > MAX_POINTERS {
                        return None;
                    }
                    end.get_or_insert(at + 2);
                    (at, before) = (target, target);
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        Some(Name(labels))
    }

    /// Steps over a name without following pointers.
    pub fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.u8()? {
                0 => return Some(()),
                length @ 1..=63 => drop(self.take(length.into())?),
                0xc0.. => return self.u8().map(drop),
                _ => return None,
            }
        }
    }
}

impl<'a> Name<'a> {
    pub fn labels(&self) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(message: &[u8], at: usize) -> Option<(String, usize)> {
        let mut wire = Wire::new(message, at, message.len());
        let name = wire.name()?;
        let labels: Vec<_> = name
            .labels()
            .map(|label| label.escape_ascii().to_string())
            .collect();
        Some((labels.join("."), wire.at()))
    }

    #[test]
    fn names_point_backwards_alone() {
        assert_eq!(name(b"\x01a\x02bc\x00", 0), Some(("a.bc".into(), 6)));
        assert_eq!(name(b"\x01a\x00\x01b\xc0\x00!", 3), Some(("b.a".into(), 7)));
        assert_eq!(name(b"\x00", 0), Some((String::new(), 1)));
        for wrong in [
            &b"\xc0\x00"[..],
            b"\xc0\x02\x00",
            b"\x01a\xc0\x00",
            b"\x01a",
            b"\x02a",
            b"\x40a\x00",
            b"\xc0",
        ] {
            assert_eq!(name(wrong, 0), None, "{wrong:x?}");
        }
        // A chain of pointers costs no more than a name may have labels.
        let mut chain = vec![0, 0];
        for at in 0..200_u16 {
            chain.extend((0xc000 | (2 * at)).to_be_bytes());
        }
        assert_eq!(name(&chain, 2 * 127), Some((String::new(), 2 * 127 + 2)));
        assert_eq!(name(&chain, 2 * 128), None);
        // The longest name, and one that is longer.
        let label = [&[63][..], &[b'x'; 63]].concat();
        let long = [&label.repeat(3)[..], &[61], &[b'y'; 61], &[0]].concat();
        assert_eq!((long.len(), name(&long, 0).is_some()), (255, true));
        let longer = [&label.repeat(3)[..], &[62], &[b'y'; 62], &[0]].concat();
        assert_eq!(name(&longer, 0), None);
    }
}
