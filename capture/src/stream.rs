//! One direction of a TCP connection: segments in, bytes in order out.
//!
//! Places in the stream are counted from its beginning in 64 bits, so that sequence numbers may wrap. Bytes come out as
//! soon as all before them have; what comes early waits, and of bytes that come twice those count that came first. What
//! is missing is given up, as a gap of known size, when it can't come any more: the other side has acknowledged it, the
//! wait has been too long, memory has reached its bound, or the connection is over.

use crate::packet::Payload;
use std::collections::BTreeMap;
use weir_records::Timestamp;

/// What a waiting piece costs beside its bytes.
pub(crate) const PIECE: usize = 96;
/// No window is larger (RFC 7323, 2.3): a number further away belongs to something else.
const WINDOW: i64 = 1 << 30;
/// Bytes that are usually under way at once, at most: two streams that are so near to each other are one.
const NEAR: i64 = 1 << 22;

/// Who gets the bytes.
pub(crate) trait Feed {
    fn data(&mut self, at: Timestamp, bytes: &[u8]);
    fn gap(&mut self, at: Timestamp, missed: Option<u64>);
    fn end(&mut self, at: Timestamp);
}

/// Memory for what waits: of this stream, and of all.
pub(crate) struct Room<'a> {
    /// Most bytes that may wait in this stream.
    pub stream: usize,
    /// Most bytes that may wait in all.
    pub total: usize,
    /// Bytes that do.
    pub waiting: &'a mut usize,
    /// Times that the wait for missing bytes was ended for want of room.
    pub ended: u64,
}

/// How a segment stood to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    InOrder,
    /// Others are missing before it.
    Early,
    /// All of its bytes had been seen.
    Repeated,
}

/// A piece that waits for others before it.
#[derive(Debug)]
struct Piece {
    at: Timestamp,
    /// What was captured of it.
    bytes: Box<[u8]>,
    /// What there was of it.
    len: i64,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The sequence number of place 0, once it is known.
    base: Option<u32>,
    /// `base` was taken from an acknowledgement in a connection joined late: bytes before the first that are seen may have
    /// passed before the capture began.
    provisional: bool,
    /// Place of the next byte that is to come out.
    next: i64,
    /// Pieces behind `next`, by their place; they never overlap.
    pieces: BTreeMap<i64, Piece>,
    /// What `pieces` cost.
    waiting: usize,
    /// Since when the oldest of them has waited.
    since: Timestamp,
    /// All before this has been acknowledged.
    acknowledged: i64,
    /// Where it ends.
    fin: Option<i64>,
    ended: bool,
    /// Nobody needs the bytes: only places are kept, and what is missing is told all the same.
    unwanted: bool,
}

impl Stream {
    /// The first byte will have this sequence number.
    pub fn begin(&mut self, sequence: u32, provisional: bool) {
        if self.base.is_none() {
            (self.base, self.provisional) = (Some(sequence), provisional);
        }
    }

    /// The first byte has this number, whatever an acknowledgement made of it before. (It may be that of bytes that came with
    /// a SYN which was captured after its answer.)
    pub fn begin_at(&mut self, sequence: u32) {
        if self.is_untouched() {
            self.acknowledged += self.base.map_or(0, |base| i64::from(base.wrapping_sub(sequence)));
            (self.base, self.provisional) = (Some(sequence), false);
        }
    }

    /// Nothing was seen of it.
    pub fn is_untouched(&self) -> bool {
        self.next == 0 && self.pieces.is_empty()
    }

    /// Bytes before this number have not come. Of an end that was not seen nobody can tell, since that has a number too.
    pub fn lacks(&self, sequence: u32) -> bool {
        let place = self.place(sequence);
        let place = self.fin.map_or(place, |fin| place.min(fin));
        self.base.is_some() && !self.provisional && place > self.next && place - self.next <= WINDOW
    }

    /// All before this number has come out.
    pub fn has_come_to(&self, sequence: u32) -> bool {
        self.base.is_some() && self.place(sequence) <= self.next
    }

    pub fn has_begun(&self) -> bool {
        self.base.is_some()
    }

    /// All that it was to bring has come out.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What waits here costs so many bytes.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The place that a sequence number means: the one nearest to the next byte.
    fn place(&self, sequence: u32) -> i64 {
        let base = self.base.unwrap_or(sequence);
        // Truncation is meant: sequence numbers are the places' lower half.
        let next = base.wrapping_add(self.next as u32);
        self.next + i64::from(sequence.wrapping_sub(next) as i32)
    }

    /// True if this number is not far from the next byte's.
    pub fn is_near(&self, sequence: u32) -> bool {
        self.base.is_some() && (self.place(sequence) - self.next).abs() < NEAR
    }

    /// True if bytes at this number would be the next.
    pub fn is_new(&self, sequence: u32, len: usize) -> bool {
        len > 0 && (self.base.is_none() || self.place(sequence) + len as i64 > self.next)
    }

    /// A segment that begins with this number. `wanted` is false where nobody needs its bytes: then none are kept.
    pub fn segment(
        &mut self,
        at: Timestamp,
        sequence: u32,
        payload: &Payload<'_>,
        wanted: bool,
        room: &mut Room<'_>,
        feed: &mut dyn Feed,
    ) -> Arrival {
        self.begin(sequence, false);
        if std::mem::take(&mut self.provisional) && self.place(sequence) > self.next {
            self.next = self.place(sequence);
        }
        if (self.place(sequence) - self.next).abs() > WINDOW && self.fin.is_none() {
            self.begin_again(at, sequence, room, feed);
        }
        let start = self.place(sequence);
        let mut end = start + payload.len as i64;
        if let Some(fin) = self.fin {
            end = end.min(fin);
        }
        if end <= self.next {
            return Arrival::Repeated;
        }
        let arrival = match start > self.next {
            true => Arrival::Early,
            false => Arrival::InOrder,
        };
        self.unwanted = !wanted;
        let bytes = if wanted { payload.bytes } else { &[] };
        self.take(at, start, end, bytes, room, feed);
        arrival
    }

    /// The numbers have nothing to do with those before: too much is missing in between to know how much.
    fn begin_again(&mut self, at: Timestamp, sequence: u32, room: &mut Room<'_>, feed: &mut dyn Feed) {
        self.give_up(at, room, feed);
        feed.gap(at, None);
        self.base = Some(sequence.wrapping_sub(self.next as u32));
        self.acknowledged = self.next;
    }

    fn take(
        &mut self,
        at: Timestamp,
        start: i64,
        end: i64,
        bytes: &[u8],
        room: &mut Room<'_>,
        feed: &mut dyn Feed,
    ) {
        loop {
            let from = start.max(self.next);
            if from >= end {
                return; // giving up what was missing has brought these bytes out
            }
            let bytes = bytes.get((from - start) as usize..).unwrap_or_default();
            let bytes = &bytes[..bytes.len().min((end - from) as usize)];
            if from == self.next {
                let until = self
                    .pieces
                    .first_key_value()
                    .map_or(end, |(first, _)| end.min(*first));
                let now = bytes.len().min((until - from) as usize);
                self.deliver(at, &bytes[..now], until - from, feed);
                self.drain(room, feed);
                self.check_end(at, feed);
                continue;
            }
            let cost = bytes.len() + PIECE * (1 + self.pieces.range(from..end).count());
            if self.waiting + cost <= room.stream && *room.waiting + cost <= room.total {
                self.keep(at, from, end, bytes, room);
                return;
            }
            room.ended += 1;
            if !self.give_up_first(room, feed) {
                feed.gap(at, Some((from - self.next) as u64));
                self.next = from;
            }
        }
    }

    /// Keeps what is new of a piece.
    fn keep(&mut self, at: Timestamp, from: i64, end: i64, bytes: &[u8], room: &mut Room<'_>) {
        if self.pieces.is_empty() {
            self.since = at;
        }
        let before = self.pieces.range(..=from).next_back();
        let mut place = before.map_or(from, |(start, piece)| from.max(start + piece.len));
        while place < end {
            let after = self.pieces.range(place..).next();
            let (until, resume) = match after {
                Some((start, piece)) if *start < end => (*start, start + piece.len),
                _ => (end, end),
            };
            if until > place {
                let known = bytes.get((place - from) as usize..).unwrap_or_default();
                let known = &known[..known.len().min((until - place) as usize)];
                self.waiting += known.len() + PIECE;
                *room.waiting += known.len() + PIECE;
                let piece = Piece {
                    at,
                    bytes: known.into(),
                    len: until - place,
                };
                self.pieces.insert(place, piece);
            }
            place = resume;
        }
    }

    /// The next bytes, of which the last may not have been captured.
    fn deliver(&mut self, at: Timestamp, bytes: &[u8], len: i64, feed: &mut dyn Feed) {
        if !bytes.is_empty() {
            feed.data(at, bytes);
        }
        let missed = len - bytes.len() as i64;
        if missed > 0 && !self.unwanted {
            feed.gap(at, Some(missed as u64));
        }
        self.next += len;
    }

    /// Pieces that are next come out.
    fn drain(&mut self, room: &mut Room<'_>, feed: &mut dyn Feed) {
        while let Some(first) = self.pieces.first_entry()
            && *first.key() <= self.next
        {
            let piece = first.remove();
            self.waiting -= piece.bytes.len() + PIECE;
            *room.waiting -= piece.bytes.len() + PIECE;
            self.deliver(piece.at, &piece.bytes, piece.len, feed);
        }
        if let Some((_, first)) = self.pieces.first_key_value() {
            self.since = first.at;
        }
    }

    /// What is missing before the first piece is given up; false if no piece waits.
    fn give_up_first(&mut self, room: &mut Room<'_>, feed: &mut dyn Feed) -> bool {
        let Some((first, piece)) = self.pieces.first_key_value() else {
            return false;
        };
        let at = piece.at;
        feed.gap(at, Some((first - self.next) as u64));
        self.next = *first;
        self.drain(room, feed);
        self.check_end(at, feed);
        true
    }

    /// No more is waited for.
    pub fn give_up(&mut self, at: Timestamp, room: &mut Room<'_>, feed: &mut dyn Feed) {
        while self.give_up_first(room, feed) {}
        // The end was seen, and bytes before it were not.
        if let Some(fin) = self.fin
            && fin > self.next
        {
            feed.gap(at, Some((fin - self.next) as u64));
            self.next = fin;
            self.check_end(at, feed);
        }
    }

    /// All before this number was sent, and is not waited for.
    pub fn give_up_before(&mut self, at: Timestamp, sequence: u32, feed: &mut dyn Feed) {
        let place = self.place(sequence);
        if self.base.is_some() && place > self.next && place - self.next <= WINDOW {
            feed.gap(at, Some((place - self.next) as u64));
            self.next = place;
        }
    }

    /// What has been missing for this long, in ns, is given up.
    pub fn give_up_old(&mut self, at: Timestamp, patience: u64, room: &mut Room<'_>, feed: &mut dyn Feed) {
        while !self.pieces.is_empty() && at.since(self.since) >= patience {
            self.give_up_first(room, feed);
        }
    }

    /// The other side expects this number next: what is missing before bytes that it has got is not sent again.
    pub fn acknowledge(&mut self, sequence: u32, room: &mut Room<'_>, feed: &mut dyn Feed) {
        let place = self.place(sequence);
        if place - self.next > WINDOW {
            return;
        }
        let place = self.fin.map_or(place, |fin| place.min(fin));
        self.acknowledged = match self.acknowledged > self.next {
            true => place.max(self.next), // the latest word, where nobody has seen what it speaks of
            false => place.max(self.acknowledged),
        };
        while let Some((first, _)) = self.pieces.first_key_value()
            && *first <= self.acknowledged
        {
            self.give_up_first(room, feed);
        }
    }

    /// The other side goes on: what it has acknowledged and nobody has seen is given up. (An acknowledgement alone may have
    /// been captured before what it acknowledges.)
    pub fn give_up_acknowledged(&mut self, at: Timestamp, room: &mut Room<'_>, feed: &mut dyn Feed) {
        if self.acknowledged > self.next {
            if !std::mem::take(&mut self.provisional) {
                feed.gap(at, Some((self.acknowledged - self.next) as u64));
            }
            self.next = self.acknowledged;
            self.drain(room, feed);
            self.check_end(at, feed);
        }
    }

    /// As [`Self::give_up_acknowledged`] where the other side may have acknowledged an end that was not seen either, which
    /// counts as one byte: how much is missing is not known, and a single byte is nothing but that.
    pub fn give_up_acknowledged_end(&mut self, at: Timestamp, feed: &mut dyn Feed) {
        if self.acknowledged > self.next + 1 {
            feed.gap(at, None);
            self.next = self.acknowledged;
        }
    }

    /// It ends before this sequence number.
    pub fn finish(&mut self, at: Timestamp, sequence: u32, feed: &mut dyn Feed) {
        self.begin(sequence, false);
        if self.fin.is_none() {
            self.fin = Some(self.place(sequence).max(self.next));
        }
        self.check_end(at, feed);
    }

    fn check_end(&mut self, at: Timestamp, feed: &mut dyn Feed) {
        if !self.ended && self.fin.is_some_and(|fin| fin <= self.next) {
            self.ended = true;
            feed.end(at);
        }
    }
}

#[cfg(test)]
mod tests;
