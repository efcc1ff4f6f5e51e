//! A TCP connection: two streams, and the decoder that they feed.
//!
//! Who is the client is told by SYN or SYN-ACK. Where neither was seen (a late join), what is sent tells, once it looks like
//! a known protocol's request or response; until then the side with the lower port counts as the server, and of equal ports
//! the one that did not send the first packet with data. A port that is pinned to a protocol is the server's.

use crate::{
    Way,
    flow::{Context, Measured, Observed, flow},
    packet::Segment,
    settings::Settings,
    stream::{Arrival, Feed, Room, Stream},
};
use std::net::SocketAddr;
use weir_protocols::{Close, Side};
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
    /// The sequence numbers of the two SYNs that were seen: the client's, the server's.
    syns: [Option<u32>; 2],
    /// Where each side's segments are seen: the client's, the server's.
    interfaces: [u32; 2],
    /// Which side is the client is certain.
    settled: bool,
    /// Ended, and kept to know late repeats as such; what comes within a moment is still for its last report.
    pub over: bool,
}

/// Hands one side's bytes to the decoder.
struct Feeder<'a, 'b> {
    side: Side,
    observed: &'a mut Observed,
    context: &'a mut Context<'b>,
}

impl Feed for Feeder<'_, '_> {
    fn data(&mut self, at: Timestamp, bytes: &[u8]) {
        let (side, at) = (self.side, self.observed.tell(at));
        self.observed
            .feed(self.context, |decoder, out| decoder.data(side, at, bytes, out));
    }

    fn gap(&mut self, at: Timestamp, missed: Option<u64>) {
        self.context.counters.gaps += 1;
        self.context.counters.gap_bytes += missed.unwrap_or(0);
        let (side, at) = (self.side, self.observed.tell(at));
        self.observed
            .feed(self.context, |decoder, out| decoder.gap(side, at, missed, out));
    }

    fn end(&mut self, at: Timestamp) {
        let (side, at) = (self.side, self.observed.tell(at));
        self.observed
            .feed(self.context, |decoder, out| decoder.end(side, at, out));
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
        let decoder = settings.decoders.connection(server.port(), late);
        let mut observed = Observed::new(flow, Some(decoder), late);
        if settings.flows.is_some() {
            observed.measure(Measured::tcp(), lost);
        }
        Some(Self {
            observed,
            client: Stream::default(),
            server: Stream::default(),
            syns: [None; 2],
            interfaces: [0; 2],
            settled: speaker.is_some(),
            over: false,
        })
    }

    fn side(&self, source: SocketAddr) -> Side {
        match source == self.observed.flow.client {
            true => Side::Client,
            false => Side::Server,
        }
    }

    /// True if the segment begins another connection between the same sockets: it is a SYN, or the answer to one, and not
    /// this connection's own.
    pub fn is_succeeded_by(&self, seen: &Seen<'_>) -> bool {
        let segment = &seen.segment;
        let [client, server] = self.syns;
        match (segment.syn, segment.acknowledged) {
            (false, _) => false,
            (true, None) => client != Some(segment.sequence),
            (true, Some(next)) => match server {
                Some(own) => own != segment.sequence,
                None => self.over || client.is_none_or(|client| client.wrapping_add(1) != next),
            },
        }
    }

    /// Takes a segment.
    pub fn take(
        &mut self,
        seen: &Seen<'_>,
        settings: &Settings,
        room: &mut Room<'_>,
        context: &mut Context<'_>,
    ) {
        let at = self.observed.seen(seen.at);
        let segment = &seen.segment;
        self.settle(seen, settings);
        let side = self.side(seen.source);
        if self.was_seen_elsewhere(side, seen) {
            context.counters.duplicates += 1;
            return;
        }
        self.observed.carried |= segment.payload.len > 0;
        let late = self.observed.late;
        let is_through = self.observed.connection().is_some_and(|measure| {
            measure.take(side, seen, late);
            measure.is_through()
        });
        if self.over {
            context.counters.repeated_segments += u64::from(segment.payload.len > 0);
            if is_through {
                self.observed.report_end(context);
            }
            return;
        }
        if segment.syn {
            self.syns[usize::from(side == Side::Server)] = Some(segment.sequence);
        }
        if let Some(next) = segment.acknowledged {
            self.acknowledge(side, at, next, segment, room, context);
        }
        self.bytes(side, at, segment, room, context);
        if segment.rst {
            self.close(Close::Reset(side), FlowEnd::Unobserved, room, context);
        } else if self.client.has_ended() && self.server.has_ended() {
            self.close(Close::Finished, FlowEnd::Unobserved, room, context);
            if is_through {
                self.observed.report_end(context);
            }
        }
    }

    /// Nobody has answered the SYN.
    pub fn is_unanswered(&self) -> bool {
        // (A segment of the server, or the client's first after its SYN, tells where the server's stream begins.)
        self.syns[0].is_some() && !self.server.has_begun()
    }

    /// True if this is a packet on its way over a second interface, as through a bridge or with a VLAN tag off; and not a
    /// connection that has gone over to another one, which brings what is new.
    fn was_seen_elsewhere(&mut self, side: Side, seen: &Seen<'_>) -> bool {
        let interface = &mut self.interfaces[usize::from(side == Side::Server)];
        if *interface == seen.interface || seen.interface == 0 {
            return false;
        }
        let stream = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        let segment = &seen.segment;
        let is_new = stream.is_new(segment.sequence, segment.payload.len)
            || segment.fin && !stream.has_ended()
            || segment.rst && !self.over;
        if *interface == 0 || is_new {
            *interface = seen.interface;
            return false;
        }
        true
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
        let (stream, mut feed) = self.parts(other(side), context);
        stream.begin(next, late);
        stream.acknowledge(next, room, &mut feed);
        if segment.payload.len > 0 {
            stream.give_up_acknowledged(at, room, &mut feed);
        } else if segment.fin || segment.rst {
            stream.give_up_acknowledged_end(at, &mut feed);
        }
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
        let (stream, mut feed) = self.parts(side, context);
        if segment.syn {
            stream.begin(first, false);
        }
        let mut arrival = Arrival::InOrder;
        if len > 0 {
            if !stream.has_begun() && !late {
                feed.gap(at, None); // where it began was not seen
            }
            arrival = stream.segment(at, first, &segment.payload, wanted, room, &mut feed);
        }
        if segment.fin {
            stream.finish(at, first.wrapping_add(len as u32), &mut feed);
        }
        match arrival {
            Arrival::InOrder => {}
            Arrival::Early => context.counters.early_segments += 1,
            Arrival::Repeated => context.counters.repeated_segments += 1,
        }
    }

    fn parts<'a, 'b>(
        &'a mut self,
        side: Side,
        context: &'a mut Context<'b>,
    ) -> (&'a mut Stream, Feeder<'a, 'b>) {
        let stream = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let feeder = Feeder {
            side,
            observed: &mut self.observed,
            context,
        };
        (stream, feeder)
    }

    /// While it is a guess who is the client, looks whether this segment tells.
    fn settle(&mut self, seen: &Seen<'_>, settings: &Settings) {
        if self.settled || self.over || seen.segment.payload.bytes.is_empty() {
            return;
        }
        if !self.observed.is_unknown() {
            self.settled = true; // or given up
            return;
        }
        let Some(speaker) = weir_protocols::speaker(seen.segment.payload.bytes) else {
            return;
        };
        self.settled = true;
        if speaker == self.side(seen.source) {
            return;
        }
        std::mem::swap(&mut self.client, &mut self.server);
        self.syns.swap(0, 1);
        self.interfaces.swap(0, 1);
        let old = &self.observed.flow;
        let way = seen.way.of_client(speaker);
        let flow = flow(settings, old.server, old.client, old.opened, way);
        let decoder = settings.decoders.connection(flow.server.port(), true);
        self.observed.swap(flow, decoder);
    }

    /// Time has passed without a packet of this connection.
    pub fn tick(&mut self, now: Timestamp, patience: u64, room: &mut Room<'_>, context: &mut Context<'_>) {
        if self.over {
            if now.since(self.observed.last) >= LAST {
                self.observed.report_end(context);
            }
            return;
        }
        for side in [Side::Client, Side::Server] {
            let (stream, mut feed) = self.parts(side, context);
            stream.give_up_old(now, patience, room, &mut feed);
        }
        self.observed.feed(context, |decoder, out| decoder.tick(now, out));
    }

    /// The connection is over: so, or `otherwise` where it only is not seen any longer.
    pub fn close(&mut self, how: Close, otherwise: FlowEnd, room: &mut Room<'_>, context: &mut Context<'_>) {
        if self.over {
            return;
        }
        self.over = true;
        let at = self.observed.last;
        for side in [Side::Client, Side::Server] {
            let (stream, mut feed) = self.parts(side, context);
            stream.give_up(at, room, &mut feed);
            stream.give_up_acknowledged_end(at, &mut feed);
        }
        self.observed.close(how, otherwise, context);
        context.counters.not_decoded += u64::from(self.observed.is_not_decoded());
    }
}
