use super::*;
use crate::packet::Payload;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn take(
    fragments: &mut Fragments,
    at: u64,
    id: u32,
    offset: usize,
    bytes: &[u8],
    more: bool,
) -> Option<Vec<u8>> {
    let ip = Ip {
        source: [198, 18, 0, 1].into(),
        destination: [198, 18, 0, 2].into(),
        protocol: 17,
        payload: Payload {
            bytes,
            len: bytes.len(),
        },
        fragment: None,
        id: None,
        len: 40 + bytes.len(),
    };
    fragments.take(Timestamp(at), 0, &ip, Fragment { id, offset, more })
}

#[test]
fn fragments_in_any_order_make_the_packet() {
    let mut fragments = Fragments::new(10_000, SECOND);
    assert_eq!(take(&mut fragments, 0, 1, 16, b"end", false), None);
    assert_eq!(take(&mut fragments, 0, 1, 0, b"01234567", true), None);
    assert_eq!(take(&mut fragments, 0, 2, 8, b"another8", true), None);
    assert_eq!(take(&mut fragments, 0, 1, 0, b"01234567", true), None); // twice
    let whole = take(&mut fragments, 0, 1, 8, b"89abcdef", true);
    assert_eq!(whole.as_deref(), Some(&b"0123456789abcdefend"[..]));
    assert_eq!(fragments.take_incomplete(), 0);
    fragments.finish();
    assert_eq!((fragments.take_incomplete(), fragments.cost()), (1, 0));
}

#[test]
fn overlaps_and_contradictions_make_a_packet_worthless() {
    for (offset, bytes, more) in [
        (8, &b"xxxxxxxx"[..], true), // other bytes at the same place
        (4, b"xxxxxxxx", true),      // across
        (24, b"xxxxxxxx", true),     // behind the end
        (16, b"xx", false),          // another end
        (0, b"xxxxx", true),         // no multiple of 8
        (65528, b"xxxxxxxx", false), // longer than any packet
    ] {
        let mut fragments = Fragments::new(10_000, SECOND);
        take(&mut fragments, 0, 1, 8, b"89abcdef", true);
        take(&mut fragments, 0, 1, 16, b"end", false);
        assert_eq!(take(&mut fragments, 0, 1, offset, bytes, more), None);
        assert_eq!(
            (fragments.take_incomplete(), fragments.cost()),
            (1, 0),
            "{offset}"
        );
    }
}

#[test]
fn what_is_not_complete_in_time_is_given_up() {
    let mut fragments = Fragments::new(10_000, SECOND);
    take(&mut fragments, 0, 1, 0, b"01234567", true);
    take(&mut fragments, 5, 2, 0, b"01234567", true);
    fragments.tick(Timestamp(SECOND));
    assert_eq!(fragments.take_incomplete(), 1);
    assert_eq!(
        take(&mut fragments, SECOND, 2, 8, b"8", false),
        Some(b"012345678".to_vec())
    );
}

proptest! {
    #[test]
    fn memory_stays_under_its_bound(
        steps in prop::collection::vec((0..6u32, 0..20usize, 0..10usize, any::<bool>()), 0..300),
        bound in 200..2000usize,
    ) {
        let mut fragments = Fragments::new(bound, SECOND);
        for (at, (id, place, eights, more)) in steps.into_iter().enumerate() {
            take(&mut fragments, at as u64, id, place * 8, &[1; 80][..eights * 8], more);
            prop_assert!(fragments.cost() <= bound);
        }
        fragments.finish();
        prop_assert_eq!(fragments.cost(), 0);
    }
}
