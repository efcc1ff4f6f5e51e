//! What two sockets exchange over UDP: DNS, which is decoded, and anything else, of which only is told that it passed.

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
use weir_protocols::{Close, Decoders, Side};
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

    /// Who sent it, if it can be DNS: port 53, or one that is pinned to it, is the server's, and of two such the one's that
    /// answers. (Multicast DNS has a port of its own, and is another protocol.)
    pub fn side(&self, decoders: &Decoders) -> Option<Side> {
        let is_dns = |address: SocketAddr| decoders.is_dns(address.port());
        match (is_dns(self.source), is_dns(self.destination)) {
            (false, false) => None,
            (false, true) => Some(Side::Client),
            (true, false) => Some(Side::Server),
            (true, true) => match self.payload.bytes.get(2)? & 0x80 {
                0 => Some(Side::Client),
                _ => Some(Side::Server),
            },
        }
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
}

impl Datagrams {
    /// The flow that begins with this datagram, of `side` where it is DNS; nothing if it is not to be followed.
    pub fn open(seen: &Seen<'_>, side: Option<Side>, settings: &Settings, lost: u64) -> Option<Self> {
        // Of what is not known who sent first counts as the client.
        let (client, server) = match side {
            Some(Side::Server) => (seen.destination, seen.source),
            Some(Side::Client) | None => (seen.source, seen.destination),
        };
        // Where the first thing seen is a response, its query was missed.
        let late = side == Some(Side::Server);
        let decoder = side.and_then(|_| settings.decoders.datagrams(server.port(), late));
        if decoder.is_none() && settings.flows.is_none() {
            return None;
        }
        let way = seen.way.of_client(side.unwrap_or(Side::Client));
        let flow = flow(settings, client, server, seen.at, way);
        let mut observed = Observed::new(flow, decoder, late);
        if settings.flows.is_some() {
            observed.measure(Measured::udp(), lost);
        }
        Some(Self {
            observed,
            last: None,
            heard: [false; 2],
        })
    }

    /// Takes a datagram, of `side` where it is DNS.
    pub fn take(&mut self, seen: &Seen<'_>, side: Option<Side>, context: &mut Context<'_>) {
        if self.is_double(seen) {
            context.counters.duplicates += 1;
            return;
        }
        let side = side.unwrap_or(match seen.source == self.observed.flow.client {
            true => Side::Client,
            false => Side::Server,
        });
        self.heard[usize::from(side == Side::Server)] = true;
        let at = self.observed.seen(seen.at);
        if let Some(measured) = self.observed.measured() {
            measured.datagram(side, seen.payload.len, seen.wire_len);
        }
        let at = self.observed.tell(at);
        self.observed.feed(context, |decoder, out| {
            decoder.data(side, at, seen.payload.bytes, out)
        });
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
