//! TCP's options, as far as they tell how the network carries a connection (RFC 9293, 3.1; RFC 7323; RFC 2018).

/// Ends the list; and is nothing, for alignment.
const END: u8 = 0;
const NOTHING: u8 = 1;
const LARGEST: u8 = 2;
const SHIFT: u8 = 3;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// What was read of a segment's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The largest segment that the sender takes (MSS), which a SYN says.
    pub largest: Option<u16>,
    /// By how many bits the windows are to be shifted that the sender announces later, which a SYN says.
    pub shift: Option<u8>,
    /// The sender's clock (TSval), and the other's as it was heard last (TSecr).
    pub timestamps: Option<(u32, u32)>,
    /// The first block of the other side's bytes that have come though others before them have not: what came last.
    pub block: Option<(u32, u32)>,
}

impl Options {
    /// Of these bytes. What is damaged or cut ends the list.
    pub fn read(bytes: &[u8]) -> Self {
        // What nearly every segment has.
        if let Some([NOTHING, NOTHING, TIMESTAMPS, 10, rest @ ..]) = bytes.first_chunk::<12>()
            && bytes.len() == 12
        {
            return Self {
                timestamps: words(rest),
                ..Self::default()
            };
        }
        Self::read_all(bytes)
    }

    #[cold]
    fn read_all(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            let length = match bytes {
                [] | [END, ..] => break,
                [NOTHING, ..] => 1,
                [_, length, ..] if *length >= 2 => usize::from(*length),
                _ => break,
            };
            let Some((option, rest)) = bytes.split_at_checked(length) else {
                break;
            };
            match option {
                [LARGEST, 4, high, low] => options.largest = Some(u16::from_be_bytes([*high, *low])),
                [SHIFT, 3, shift] => options.shift = Some(*shift),
                [SACK, _, blocks @ ..] => options.block = words(blocks),
                [TIMESTAMPS, 10, rest @ ..] => options.timestamps = words(rest),
                _ => {}
            }
            bytes = rest;
        }
        options
    }
}

/// The first two words.
fn words(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    Some((word(0)?, word(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPS: [u8; 10] = [8, 10, 0, 0, 1, 0, 0, 0, 0, 7];

    #[test]
    fn options_are_read_in_any_order() {
        let syn = [&[2, 4, 5, 180, 4, 2][..], &STAMPS, &[1, 3, 3, 7]].concat();
        let options = Options::read(&syn);
        assert_eq!(
            (options.largest, options.timestamps),
            (Some(1460), Some((256, 7)))
        );
        assert_eq!(options.shift, Some(7));
        let usual = [&[1, 1][..], &STAMPS].concat();
        assert_eq!(Options::read(&usual).timestamps, Some((256, 7)));
        let block = [&usual[..], &[1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 20]].concat();
        assert_eq!(Options::read(&block).block, Some((9, 20)));
        assert_eq!(Options::read(&block).timestamps, Some((256, 7)));
    }

    #[test]
    fn what_is_damaged_or_cut_ends_the_list() {
        for bytes in [
            &[][..],
            &[8],
            &[8, 10, 0],
            &[2, 0, 1, 1],
            &[2, 4, 5],
            &[0, 2, 4, 5, 180],
        ] {
            assert_eq!(Options::read(bytes), Options::default(), "{bytes:?}");
        }
        // One that is not as long as it must be says nothing.
        assert_eq!(Options::read(&[8, 4, 0, 0, 2, 4, 5, 180]).largest, Some(1460));
        assert_eq!(Options::read(&[8, 4, 0, 0]).timestamps, None);
    }
}
