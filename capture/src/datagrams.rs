//! What two sockets exchange over UDP: DNS and its like, which is decoded, and anything else, of which only is told that it
//! passed.

use crate::{
    Way,
    flow::{Context, Measured, Observed, flow},
    packet::Payload,
    settings::Settings,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};
use weir_protocols::{Close, Decoders, Side, Spoken};
use weir_records::{FlowEnd, Timestamp};

/// A datagram that comes again so soon, in ns, with all that it had, is the same one, seen on two interfaces.
const SAME: u64 = 10_000_000;
/// So much of a datagram tells it from others.
const HEAD: usize = 64;

/// A datagram, and what its packet says beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub at: Timestamp,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: Payload<'a>,
    pub wire_len: usize,
    pub way: Way,
    /// IPv4's identification.
    pub id: Option<u16>,
    /// Where it was seen.
    pub interface: u32,
}

impl Seen<'_> {
    /// What tells this datagram from others of its flow.
    fn hash(&self) -> u64 {
        let head = &self.payload.bytes[..self.payload.bytes.len().min(HEAD)];
        let mut hasher = DefaultHasher::new();
        (self.source, self.id, self.payload.len, head).hash(&mut hasher);
        hasher.finish()
    }

    /// What is said in it, where that is decoded.
    pub fn spoken(&self, decoders: &Decoders) -> Option<Spoken> {
        decoders.speech(self.source, self.destination, self.payload.bytes)
    }
}

/// One flow.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub observed: Observed,
    /// The last datagram, by which its double is known: its hash, when it was seen, and where.
    last: Option<(u64, Timestamp, u32)>,
    /// The client has sent something; the server has.
    heard: [bool; 2],
    speech: Speech,
}

/// Whether a flow is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    /// No datagram was anything that is decoded.
    None,
    /// By its port: all of it is decoded.
    Port,
    /// By what its datagrams are: each is decoded that is a message.
    Content,
}

impl Speech {
    fn of(spoken: Option<Spoken>, server: u16, decoders: &Decoders) -> Self {
        match spoken {
            None => Self::None,
            Some(Spoken::Dns(_)) if !decoders.is_dns(server) => Self::Content,
            Some(_) => Self::Port,
        }
    }
}

impl Datagrams {
    /// The flow that begins with this datagram; nothing if it is not to be followed.
    pub fn open(seen: &Seen<'_>, spoken: Option<Spoken>, settings: &Settings, lost: u64) -> Option<Self> {
        // The query of a response that is seen first was missed. In an unknown protocol the first sender counts as the client.
        let late = spoken == Some(Spoken::Dns(Side::Server));
        let (client, server) = match late {
            true => (seen.destination, seen.source),
            false => (seen.source, seen.destination),
        };
        if spoken.is_none() && settings.flows.is_none() {
            return None;
        }
        let decoder = spoken.map(|spoken| settings.decoders.spoken(spoken, late));
        let way = seen.way.of_client(if late { Side::Server } else { Side::Client });
        let flow = flow(settings, client, server, seen.at, way);
        let mut observed = Observed::new(flow, decoder, late);
        if settings.flows.is_some() {
            observed.measure(Measured::udp(), lost);
        }
        Some(Self {
            observed,
            last: None,
            heard: [false; 2],
            speech: Speech::of(spoken, server.port(), &settings.decoders),
        })
    }

    /// Takes a datagram. True if it was one to be decoded.
    pub fn take(
        &mut self,
        seen: &Seen<'_>,
        spoken: Option<Spoken>,
        decoders: &Decoders,
        context: &mut Context<'_>,
    ) -> bool {
        if self.is_double(seen) {
            context.counters.duplicates += 1;
            return spoken.is_some();
        }
        let from = match seen.source == self.observed.flow.client {
            true => Side::Client,
            false => Side::Server,
        };
        let side = match spoken {
            Some(Spoken::Dns(side)) => side,
            _ => from,
        };
        self.heard[usize::from(side == Side::Server)] = true;
        let at = self.observed.seen(seen.at);
        if let Some(measured) = self.observed.measured() {
            measured.datagram(side, seen.payload.len, seen.wire_len);
        }
        if self.speech == Speech::None
            && let Some(spoken) = spoken
            && side == from
        {
            self.speech = Speech::Content;
            self.observed.decoder = Some(decoders.spoken(spoken, side == Side::Server));
        }
        let is_message = match self.speech {
            Speech::None => false,
            Speech::Port => true,
            // (An answer may be damaged, and is an answer.)
            Speech::Content => {
                spoken.is_some() || side == Side::Server && decoders.may_answer(seen.payload.bytes)
            }
        };
        if is_message {
            let at = self.observed.tell(at);
            self.observed.feed(context, |decoder, out| {
                decoder.data(side, at, seen.payload.bytes, out)
            });
        }
        is_message
    }

    /// True if this datagram, which was seen in another network, belongs here: it is the last one once more, or the first of
    /// its side.
    pub fn fits(&self, seen: &Seen<'_>) -> bool {
        let of_server = seen.source == self.observed.flow.server;
        let again = |(last, at, _): (u64, Timestamp, u32)| last == seen.hash() && seen.at.since(at) < SAME;
        !self.heard[usize::from(of_server)] || self.last.is_some_and(again)
    }

    /// True if this is the last datagram once more, seen on another interface; where interfaces are not known, DNS that comes
    /// again at once is taken for that, and of anything else what has the same number (IPv4's, where it is one).
    fn is_double(&mut self, seen: &Seen<'_>) -> bool {
        let this = seen.hash();
        let last = self.last.replace((this, seen.at, seen.interface));
        let Some((last, at, interface)) = last else {
            return false;
        };
        let elsewhere = match seen.interface {
            0 => self.observed.decoder.is_some() || seen.id.is_some_and(|id| id > 0),
            here => here != interface,
        };
        elsewhere && last == this && seen.at.since(at) < SAME
    }

    /// It is now this late.
    pub fn tick(&mut self, now: Timestamp, context: &mut Context<'_>) {
        self.observed.feed(context, |decoder, out| decoder.tick(now, out));
    }

    /// No more will come.
    pub fn close(&mut self, how: FlowEnd, context: &mut Context<'_>) {
        self.observed.close(Close::Abandoned, how, context);
        self.observed.report_end(context);
    }
}
