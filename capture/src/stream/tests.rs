use super::*;
use proptest::prelude::*;

/// What came out: bytes, and nothing for each that is missing.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    bytes: Vec<Option<u8>>,
    unknown_gaps: usize,
    ended: Vec<usize>,
}

impl Feed for Seen {
    fn data(&mut self, _: Timestamp, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        self.bytes.extend(bytes.iter().copied().map(Some));
    }

    fn gap(&mut self, _: Timestamp, missed: Option<u64>) {
        assert_ne!(missed, Some(0));
        match missed {
            Some(missed) => self.bytes.extend((0..missed.min(4096)).map(|_| None)),
            None => self.unknown_gaps += 1,
        }
    }

    fn end(&mut self, _: Timestamp) {
        self.ended.push(self.bytes.len());
    }
}

/// A stream with its memory.
struct Test {
    stream: Stream,
    seen: Seen,
    waiting: usize,
    bound: usize,
    ended_waits: u64,
    first: u32,
    now: u64,
}

impl Test {
    fn new(first: u32, bound: usize) -> Self {
        let mut stream = Stream::default();
        stream.begin(first, false);
        Self {
            stream,
            seen: Seen::default(),
            waiting: 0,
            bound,
            ended_waits: 0,
            first,
            now: 0,
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Stream, Timestamp, &mut Room<'_>, &mut Seen) -> T) -> T {
        self.now += 1;
        let mut room = Room {
            stream: self.bound,
            total: self.bound,
            waiting: &mut self.waiting,
            ended: 0,
        };
        let result = act(&mut self.stream, Timestamp(self.now), &mut room, &mut self.seen);
        self.ended_waits += room.ended;
        assert_eq!(self.waiting, self.stream.waiting());
        assert!(self.waiting <= self.bound, "{} bytes wait", self.waiting);
        result
    }

    /// Bytes of `whole` from this place on.
    fn segment(&mut self, whole: &[u8], place: usize, len: usize) -> Arrival {
        self.cut_segment(whole, place, len, len)
    }

    /// The same, of which fewer were captured.
    fn cut_segment(&mut self, whole: &[u8], place: usize, len: usize, captured: usize) -> Arrival {
        let sequence = self.sequence(place);
        let payload = Payload {
            bytes: &whole[place..place + captured],
            len,
        };
        self.with(|stream, at, room, seen| stream.segment(at, sequence, &payload, true, room, seen))
    }

    fn sequence(&self, place: usize) -> u32 {
        self.first.wrapping_add(place as u32)
    }

    fn finish(&mut self, place: usize) {
        let sequence = self.sequence(place);
        self.with(|stream, at, _, seen| stream.finish(at, sequence, seen));
    }

    fn acknowledge(&mut self, place: usize) {
        let sequence = self.sequence(place);
        self.with(|stream, _, room, seen| stream.acknowledge(sequence, room, seen));
    }

    fn give_up(&mut self) {
        self.with(|stream, at, room, seen| stream.give_up(at, room, seen));
    }

    fn text(&self) -> String {
        let letters = self.seen.bytes.iter();
        letters.map(|byte| byte.map_or('.', char::from)).collect()
    }
}

const WHOLE: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

#[test]
fn early_bytes_wait_for_those_before_them() {
    let mut test = Test::new(u32::MAX - 4, 10_000);
    assert_eq!(test.segment(WHOLE, 0, 3), Arrival::InOrder);
    assert_eq!(test.segment(WHOLE, 6, 3), Arrival::Early);
    assert_eq!(test.segment(WHOLE, 0, 3), Arrival::Repeated);
    assert_eq!(test.text(), "abc");
    assert_eq!(test.segment(WHOLE, 2, 5), Arrival::InOrder);
    assert_eq!(test.text(), "abcdefghi");
    test.finish(9);
    assert_eq!(test.seen.ended, [9]);
}

#[test]
fn of_bytes_that_come_twice_the_first_count() {
    let mut test = Test::new(7, 10_000);
    test.segment(WHOLE, 4, 4);
    let upper = WHOLE.to_ascii_uppercase();
    test.segment(&upper, 2, 10);
    test.segment(&upper, 0, 2);
    assert_eq!(test.text(), "ABCDefghIJKL");
    assert_eq!(test.waiting, 0);
}

#[test]
fn what_is_acknowledged_is_not_waited_for() {
    let mut test = Test::new(7, 10_000);
    test.segment(WHOLE, 0, 2);
    test.segment(WHOLE, 4, 2);
    test.segment(WHOLE, 8, 2);
    test.acknowledge(3);
    assert_eq!(test.text(), "ab");
    test.acknowledge(6);
    assert_eq!(test.text(), "ab..ef");
    test.acknowledge(12);
    assert_eq!(test.text(), "ab..ef..ij");
    // Further bytes were acknowledged: they may only come later in the capture.
    test.segment(WHOLE, 10, 1);
    test.with(|stream, at, room, seen| stream.give_up_acknowledged(at, room, seen));
    assert_eq!(test.text(), "ab..ef..ijk.");
}

#[test]
fn the_end_is_told_once_and_only_after_all_before_it() {
    let mut test = Test::new(7, 10_000);
    test.finish(4);
    test.segment(WHOLE, 2, 2);
    assert_eq!(test.seen.ended, [0; 0]);
    test.segment(WHOLE, 0, 6);
    test.finish(4);
    assert_eq!((test.text().as_str(), &test.seen.ended[..]), ("abcd", &[4][..]));

    let mut test = Test::new(7, 10_000);
    test.segment(WHOLE, 0, 2);
    test.finish(4);
    test.give_up();
    assert_eq!((test.text().as_str(), &test.seen.ended[..]), ("ab..", &[4][..]));
}

#[test]
fn what_was_not_captured_is_a_gap_of_known_size() {
    let mut test = Test::new(7, 10_000);
    test.cut_segment(WHOLE, 0, 6, 2);
    test.cut_segment(WHOLE, 10, 4, 1);
    test.cut_segment(WHOLE, 6, 6, 3);
    assert_eq!(test.text(), "ab....ghi.k...");
}

#[test]
fn at_the_bound_the_oldest_hole_is_given_up() {
    let mut test = Test::new(7, 3 * PIECE);
    for place in [2, 6, 10] {
        test.segment(WHOLE, place, 1);
    }
    assert_eq!(test.text(), "..c");
    assert_eq!(test.ended_waits, 1);
    test.give_up();
    assert_eq!(test.text(), "..c...g...k");
    assert_eq!(test.waiting, 0);

    // One that would not fit in any case is not kept at all.
    let mut test = Test::new(7, 2);
    test.segment(WHOLE, 3, 3);
    assert_eq!(test.text(), "...def");
}

#[test]
fn old_holes_are_given_up() {
    let mut test = Test::new(7, 10_000);
    test.segment(WHOLE, 2, 1);
    test.segment(WHOLE, 5, 1);
    let tick = |test: &mut Test, now| {
        test.with(|stream, _, room, seen| stream.give_up_old(Timestamp(now), 10, room, seen));
    };
    tick(&mut test, 10);
    assert_eq!(test.text(), "");
    tick(&mut test, 11);
    assert_eq!(test.text(), "..c");
    tick(&mut test, 12);
    assert_eq!(test.text(), "..c..f");
}

#[test]
fn numbers_out_of_every_window_begin_anew() {
    let mut test = Test::new(7, 10_000);
    test.segment(WHOLE, 0, 3);
    test.acknowledge(1 << 31);
    test.with(|stream, at, room, seen| stream.give_up_acknowledged(at, room, seen));
    assert_eq!(test.text(), "abc");
    test.first = test.first.wrapping_add(1 << 31);
    test.segment(WHOLE, 3, 3);
    test.segment(WHOLE, 6, 3);
    assert_eq!((test.text().as_str(), test.seen.unknown_gaps), ("abcdefghi", 1));
}

#[test]
fn joined_late_it_begins_with_the_first_bytes_that_are_seen() {
    let mut test = Test::new(7, 10_000);
    test.stream = Stream::default();
    test.stream.begin(7, true); // acknowledged, before bytes that passed before the capture began
    test.segment(WHOLE, 4, 3);
    test.segment(WHOLE, 0, 5);
    assert_eq!(test.text(), "efg");
}

#[test]
fn of_bytes_that_nobody_wants_only_places_are_kept() {
    let mut test = Test::new(7, 10_000);
    let segment = |test: &mut Test, place: usize, len| {
        let (sequence, bytes) = (test.sequence(place), &WHOLE[..len]);
        let payload = Payload { bytes, len };
        test.with(|stream, at, room, seen| stream.segment(at, sequence, &payload, false, room, seen))
    };
    assert_eq!(segment(&mut test, 0, 3), Arrival::InOrder);
    assert_eq!(segment(&mut test, 6, 26), Arrival::Early);
    assert_eq!(test.waiting, PIECE);
    assert_eq!(segment(&mut test, 3, 3), Arrival::InOrder);
    assert_eq!(segment(&mut test, 6, 26), Arrival::Repeated);
    assert_eq!((test.text().as_str(), test.waiting), ("", 0));
    segment(&mut test, 34, 6);
    test.finish(40);
    test.give_up();
    assert_eq!((test.text().as_str(), test.seen.ended.len()), ("..", 1)); // what is missing
}

/// Pieces of a stream of so many bytes that cover all of it, some of it more than once.
fn pieces(len: usize) -> impl Strategy<Value = Vec<(usize, usize)>> {
    let cuts = prop::collection::vec(0..=len, 0..30);
    let more = prop::collection::vec((0..len, 1..200usize), 0..20);
    (cuts, more).prop_map(move |(mut cuts, more)| {
        cuts.extend([0, len]);
        cuts.sort_unstable();
        cuts.dedup();
        let parts = cuts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
        let more = more.into_iter().map(|(start, n)| (start, n.min(len - start)));
        parts.chain(more).collect()
    })
}

/// In an order that is only roughly that of the stream.
fn shuffled(mut pieces: Vec<(usize, usize)>, jitter: &[usize]) -> Vec<(usize, usize)> {
    let mut jitter = jitter.iter().cycle();
    pieces.sort_by_cached_key(|(start, _)| start + jitter.next().unwrap());
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn reordered_repeated_and_overlapping_segments_give_exactly_the_bytes(
        whole in prop::collection::vec(any::<u8>(), 1..2000),
        first in prop_oneof![any::<u32>(), u32::MAX - 2000..=u32::MAX],
        pieces in pieces(2000),
        jitter in prop::collection::vec(0..600usize, 1..40),
        fin_early in any::<bool>(),
    ) {
        let mut test = Test::new(first, 1 << 20);
        if fin_early {
            test.finish(whole.len());
        }
        for (start, len) in shuffled(pieces, &jitter) {
            let start = start.min(whole.len());
            test.segment(&whole, start, len.min(whole.len() - start));
        }
        test.finish(whole.len());
        let expected: Vec<_> = whole.iter().copied().map(Some).collect();
        prop_assert_eq!(&test.seen.bytes, &expected);
        prop_assert_eq!(&test.seen.ended, &[whole.len()]);
        prop_assert_eq!(test.waiting, 0);
    }

    #[test]
    fn lost_segments_are_gaps_of_exactly_their_size(
        whole in prop::collection::vec(any::<u8>(), 500..1000),
        first in prop_oneof![any::<u32>(), u32::MAX - 1000..=u32::MAX],
        pieces in pieces(500),
        lost in prop::collection::vec(any::<bool>(), 60),
        jitter in prop::collection::vec(0..300usize, 1..40),
        acknowledged in 0..1000usize,
    ) {
        let kept: Vec<_> = pieces.iter().zip(lost.iter().cycle()).filter(|(_, lost)| !**lost).map(|(p, _)| *p).collect();
        let mut expected: Vec<Option<u8>> = vec![None; 500];
        for (start, len) in &kept {
            for place in *start..start + len {
                expected[place] = Some(whole[place]);
            }
        }
        let mut test = Test::new(first, 1 << 20);
        for (start, len) in shuffled(kept, &jitter) {
            test.segment(&whole, start, len);
        }
        test.finish(500);
        test.acknowledge(acknowledged);
        test.give_up();
        prop_assert_eq!(&test.seen.bytes, &expected);
        prop_assert_eq!(&test.seen.ended, &[500]);
        prop_assert_eq!(test.waiting, 0);
    }

    #[test]
    fn at_every_bound_all_places_come_out_once_and_in_order(
        whole in prop::collection::vec(any::<u8>(), 500),
        pieces in pieces(500),
        jitter in prop::collection::vec(0..500usize, 1..40),
        bound in 0..1500usize,
    ) {
        let mut test = Test::new(9, bound);
        for (start, len) in shuffled(pieces, &jitter) {
            test.segment(&whole, start, len);
        }
        test.finish(500);
        test.give_up();
        prop_assert_eq!(test.seen.bytes.len(), 500);
        for (place, byte) in test.seen.bytes.iter().enumerate() {
            prop_assert!(byte.is_none_or(|byte| byte == whole[place]));
        }
    }

    #[test]
    fn anything_is_survived(
        steps in prop::collection::vec((0..6u8, any::<u32>(), 0..300usize, 0..300usize, any::<bool>()), 0..60),
    ) {
        let whole = [7; 300];
        let mut test = Test::new(0, 2000);
        for (kind, number, len, captured, near) in steps {
            // Far numbers, or such as one connection has.
            let number = if near { number % 4096 } else { number };
            match kind {
                0..=2 => {
                    let payload = Payload { bytes: &whole[..captured.min(len)], len };
                    test.with(|stream, at, room, seen| stream.segment(at, number, &payload, kind > 0, room, seen));
                }
                3 => test.acknowledge(number as usize),
                4 => test.with(|stream, at, room, seen| stream.give_up_acknowledged(at, room, seen)),
                _ => test.finish(number as usize),
            }
        }
        test.give_up();
        prop_assert_eq!(test.waiting, 0);
        prop_assert!(test.seen.ended.len() <= 1);
    }
}
