//! What may belong to a connection or not: kept until other segments tell.
//!
//! Anybody can send a segment with a connection's addresses, and a capture may lack what would explain one. So what a receiver
//! would refuse is not believed at once, and not thrown away at once either: it is kept, within bounds, until the other side
//! answers it or its sender goes on elsewhere.

use crate::{
    connection::Seen,
    parked::Parked,
    receiver::{Receivers, ahead, behind},
    stream::Room,
};
use weir_protocols::Side;
use weir_records::Timestamp;

/// Segments in a row, of which none is believed, that are kept: more are no mistake, and their receiver is not to be seen.
const ROW: usize = 16;
/// A SYN that is sent again after so long, in ns, and that nobody has answered, is one that its sender means.
const AGAIN: u64 = 500_000_000;
/// The time, in ns, that a reset waits for what speaks against it.
const RESET: u64 = 1_000_000_000;

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    stranger: Option<Stranger>,
    /// In a row, of the client and of the server.
    refused: [Vec<Parked>; 2],
    reset: Option<Reset>,
    /// What is not believed for good, of both sides.
    dropped: [Passed; 2],
}

/// Packets that have passed and count for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub packets: u64,
    pub wire_bytes: u64,
}

impl Passed {
    /// One packet of so many bytes.
    pub fn one(wire_len: usize) -> Self {
        Self {
            packets: 1,
            wire_bytes: wire_len as u64,
        }
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
    }
}

/// A SYN, or an answer to one, of another connection between the same sockets.
#[derive(Debug)]
struct Stranger {
    side: Side,
    parked: Parked,
    /// The other side has gone on with the old connection since.
    denied: bool,
}

/// A reset that is in the window and behind what was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reset {
    pub side: Side,
    pub at: Timestamp,
    pub sequence: u32,
    pub wire_len: usize,
}

/// What is found out of a stranger.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Another connection has begun with it.
    Another,
    /// The client has taken it for the answer to its SYN, and not the answer that was seen first.
    Answer,
}

fn place(side: Side) -> usize {
    usize::from(side == Side::Server)
}

impl Doubts {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.stranger.is_none() && self.reset.is_none() && self.refused.iter().all(Vec::is_empty)
    }

    /// What is not believed for good since this was last asked, of the client and of the server.
    pub fn take_dropped(&mut self) -> [Passed; 2] {
        std::mem::take(&mut self.dropped)
    }

    fn drop(&mut self, side: Side, wire_len: usize) {
        self.dropped[place(side)].add(Passed::one(wire_len));
    }

    /// Nothing more is found out.
    pub fn give_up(&mut self, room: &mut Room<'_>) {
        self.drop_stranger(room);
        if let Some(reset) = self.reset.take() {
            self.drop(reset.side, reset.wire_len);
        }
        self.drop_row(Side::Client, room);
        self.drop_row(Side::Server, room);
    }

    /// Client and server change their places.
    pub fn swap(&mut self, other: impl Fn(Side) -> Side) {
        self.refused.swap(0, 1);
        self.dropped.swap(0, 1);
        if let Some(stranger) = &mut self.stranger {
            stranger.side = other(stranger.side);
        }
        if let Some(reset) = &mut self.reset {
            reset.side = other(reset.side);
        }
    }

    /// Keeps a SYN that is not the connection's.
    pub fn meet(&mut self, side: Side, seen: &Seen<'_>, room: &mut Room<'_>) {
        if let Some(old) = &self.stranger
            && old.side == side
            && old.parked.seen().segment.sequence == seen.segment.sequence
        {
            return self.drop(side, seen.wire_len); // once more
        }
        self.drop_stranger(room);
        match Parked::new(seen, room) {
            Some(parked) => {
                self.stranger = Some(Stranger {
                    side,
                    parked,
                    denied: false,
                });
            }
            None => self.drop(side, seen.wire_len),
        }
    }

    fn drop_stranger(&mut self, room: &mut Room<'_>) {
        let side = self.stranger.as_ref().map(|stranger| stranger.side);
        if let Some((side, parked)) = side.zip(self.take_stranger(room)) {
            self.drop(side, parked.seen().wire_len);
        }
    }

    /// The stranger, which waits no longer.
    pub fn take_stranger(&mut self, room: &mut Room<'_>) -> Option<Parked> {
        let stranger = self.stranger.take()?;
        stranger.parked.release(room);
        Some(stranger.parked)
    }

    /// A segment of `side` is taken, with bytes that are new or not: what does not fit beside it is dropped.
    pub fn hear(
        &mut self,
        side: Side,
        seen: &Seen<'_>,
        is_new: bool,
        receivers: &Receivers,
        room: &mut Room<'_>,
    ) {
        if let Some(stranger) = &mut self.stranger
            && stranger.side != side
        {
            stranger.denied = true; // it goes on as if there were none
        }
        if is_new {
            self.drop_row(side, room);
        }
        self.contradict(side, seen, receivers);
    }

    /// What this segment tells of the stranger.
    pub fn find(&self, side: Side, seen: &Seen<'_>, receivers: &Receivers) -> Option<Finding> {
        let stranger = self.stranger.as_ref()?;
        let first = stranger.parked.seen();
        let (asked, segment) = (&first.segment, &seen.segment);
        let begin = asked.sequence.wrapping_add(1);
        let len = asked.payload.len as u32;
        let names = |number: u32, begin: u32, len: u32| number.wrapping_sub(begin) <= len;
        // Numbers that the connection has already say nothing.
        let is_new = |number: u32| names(number, begin, len) && !receivers.has_reached(stranger.side, number);
        if side == stranger.side {
            let again = segment.syn
                && segment.sequence == asked.sequence
                && seen.at.since(first.at) >= AGAIN
                && asked.acknowledged.is_none();
            let goes_on = !segment.syn && !segment.rst && is_new(segment.sequence);
            return (!stranger.denied && (again || goes_on)).then_some(Finding::Another);
        }
        let another = match (asked.acknowledged, segment.acknowledged) {
            // The answer to a SYN: one of its own, or a refusal.
            (None, Some(next)) => (segment.syn || segment.rst) && names(next, begin, len),
            // The SYN that was answered.
            (Some(next), None) => {
                let begin = segment.sequence.wrapping_add(1);
                segment.syn && names(next, begin, segment.payload.len as u32)
            }
            // The answer is acknowledged.
            (Some(answered), Some(next)) => {
                if segment.syn || segment.rst || !is_new(next) {
                    return None;
                }
                !receivers.is_syn_answered(side, answered)
            }
            (None, None) => return None,
        };
        match another {
            true => Some(Finding::Another),
            false => {
                (asked.acknowledged.is_some() && !segment.syn && !segment.rst).then_some(Finding::Answer)
            }
        }
    }

    /// Keeps a segment that was refused, in a row with those before it.
    pub fn keep(&mut self, side: Side, seen: &Seen<'_>, room: &mut Room<'_>) {
        let row = &self.refused[place(side)];
        let follows = row
            .last()
            .is_some_and(|last| behind(&last.seen().segment) == seen.segment.sequence);
        if !follows {
            self.drop_row(side, room);
        }
        match Parked::new(seen, room) {
            Some(parked) => self.refused[place(side)].push(parked),
            None => {
                self.drop_row(side, room);
                self.drop(side, seen.wire_len);
            }
        }
    }

    /// What is kept of this side is not believed.
    pub fn drop_row(&mut self, side: Side, room: &mut Room<'_>) {
        for parked in std::mem::take(&mut self.refused[place(side)]) {
            parked.release(room);
            self.drop(side, parked.seen().wire_len);
        }
    }

    /// The segments of `side`, which wait no longer, if they are to be believed: the other side expects what follows them, or
    /// there are many.
    pub fn believe(
        &mut self,
        side: Side,
        expected: Option<u32>,
        window: i64,
        room: &mut Room<'_>,
    ) -> Vec<Parked> {
        let row = &mut self.refused[place(side)];
        let (Some(first), Some(last)) = (row.first(), row.last()) else {
            return Vec::new();
        };
        let (from, to) = (first.seen().segment.sequence, behind(&last.seen().segment));
        let is_expected =
            expected.is_some_and(|expected| ahead(expected, from) > 0 && ahead(expected, to) <= window);
        if !is_expected && row.len() < ROW {
            return Vec::new();
        }
        let row = std::mem::take(row);
        row.iter().for_each(|parked| parked.release(room));
        row
    }

    /// A reset that is not certain.
    pub fn reset(&mut self, reset: Reset) {
        self.reset.get_or_insert(reset);
    }

    /// A segment that was taken may speak against a reset of its own side, or of the other, which asks what it is about.
    fn contradict(&mut self, side: Side, seen: &Seen<'_>, receivers: &Receivers) {
        let Some(reset) = self.reset else { return };
        let expected = receivers.expected(reset.side);
        let segment = &seen.segment;
        let contradicts = match side == reset.side {
            true if segment.payload.len > 0 => ahead(behind(segment), reset.sequence) > 0,
            true => segment.sequence != reset.sequence,
            // What was acknowledged before is acknowledged again (RFC 5961, 3.2).
            false => segment.payload.len == 0 && !segment.fin && segment.acknowledged == expected,
        };
        if contradicts {
            self.reset = None;
            self.drop(reset.side, reset.wire_len);
        }
    }

    /// Takes the reset back.
    pub fn take_reset(&mut self) -> Option<Reset> {
        self.reset.take()
    }

    /// True if a reset counts: all before it has come, or nothing has spoken against it for long enough.
    pub fn is_reset(&self, now: Timestamp, has_come: impl Fn(&Reset) -> bool) -> bool {
        self.reset
            .is_some_and(|reset| now.since(reset.at) >= RESET || has_come(&reset))
    }
}
