//! Segments that were captured before what they answer.
//!
//! Packets may change places by some milliseconds where a capture has several sources (queues of a network card, two
//! interfaces, files put together). A segment that acknowledges bytes which nobody has seen waits for these, and with it what its
//! sender has sent since: then a request still comes before its answer. What has not come after that was missed.

use super::{Connection, Seen, other};
use crate::{flow::Context, parked::Parked, receiver::ahead, stream::Room};
use weir_records::Timestamp;

/// The longest time, in ns, that a segment waits.
const WAIT: u64 = 50_000_000;
/// The most segments of a connection that wait.
const MOST: usize = 32;

impl Connection {
    /// Keeps a segment that has to wait. False if it need not, or there is no room: then nothing waits any longer.
    pub(super) fn keeps(&mut self, seen: &Seen<'_>, room: &mut Room<'_>, context: &mut Context<'_>) -> bool {
        if !self.is_early(seen) && !Self::is_behind(seen, &self.early) {
            return false;
        }
        if self.early.len() < MOST
            && let Some(parked) = Parked::new(seen, room)
        {
            self.early.push(parked);
            let of = other(self.side(seen.source));
            if let (Some(measure), Some(next)) = (self.observed.connection(), seen.segment.acknowledged) {
                measure.foretell(of, next);
            }
            return true;
        }
        self.stop_waiting(room, context);
        false
    }

    /// The segment acknowledges bytes that have not been seen.
    fn is_early(&self, seen: &Seen<'_>) -> bool {
        let of = other(self.side(seen.source));
        // Nothing is waited for where nothing of a side is captured.
        self.receivers.is_seen(of)
            && seen
                .segment
                .acknowledged
                .is_some_and(|next| self.stream(of).lacks(next))
    }

    /// Something waits that this segment's sender has sent before it.
    fn is_behind(seen: &Seen<'_>, early: &[Parked]) -> bool {
        early.iter().any(|parked| {
            let kept = parked.seen();
            kept.source == seen.source && ahead(seen.segment.sequence, kept.segment.sequence) > 0
        })
    }

    /// True if this segment waits already, as it was seen elsewhere.
    pub(super) fn waits_already(&self, seen: &Seen<'_>) -> bool {
        self.early.iter().any(|parked| {
            let kept = parked.seen();
            kept.source == seen.source
                && kept.segment.sequence == seen.segment.sequence
                && kept.segment.acknowledged == seen.segment.acknowledged
                && kept.segment.payload.len == seen.segment.payload.len
        })
    }

    /// What need not wait any longer is taken, in its order.
    pub(super) fn take_early(&mut self, now: Timestamp, room: &mut Room<'_>, context: &mut Context<'_>) {
        let mut at = 0;
        while at < self.early.len() {
            let seen = self.early[at].seen();
            let is_over = at == 0 && now.since(seen.at) >= WAIT;
            if !is_over && (Self::is_behind(&seen, &self.early[..at]) || self.is_early(&seen)) {
                at += 1;
                continue;
            }
            let parked = self.early.remove(at);
            parked.release(room);
            self.accept(&parked.seen(), false, room, context);
            at = 0; // others may have waited for that
        }
    }

    /// Nothing waits any longer.
    pub(super) fn stop_waiting(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) {
        for parked in std::mem::take(&mut self.early) {
            parked.release(room);
            self.accept(&parked.seen(), false, room, context);
        }
    }
}
