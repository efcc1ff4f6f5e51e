//! What becomes of a segment: its receiver's judgement, and what follows from that.

use super::{Connection, Seen, other};
use crate::{
    doubt::{Passed, Reset},
    flow::Context,
    packet::Segment,
    receiver::{Judgement, ResetJudgement},
    stream::{Arrival, Feed, Room},
};
use weir_protocols::{Close, Side};
use weir_records::{FlowEnd, Timestamp};

impl Connection {
    /// Takes a segment.
    pub fn take(&mut self, seen: &Seen<'_>, room: &mut Room<'_>, context: &mut Context<'_>) {
        self.observed.seen(seen.at);
        let side = self.side(seen.source);
        if self.was_seen_elsewhere(side, seen) {
            context.counters.duplicates += 1;
            return;
        }
        if self.over {
            return self.take_late(side, seen, context);
        }
        if self.doubts.is_some() {
            self.hear(side, seen, room, context);
        }
        if !self.over && self.judge(side, seen, room, context) && !self.keeps(seen, room, context) {
            self.accept(seen, false, room, context);
        }
        if !self.early.is_empty() {
            self.take_early(self.observed.last, room, context);
        }
        if self.doubts.is_some() {
            self.decide(seen, room, context);
        }
    }

    /// A segment of a connection that is over: a repeat, or its last acknowledgement.
    fn take_late(&mut self, side: Side, seen: &Seen<'_>, context: &mut Context<'_>) {
        let segment = &seen.segment;
        context.counters.repeated_segments += u64::from(segment.payload.len > 0);
        let late = self.observed.late;
        let is_taken = match segment.rst {
            true => self.receivers.judge_reset(side, segment) == ResetJudgement::Taken,
            false => self.receivers.judge(side, segment) == Judgement::Taken,
        };
        let is_through = self.observed.connection().is_some_and(|measure| {
            match is_taken {
                true => measure.take(side, seen, late),
                false => measure.passed(side, Passed::one(seen.wire_len)),
            }
            measure.is_through()
        });
        if is_through {
            self.observed.report_end(context);
        }
    }

    /// True if the receiver takes the segment. What others may explain is kept.
    fn judge(&mut self, side: Side, seen: &Seen<'_>, room: &mut Room<'_>, context: &mut Context<'_>) -> bool {
        let segment = &seen.segment;
        if segment.rst {
            return self.judge_reset(side, seen, context);
        }
        if segment.syn && !self.receivers.owns(side, segment) {
            self.doubts.get_or_insert_default().meet(side, seen, room);
            return false;
        }
        match self.receivers.judge(side, segment) {
            Judgement::Taken => return true,
            Judgement::Refused if !segment.syn && (segment.payload.len > 0 || segment.fin) => {
                self.doubts.get_or_insert_default().keep(side, seen, room);
            }
            Judgement::Refused => self.refuse(side, Passed::one(seen.wire_len), context),
            Judgement::Old => {
                context.counters.repeated_segments += u64::from(segment.payload.len > 0);
                if let Some(measure) = self.observed.connection() {
                    measure.repeated(side, seen);
                }
            }
        }
        false
    }

    fn judge_reset(&mut self, side: Side, seen: &Seen<'_>, context: &mut Context<'_>) -> bool {
        match self.receivers.judge_reset(side, &seen.segment) {
            ResetJudgement::Taken => return true,
            ResetJudgement::Refused => self.refuse(side, Passed::one(seen.wire_len), context),
            ResetJudgement::Doubted => self.doubts.get_or_insert_default().reset(Reset {
                side,
                at: seen.at,
                sequence: seen.segment.sequence,
                wire_len: seen.wire_len,
            }),
        }
        false
    }

    /// Packets of `side` were seen that nobody takes.
    fn refuse(&mut self, side: Side, passed: Passed, context: &mut Context<'_>) {
        context.counters.refused_segments += passed.packets;
        if let Some(measure) = self.observed.connection() {
            measure.passed(side, passed);
        }
    }

    /// A segment may tell of those of the other side that wait, whatever becomes of it.
    fn hear(&mut self, side: Side, seen: &Seen<'_>, room: &mut Room<'_>, context: &mut Context<'_>) {
        let window = self.receivers.window(other(side));
        let Some(doubts) = &mut self.doubts else { return };
        for parked in doubts.believe(other(side), seen.segment.acknowledged, window, room) {
            self.accept(&parked.seen(), true, room, context);
        }
    }

    /// Looks what has come of those that wait, after a segment.
    fn decide(&mut self, seen: &Seen<'_>, room: &mut Room<'_>, context: &mut Context<'_>) {
        let side = self.side(seen.source);
        let window = self.receivers.window(side);
        let Some(doubts) = &mut self.doubts else { return };
        for parked in doubts.believe(side, None, window, room) {
            self.accept(&parked.seen(), true, room, context);
        }
        self.settle_doubts(self.observed.last, room, context);
    }

    /// What is doubted no longer has its consequences.
    pub(super) fn settle_doubts(&mut self, now: Timestamp, room: &mut Room<'_>, context: &mut Context<'_>) {
        let Some(mut doubts) = self.doubts.take() else {
            return;
        };
        let dropped = doubts.take_dropped();
        let is_reset = doubts.is_reset(now, |reset| self.stream(reset.side).has_come_to(reset.sequence));
        if !doubts.is_empty() {
            self.doubts = Some(doubts);
        }
        for (side, passed) in [Side::Client, Side::Server].into_iter().zip(dropped) {
            self.refuse(side, passed, context);
        }
        if is_reset {
            self.close(Close::Abandoned, FlowEnd::Unobserved, room, context);
        }
    }

    /// Nothing more is found out of what waits. A reset against which nothing has spoken counts.
    pub(super) fn give_up_doubts(
        &mut self,
        how: Close,
        room: &mut Room<'_>,
        context: &mut Context<'_>,
    ) -> Close {
        let Some(mut doubts) = self.doubts.take() else {
            return how;
        };
        let reset = doubts.take_reset().filter(|_| how == Close::Abandoned);
        doubts.give_up(room);
        for (side, passed) in [Side::Client, Side::Server]
            .into_iter()
            .zip(doubts.take_dropped())
        {
            self.refuse(side, passed, context);
        }
        let Some(Reset {
            side,
            sequence,
            wire_len,
            ..
        }) = reset
        else {
            return how;
        };
        let at = self.observed.last;
        let turns = self.observed.turns;
        self.on(side, context, |stream, feed| {
            stream.give_up(at, room, feed);
            stream.give_up_before(at, sequence, feed);
        });
        let side = if self.observed.turns == turns {
            side
        } else {
            other(side)
        };
        if let Some(measure) = self.observed.connection() {
            measure.reset(side, wire_len);
        }
        self.perhaps_reset = Some(side);
        Close::Reset(side)
    }

    /// The receiver has taken a segment; `anyway` though its numbers are far from those before.
    pub(super) fn accept(
        &mut self,
        seen: &Seen<'_>,
        anyway: bool,
        room: &mut Room<'_>,
        context: &mut Context<'_>,
    ) {
        if self.over {
            return;
        }
        let (at, segment, side) = (seen.at, &seen.segment, self.side(seen.source));
        self.observed.carried |= segment.payload.len > 0;
        if let Some(mut doubts) = self.doubts.take() {
            let is_new = self.stream(side).is_new(segment.sequence, segment.payload.len);
            doubts.hear(side, seen, is_new && !anyway, &self.receivers, room);
            self.doubts = Some(doubts);
        }
        self.receivers.take(side, segment, anyway);
        let late = self.observed.late;
        let is_through = self.observed.connection().is_some_and(|measure| {
            measure.take(side, seen, late);
            measure.is_through()
        });
        if let Some(next) = segment.acknowledged
            && !segment.rst
        {
            self.acknowledge(side, at, next, segment, room, context);
        }
        self.bytes(self.side(seen.source), at, segment, room, context);
        if segment.rst {
            self.close(
                Close::Reset(self.side(seen.source)),
                FlowEnd::Unobserved,
                room,
                context,
            );
        } else if self.client.has_ended() && self.server.has_ended() {
            self.close(Close::Finished, FlowEnd::Unobserved, room, context);
            if is_through {
                self.observed.report_end(context);
            }
        }
    }

    /// What `side` sent says how far it has got the other's bytes.
    fn acknowledge(
        &mut self,
        side: Side,
        at: Timestamp,
        next: u32,
        segment: &Segment<'_>,
        room: &mut Room<'_>,
        context: &mut Context<'_>,
    ) {
        let late = self.observed.late;
        self.on(other(side), context, |stream, feed| {
            stream.begin(next, late);
            stream.acknowledge(next, room, feed);
            if segment.payload.len > 0 {
                stream.give_up_acknowledged(at, room, feed);
            } else if segment.fin || segment.rst {
                stream.give_up_acknowledged_end(at, feed);
            }
        });
    }

    /// What `side` sent.
    fn bytes(
        &mut self,
        side: Side,
        at: Timestamp,
        segment: &Segment<'_>,
        room: &mut Room<'_>,
        context: &mut Context<'_>,
    ) {
        let late = self.observed.late;
        let wanted = self.observed.decoder.is_some();
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        let len = segment.payload.len;
        let arrival = self.on(side, context, |stream, feed| {
            if segment.syn {
                stream.begin_at(first);
            }
            let mut arrival = Arrival::InOrder;
            if len > 0 {
                if !stream.has_begun() && !late {
                    feed.gap(at, None); // where it began was not seen
                }
                arrival = stream.segment(at, first, &segment.payload, wanted, room, feed);
            }
            if segment.fin {
                stream.finish(at, first.wrapping_add(len as u32), feed);
            }
            arrival
        });
        let repeated = matches!(arrival, Arrival::Repeated);
        match arrival {
            Arrival::InOrder => {}
            Arrival::Early => context.counters.early_segments += 1,
            Arrival::Repeated => context.counters.repeated_segments += 1,
        }
        if !wanted && !repeated {
            self.observed.showed(len);
        }
    }
}
