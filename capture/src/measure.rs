//! What a TCP connection shows of how the network carries it: how much each side sends and how often again, when it can take
//! no more, how long the way there and back takes.
//!
//! All of it is told by the headers, and counted for each side by itself (`side`); `round_trips` has the times.

mod round_trips;
mod side;

use crate::{connection::Seen, doubt::Passed, options::Options};
use side::Meter;
use weir_protocols::{Close, Side};
use weir_records::{FlowEnd, Party, Progress, Timestamp};

/// The account of one connection.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    source: Meter,
    destination: Meter,
    /// When the first SYN was seen.
    began: Option<Timestamp>,
    /// The latest SYN.
    asked: Option<Timestamp>,
    handshake: Option<u64>,
    established: bool,
    /// Who closed first.
    first: Option<Party>,
}

/// The side in the words of a report.
pub(crate) fn party(side: Side) -> Party {
    match side {
        Side::Client => Party::Source,
        Side::Server => Party::Destination,
    }
}

impl Measure {
    /// A segment of `side`; `late` if the connection's beginning was not seen.
    pub fn take(&mut self, side: Side, seen: &Seen<'_>, late: bool) {
        let segment = &seen.segment;
        let options = Options::read(segment.options);
        self.handshake(side, seen);
        let (own, other) = match side {
            Side::Client => (&mut self.source, &mut self.destination),
            Side::Server => (&mut self.destination, &mut self.source),
        };
        if segment.syn && options.largest.is_some() {
            own.largest = options.largest;
        }
        let largest = match (own.largest, other.largest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        // Options take their part of each.
        let largest = largest.map(|largest| usize::from(largest).saturating_sub(segment.header - 20));
        if let Some(next) = segment.acknowledged
            && !segment.rst
        {
            other.begin(next, late);
            other.is_acknowledged(next, seen.at, &options);
        }
        own.sends(seen, &options, late, largest);
        if segment.fin && !segment.rst {
            self.first.get_or_insert(party(side));
        }
    }

    /// Packets of `side` have passed that the other does not take.
    pub fn passed(&mut self, side: Side, passed: Passed) {
        self.meter(side).passed(passed);
    }

    /// A segment of `side` has passed that is old.
    pub fn repeated(&mut self, side: Side, seen: &Seen<'_>) {
        let meter = self.meter(side);
        meter.passed(Passed::one(seen.wire_len));
        meter.retransmits += u64::from(seen.segment.payload.len > 0);
    }

    /// What `side` has sent before this number has come, though it may not have been seen yet.
    pub fn foretell(&mut self, side: Side, next: u32) {
        self.meter(side).foretold = Some(next);
    }

    /// `side` has reset the connection by a packet of so many bytes.
    pub fn reset(&mut self, side: Side, wire_len: usize) {
        self.meter(side).passed(Passed::one(wire_len));
        self.meter(side).resets += 1;
    }

    /// `side` begins with another SYN than was taken for its own.
    pub fn begin_again(&mut self, side: Side) {
        self.meter(side).begin_again();
    }

    fn meter(&mut self, side: Side) -> &mut Meter {
        match side {
            Side::Client => &mut self.source,
            Side::Server => &mut self.destination,
        }
    }

    fn handshake(&mut self, side: Side, seen: &Seen<'_>) {
        let segment = &seen.segment;
        if segment.rst {
            return;
        }
        match (side, segment.syn) {
            (Side::Client, true) => {
                self.began.get_or_insert(seen.at);
                self.asked = Some(seen.at);
            }
            (Side::Server, true) => {}
            (Side::Client, false) => {
                if !self.established
                    && let Some(began) = self.began
                    && segment
                        .acknowledged
                        .is_some_and(|next| self.destination.is_answered(next))
                {
                    self.handshake = Some(seen.at.since(began));
                }
                self.established |= segment.acknowledged.is_some();
            }
            (Side::Server, false) => self.established |= segment.payload.len > 0,
        }
    }

    /// Client and server change their places.
    pub fn swap(&mut self) {
        std::mem::swap(&mut self.source, &mut self.destination);
        self.first = self.first.map(|party| match party {
            Party::Source => Party::Destination,
            Party::Destination => Party::Source,
        });
    }

    /// True if the last acknowledgement of a connection in order has come.
    pub fn is_through(&self) -> bool {
        self.source.is_through() && self.destination.is_through()
    }

    /// Somebody asked, and nobody has answered.
    pub fn is_unanswered(&self) -> bool {
        self.source.syn.is_some() && !self.established && self.destination.packets == 0
    }

    /// How it ended, if the source of packets ended `so`; `otherwise` where it only was not seen any longer.
    pub fn end(&self, so: Close, otherwise: FlowEnd) -> FlowEnd {
        let refused = self.source.syn.is_some()
            && !self.established
            && self.destination.packets == self.destination.resets;
        match so {
            Close::Reset(Side::Server) if refused => FlowEnd::Refused,
            Close::Reset(side) => FlowEnd::Reset(party(side)),
            Close::Finished => FlowEnd::Finished(self.first),
            // An observation that ends tells nothing of an answer that may just be on its way; that the question was asked
            // again does.
            _ if self.is_unanswered() && (otherwise == FlowEnd::Idle || self.asked > self.began) => {
                FlowEnd::Unanswered
            }
            _ => otherwise,
        }
    }

    /// What there is to say until now, or at the end.
    pub fn progress(&self, last: bool) -> Progress {
        Progress {
            established: self.established || self.source.has_payload() || self.destination.has_payload(),
            handshake: self.handshake,
            source: self.source.sent(last),
            destination: self.destination.sent(last),
        }
    }
}

#[cfg(test)]
mod tests;
