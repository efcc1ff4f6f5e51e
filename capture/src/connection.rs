//! A TCP connection: two streams, and the decoder that they feed.
//!
//! A SYN or a SYN-ACK tells who is the client. Where neither was seen (a late join), what is sent tells, once it is known to be
//! a protocol's request or response; until then the side with the lower port counts as the server, and of equal ports
//! the one that did not send the first packet with data, and the decoder keeps what it finds to itself. A port that is pinned to
//! a protocol is the server's.

mod early;
mod judging;

use crate::{
    Way,
    doubt::{Doubts, Finding},
    flow::{Context, Measured, Observed, flow},
    packet::Segment,
    parked::Parked,
    receiver::Receivers,
    settings::Settings,
    stream::{Feed, Room, Stream},
};
use std::net::SocketAddr;
use weir_protocols::{Close, Decoder, Exchange, Side};
use weir_records::{FlowEnd, Timestamp};

/// So long, in ns, nothing must have come after the end of a connection for its last report to be made.
const LAST: u64 = 1_000_000_000;

/// A segment, and what its packet says beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub at: Timestamp,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub segment: Segment<'a>,
    /// Bytes from the IP header on.
    pub wire_len: usize,
    pub way: Way,
    /// Where it was seen.
    pub interface: u32,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub observed: Observed,
    client: Stream,
    server: Stream,
    receivers: Receivers,
    /// What waits for others to tell what it is, if anything does.
    doubts: Option<Box<Doubts>>,
    /// Segments that wait for what they answer, in their order.
    early: Vec<Parked>,
    /// Where each side's segments are seen: the client's, the server's.
    interfaces: [u32; 2],
    /// Ended, and kept to know late repeats as such; what comes within a moment is still for its last report.
    pub over: bool,
    /// The side that seems to have ended the connection, by a reset that may have been none.
    perhaps_reset: Option<Side>,
}

/// Another connection between the same sockets has begun.
#[derive(Debug)]
pub(crate) enum Succession {
    /// With this segment.
    Now,
    /// With one that was seen before it.
    With(Box<Parked>),
}

/// Hands one side's bytes to the decoder.
struct Feeder<'a, 'b> {
    side: Side,
    observed: &'a mut Observed,
    context: &'a mut Context<'b>,
}

impl Feeder<'_, '_> {
    fn feed(
        &mut self,
        at: Timestamp,
        feed: impl FnOnce(&mut Decoder, Side, Timestamp, &mut dyn FnMut(Exchange)),
    ) {
        let (side, at, turns) = (self.side, self.observed.tell(at), self.observed.turns);
        self.observed
            .feed(self.context, |decoder, out| feed(decoder, side, at, out));
        if self.observed.turns != turns {
            self.side = other(side);
        }
    }
}

impl Feed for Feeder<'_, '_> {
    fn data(&mut self, at: Timestamp, bytes: &[u8]) {
        self.feed(at, |decoder, side, at, out| decoder.data(side, at, bytes, out));
        self.observed.showed(bytes.len());
    }

    fn gap(&mut self, at: Timestamp, missed: Option<u64>) {
        self.context.counters.gaps += 1;
        self.context.counters.gap_bytes += missed.unwrap_or(0);
        self.feed(at, |decoder, side, at, out| decoder.gap(side, at, missed, out));
    }

    fn end(&mut self, at: Timestamp) {
        self.feed(at, |decoder, side, at, out| decoder.end(side, at, out));
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

impl Connection {
    /// The connection that begins with this segment, or is joined with it; nothing if it carries nothing worth joining for.
    pub fn open(seen: &Seen<'_>, settings: &Settings, lost: u64) -> Option<Self> {
        let segment = &seen.segment;
        if segment.rst || !segment.syn && segment.payload.len == 0 {
            return None;
        }
        let speaker = match (segment.syn, segment.acknowledged) {
            (true, None) => Some(Side::Client),
            (true, Some(_)) => Some(Side::Server),
            (false, _) => settings
                .decoders
                .sender(seen.source.port(), seen.destination.port())
                .or_else(|| weir_protocols::speaker(segment.payload.bytes)),
        };
        let side = speaker.unwrap_or(match seen.source.port() < seen.destination.port() {
            true => Side::Server,
            false => Side::Client,
        });
        let (client, server) = match side {
            Side::Client => (seen.source, seen.destination),
            Side::Server => (seen.destination, seen.source),
        };
        let late = !segment.syn;
        let flow = flow(settings, client, server, seen.at, seen.way.of_client(side));
        let decoder = match speaker {
            Some(_) => settings.decoders.connection(server.port(), late),
            None => settings.decoders.guessed(server.port()),
        };
        let mut observed = Observed::new(flow, Some(decoder), late);
        observed.way = seen.way.of_client(side);
        if settings.flows.is_some() {
            observed.measure(Measured::tcp(), lost);
        }
        Some(Self {
            observed,
            client: Stream::default(),
            server: Stream::default(),
            receivers: Receivers::default(),
            doubts: None,
            early: Vec::new(),
            interfaces: [0; 2],
            over: false,
            perhaps_reset: None,
        })
    }

    fn side(&self, source: SocketAddr) -> Side {
        match source == self.observed.flow.client {
            true => Side::Client,
            false => Side::Server,
        }
    }

    /// Whether this segment shows that another connection has begun between the same sockets. While one is open, a SYN alone
    /// does not.
    pub fn succession(&mut self, seen: &Seen<'_>, room: &mut Room<'_>) -> Option<Succession> {
        let segment = &seen.segment;
        let side = self.side(seen.source);
        if self.over {
            let goes_on = self.perhaps_reset == Some(side)
                && !segment.syn
                && !segment.rst
                && self.receivers.is_next(side, segment);
            let is_other = segment.syn && self.receivers.syn(side) != Some(segment.sequence);
            return (goes_on || is_other).then_some(Succession::Now);
        }
        if segment.syn && self.is_unanswered() && side == Side::Client && !self.receivers.owns(side, segment)
        {
            return Some(Succession::Now); // there is nothing yet that it could disturb
        }
        let doubts = self.doubts.as_mut()?;
        let finding = doubts.find(side, seen, &self.receivers)?;
        if finding == Finding::Answer && !self.stream(other(side)).is_untouched() {
            return None;
        }
        let stranger = self.doubts.as_mut()?.take_stranger(room)?;
        if finding == Finding::Another {
            return Some(Succession::With(Box::new(stranger)));
        }
        self.answer(&stranger);
        None
    }

    /// The server's stream begins behind this answer to the client's SYN, and not behind that which was seen first.
    fn answer(&mut self, answer: &Parked) {
        let seen = answer.seen();
        let side = self.side(seen.source);
        self.receivers.begin_again(side);
        self.receivers.take(side, &seen.segment, false);
        *self.stream_mut(side) = Stream::default();
        self.stream_mut(side)
            .begin(seen.segment.sequence.wrapping_add(1), false);
        let late = self.observed.late;
        if let Some(measure) = self.observed.connection() {
            measure.begin_again(side);
            measure.take(side, &seen, late);
        }
    }

    /// True if this segment, which was seen in another network (a tunnel, or outside of it), belongs here: it is the SYN once
    /// more, answers it, or continues both streams.
    pub fn fits(&self, seen: &Seen<'_>) -> bool {
        let segment = &seen.segment;
        let side = self.side(seen.source);
        let begun = self.receivers.syn(side);
        match (segment.syn, segment.acknowledged) {
            (true, None) => side == Side::Client && begun == Some(segment.sequence),
            (true, Some(next)) => match begun {
                Some(own) => own == segment.sequence,
                None => side == Side::Server && self.receivers.has_reached(Side::Client, next),
            },
            (false, next) => {
                let continues = |next| self.stream(other(side)).is_near(next);
                self.stream(side).is_near(segment.sequence) && next.is_none_or(continues)
            }
        }
    }

    fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn stream_mut(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Nobody has answered the SYN.
    pub fn is_unanswered(&self) -> bool {
        // (A segment of the server, or the client's first after its SYN, tells where the server's stream begins.)
        self.receivers.syn(Side::Client).is_some() && !self.server.has_begun()
    }

    /// True if this is a packet on its way over a second interface, as through a bridge or with a VLAN tag off; and not a
    /// connection that has gone over to another one, which brings what is new.
    fn was_seen_elsewhere(&mut self, side: Side, seen: &Seen<'_>) -> bool {
        let known = self.interfaces[usize::from(side == Side::Server)];
        if known == seen.interface || seen.interface == 0 {
            return false;
        }
        let (stream, segment) = (self.stream(side), &seen.segment);
        let is_new = stream.is_new(segment.sequence, segment.payload.len)
            || segment.fin && !stream.has_ended()
            || segment.rst && !self.over;
        if known == 0 || is_new && !self.waits_already(seen) {
            self.interfaces[usize::from(side == Side::Server)] = seen.interface;
            return false;
        }
        true
    }

    /// Does something with what `side` sends. What comes out of it may show that client and server are the other way round.
    fn on<R>(
        &mut self,
        side: Side,
        context: &mut Context<'_>,
        act: impl FnOnce(&mut Stream, &mut Feeder<'_, '_>) -> R,
    ) -> R {
        let turns = self.observed.turns;
        let stream = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let mut feed = Feeder {
            side,
            observed: &mut self.observed,
            context,
        };
        let result = act(stream, &mut feed);
        if self.observed.turns != turns {
            self.turn();
        }
        result
    }

    /// Does something with both streams.
    fn on_both(&mut self, context: &mut Context<'_>, mut act: impl FnMut(&mut Stream, &mut Feeder<'_, '_>)) {
        let turns = self.observed.turns;
        self.on(Side::Client, context, &mut act);
        let next = match self.observed.turns == turns {
            true => Side::Server,
            false => Side::Client,
        };
        self.on(next, context, act);
    }

    /// Client and server change their places, as they have for whoever observes.
    fn turn(&mut self) {
        std::mem::swap(&mut self.client, &mut self.server);
        self.receivers.swap();
        if let Some(doubts) = &mut self.doubts {
            doubts.swap(other);
        }
        self.interfaces.swap(0, 1);
    }

    /// Time has passed without a packet of this connection.
    pub fn tick(&mut self, now: Timestamp, patience: u64, room: &mut Room<'_>, context: &mut Context<'_>) {
        if self.over {
            if now.since(self.observed.last) >= LAST {
                self.observed.report_end(context);
            }
            return;
        }
        if !self.early.is_empty() {
            self.take_early(now, room, context);
        }
        if self.doubts.is_some() {
            self.settle_doubts(now, room, context);
        }
        if self.over {
            return;
        }
        self.on_both(context, |stream, feed| {
            stream.give_up_old(now, patience, room, feed)
        });
        self.observed.feed(context, |decoder, out| decoder.tick(now, out));
    }

    /// The connection is over: so, or `otherwise` where it only is not seen any longer.
    pub fn close(&mut self, how: Close, otherwise: FlowEnd, room: &mut Room<'_>, context: &mut Context<'_>) {
        self.stop_waiting(room, context);
        if self.over {
            return;
        }
        let how = self.give_up_doubts(how, room, context);
        self.over = true;
        let (at, turns) = (self.observed.last, self.observed.turns);
        self.on_both(context, |stream, feed| {
            stream.give_up(at, room, feed);
            stream.give_up_acknowledged_end(at, feed);
        });
        let how = match how {
            Close::Reset(side) if self.observed.turns != turns => Close::Reset(other(side)),
            how => how,
        };
        self.observed.close(how, otherwise, context);
        context.counters.not_decoded += u64::from(self.observed.is_not_decoded());
        context.counters.not_decoded_bytes += self.observed.unread;
    }
}
