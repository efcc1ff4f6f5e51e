//! What one side of a TCP connection sends, counted by its sequence numbers.
//!
//! Places in the stream are counted from the first byte in 64 bits, as in `stream`. Which bytes were seen is known by how far
//! the stream has come and by the holes in that, of which so many are kept and no more; payload itself is not looked at.

use super::round_trips::{Answer, Flight, RoundTrips};
use crate::{connection::Seen, doubt::Passed, options::Options};
use weir_records::{Sent, Timestamp};

/// No window is larger (RFC 7323, 2.3): a number further away belongs to something else.
const WINDOW: i64 = 1 << 30;
/// Most holes that are kept; past it the oldest counts as missed.
const HOLES: usize = 32;
/// Without time stamps and a measured round trip, in ns: what fills a hole so soon was sent before, and only came later.
const SOON: u64 = 3_000_000;

/// Bytes that others were seen behind.
#[derive(Clone, Copy, Debug)]
struct Hole {
    from: i64,
    to: i64,
    /// When the segment behind it was seen, and the sender's clock in that.
    at: Timestamp,
    stamp: Option<u32>,
}

/// One side.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// The sequence number of place 0, once it is known.
    base: Option<u32>,
    /// `base` is what the other side expected when the connection was joined: bytes may have passed before.
    provisional: bool,
    /// What was sent before here was seen, but for the holes.
    top: i64,
    /// All before here has been acknowledged.
    pub acknowledged: i64,
    /// Where it ends.
    fin: Option<i64>,
    /// The number of its SYN.
    pub syn: Option<u32>,
    /// Bytes that came with it.
    with_syn: u32,
    /// The largest segment that it takes, as its SYN says.
    pub largest: Option<u16>,
    holes: Vec<Hole>,
    /// All before this number had come before it was seen.
    pub foretold: Option<u32>,
    /// Bytes of holes that no longer are waited for.
    missed: i64,
    /// It takes no more for now.
    closed: bool,
    pub packets: u64,
    wire_bytes: u64,
    pub retransmits: u64,
    out_of_order: u64,
    zero_windows: u64,
    pub resets: u64,
    pub trips: RoundTrips,
}

/// A segment's bytes by what was known of them.
#[derive(Debug, Default)]
struct Parts {
    old: i64,
    /// In holes, and the last of these.
    filled: i64,
    hole: Option<Hole>,
    new: i64,
}

impl Meter {
    /// The first byte has this number, unless that is known.
    pub fn begin(&mut self, sequence: u32, provisional: bool) {
        if self.base.is_none() {
            (self.base, self.provisional) = (Some(sequence), provisional);
        }
    }

    /// The first byte has this number, whatever an acknowledgement has made of it before.
    fn begin_with_syn(&mut self, first: u32) {
        if self.top == 0 && self.holes.is_empty() {
            self.acknowledged += self.base.map_or(0, |base| i64::from(base.wrapping_sub(first)));
            (self.base, self.provisional) = (Some(first), false);
        }
    }

    /// Packets of it have passed that the other side does not take.
    pub fn passed(&mut self, passed: Passed) {
        self.packets += passed.packets;
        self.wire_bytes += passed.wire_bytes;
    }

    /// Another SYN than was taken for its own is: nothing but packets counts of what was seen before.
    pub fn begin_again(&mut self) {
        *self = Self {
            packets: self.packets,
            wire_bytes: self.wire_bytes,
            ..Self::default()
        };
    }

    /// True if this acknowledges its SYN, and no more than came with it.
    pub fn is_answered(&self, next: u32) -> bool {
        self.syn
            .is_some_and(|syn| next.wrapping_sub(syn.wrapping_add(1)) <= self.with_syn)
    }

    /// The place that a number means: the one nearest to where the stream has come to.
    fn place(&self, sequence: u32) -> i64 {
        let base = self.base.unwrap_or(sequence);
        // Truncation is meant: sequence numbers are the places' lower half.
        let top = base.wrapping_add(self.top as u32);
        self.top + i64::from(sequence.wrapping_sub(top) as i32)
    }

    /// It has sent a segment. `largest` is what one of the network holds, if that is known.
    pub fn sends(&mut self, seen: &Seen<'_>, options: &Options, late: bool, largest: Option<usize>) {
        let segment = &seen.segment;
        let len = segment.payload.len;
        // What the network card cuts, or has put together, counts as what passes the network.
        let count = match largest {
            Some(largest) if largest > 0 => len.div_ceil(largest).max(1) as u64,
            _ => 1,
        };
        self.packets += count;
        self.wire_bytes += seen.wire_len as u64 + (count - 1) * seen.wire_len.saturating_sub(len) as u64;
        if segment.rst {
            self.resets += 1;
            return;
        }
        if !segment.syn {
            let closed = segment.window == 0;
            self.zero_windows += u64::from(closed && !self.closed);
            self.closed = closed;
        }
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        if segment.syn {
            self.begin_with_syn(first);
            self.with_syn = self.with_syn.max(len as u32);
        }
        if len > 0 || segment.syn || segment.fin {
            self.begin_at(first, late);
            self.stretch(seen, options, first, count);
        }
    }

    /// The stream is here, wherever it was taken to be.
    fn begin_at(&mut self, first: u32, late: bool) {
        self.begin(first, late);
        let place = self.place(first);
        if std::mem::take(&mut self.provisional) && self.top == 0 && place > 0 {
            self.base = Some(first);
            self.acknowledged = 0;
        } else if (place - self.top).abs() > WINDOW && self.fin.is_none() {
            // Nobody knows how much lies between.
            self.base = Some(first.wrapping_sub(self.top as u32));
            self.give_up(self.top);
            self.acknowledged = self.top;
            self.trips.forget(self.top);
        }
    }

    /// A segment that takes part of the sequence: payload, SYN or FIN.
    fn stretch(&mut self, seen: &Seen<'_>, options: &Options, first: u32, count: u64) {
        let segment = &seen.segment;
        let from = self.place(first);
        let to = match self.fin {
            Some(fin) => (from + segment.payload.len as i64).min(fin.max(from)),
            None => from + segment.payload.len as i64,
        };
        let ends = segment.fin && self.fin.is_none();
        let begins = segment.syn && self.syn.replace(segment.sequence) != Some(segment.sequence);
        let stamp = options.timestamps.map(|(value, _)| value);
        let top = self.top;
        let parts = self.parts(from, to, seen.at, stamp);
        if ends {
            self.fin = Some(to.max(self.top));
        }
        let flight = Flight {
            from: from - i64::from(segment.syn),
            to: to + i64::from(segment.fin),
            at: seen.at,
            stamp,
        };
        if begins || ends || parts.new > 0 {
            let from = flight.from.max(top - i64::from(begins));
            self.trips.sent(Flight { from, ..flight });
        }
        if !(begins || ends) && parts.new == 0 && parts.filled == 0 {
            let is_probe = to - from <= 1 && !segment.fin && !segment.syn && to <= self.acknowledged;
            if !is_probe {
                self.retransmits += count;
                self.trips.resent(flight);
            }
            return;
        }
        let size = (segment.payload.len as u64).div_ceil(count).max(1);
        if parts.old > 0 {
            // Part of it alone: whole packets of the network, where they were put together, count.
            self.retransmits += match count {
                1 => 0,
                _ => parts.old as u64 / size,
            };
            let to = flight.to.min(top.max(flight.from));
            self.trips.resent(Flight { to, ..flight });
        }
        if let Some(hole) = parts.hole {
            let packets = (parts.filled as u64).div_ceil(size);
            let has_come = self.foretold.is_some_and(|next| self.place(next) >= to);
            if !has_come && self.is_again(&hole, seen.at, stamp) {
                self.retransmits += packets;
                self.trips.resent(flight);
            } else {
                self.out_of_order += packets;
            }
        }
    }

    /// What is new of a stretch; it is known from now on.
    fn parts(&mut self, from: i64, to: i64, at: Timestamp, stamp: Option<u32>) -> Parts {
        let mut parts = Parts::default();
        if self.holes.is_empty() && self.foretold.is_some_and(|next| self.place(next) <= self.top) {
            self.foretold = None; // it was seen
        }
        if from > self.top {
            self.open(Hole {
                from: self.top,
                to: from,
                at,
                stamp,
            });
        }
        parts.new = (to - from.max(self.top)).max(0);
        if from < self.top && !self.holes.is_empty() {
            self.fill(from, to.min(self.top), &mut parts);
        }
        parts.old = (to - from) - parts.new - parts.filled;
        self.top = self.top.max(to).max(from);
        parts
    }

    fn open(&mut self, mut hole: Hole) {
        // The other side has it, and it was not seen here.
        let come = self.acknowledged.clamp(hole.from, hole.to);
        self.missed += come - hole.from;
        hole.from = come;
        if hole.from == hole.to {
            return;
        }
        if self.holes.len() == HOLES {
            let oldest = self.holes.remove(0);
            self.missed += oldest.to - oldest.from;
        }
        self.holes.push(hole);
    }

    /// Fills holes with a stretch.
    fn fill(&mut self, from: i64, to: i64, parts: &mut Parts) {
        let mut left = Vec::with_capacity(self.holes.len() + 1);
        for hole in self.holes.drain(..) {
            let (first, last) = (hole.from.max(from), hole.to.min(to));
            if first >= last {
                left.push(hole);
                continue;
            }
            parts.filled += last - first;
            parts.hole = Some(hole);
            let rest = [(hole.from, first), (last, hole.to)];
            let rest = rest.into_iter().filter(|(from, to)| from < to);
            left.extend(rest.map(|(from, to)| Hole { from, to, ..hole }));
        }
        // A hole in two parts may be one too many.
        while left.len() > HOLES {
            let oldest = left.remove(0);
            self.missed += oldest.to - oldest.from;
        }
        self.holes = left;
    }

    /// What fills this hole was sent for the second time, and did not just come late.
    fn is_again(&self, hole: &Hole, at: Timestamp, stamp: Option<u32>) -> bool {
        match (stamp, hole.stamp) {
            // (The later of two, though the clock wraps.)
            (Some(now), Some(then)) => now.wrapping_sub(then).cast_signed() > 0,
            _ => at.since(hole.at) > self.trips.smoothed().unwrap_or(SOON),
        }
    }

    /// The other side has all before this number.
    pub fn is_acknowledged(&mut self, next: u32, at: Timestamp, options: &Options) {
        let place = self.place(next);
        if (place - self.top).abs() > WINDOW {
            return;
        }
        self.trips.answered(&Answer {
            until: place,
            at,
            echo: options.timestamps.map(|(_, echo)| echo),
            block: options.block.map(|(from, to)| (self.place(from), self.place(to))),
        });
        if self.acknowledged > self.top {
            self.acknowledged = place.max(self.top); // the latest word, where nobody has seen what it speaks of
        }
        if place > self.acknowledged {
            self.acknowledged = place;
            if !self.holes.is_empty() {
                self.give_up(place);
            }
        }
    }

    /// Holes before this place count as missed.
    fn give_up(&mut self, until: i64) {
        for hole in &mut self.holes {
            let come = until.clamp(hole.from, hole.to);
            self.missed += come - hole.from;
            hole.from = come;
        }
        self.holes.retain(|hole| hole.from < hole.to);
    }

    /// Its end was seen, and the other side has it.
    pub fn is_through(&self) -> bool {
        self.fin.is_some_and(|fin| self.acknowledged > fin)
    }

    /// Where payload ends, as far as that is known. What was acknowledged and not seen may have had an end, which counts as
    /// one byte.
    fn end(&self) -> i64 {
        match self.fin {
            Some(fin) => fin,
            None => self.top.max(self.acknowledged - 1),
        }
    }

    /// Something was sent.
    pub fn has_payload(&self) -> bool {
        self.end() > 0
    }

    /// What it has sent until now; holes are no longer waited for in the `last` account.
    pub fn sent(&self, last: bool) -> Sent {
        let end = self.end();
        let open: i64 = self.holes.iter().map(|hole| hole.to - hole.from).sum();
        let missed = self.missed + (end - self.top).max(0) + if last { open } else { 0 };
        Sent {
            bytes: end.max(0).unsigned_abs(),
            packets: self.packets,
            wire_bytes: Some(self.wire_bytes),
            retransmits: Some(self.retransmits),
            out_of_order: Some(self.out_of_order),
            zero_windows: Some(self.zero_windows),
            resets: Some(self.resets),
            missed_bytes: Some(missed.max(0).unsigned_abs()),
            rtt: self.trips.smoothed(),
            rtt_variation: self.trips.variation(),
        }
    }
}
