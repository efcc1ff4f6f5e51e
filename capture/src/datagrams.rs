//! The DNS queries of one client's socket to one server, over UDP.

use crate::{
    Way,
    flow::{Context, Observed, flow},
    packet::Payload,
    settings::Settings,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};
use weir_protocols::{Close, Decoders, Side};
use weir_records::Timestamp;

/// A datagram that comes again so soon, in ns, with all that it had, is the same one, seen on two interfaces.
const SAME: u64 = 10_000_000;

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
}

impl Seen<'_> {
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
    /// The last datagram, by which its double is known.
    last: Option<(u64, Timestamp)>,
}

impl Datagrams {
    /// The flow that begins with this datagram of `side`; nothing if it is not to be decoded.
    pub fn open(seen: &Seen<'_>, side: Side, settings: &Settings) -> Option<Self> {
        let (client, server) = match side {
            Side::Client => (seen.source, seen.destination),
            Side::Server => (seen.destination, seen.source),
        };
        // Where the first thing seen is a response, its query was missed.
        let late = side == Side::Server;
        let decoder = settings.decoders.datagrams(server.port(), late)?;
        let way = seen.way.of_client(side);
        Some(Self {
            observed: Observed::new(flow(settings, client, server, seen.at, way), decoder, late),
            last: None,
        })
    }

    /// Takes a datagram of `side`.
    pub fn take(&mut self, seen: &Seen<'_>, side: Side, context: &mut Context<'_>) {
        let mut hasher = DefaultHasher::new();
        (seen.source, seen.id, seen.payload.bytes).hash(&mut hasher);
        let this = hasher.finish();
        if self
            .last
            .is_some_and(|(last, at)| last == this && seen.at.since(at) < SAME)
        {
            context.counters.duplicates += 1;
            return;
        }
        self.last = Some((this, seen.at));
        let at = self.observed.seen(seen.at);
        let traffic = self.observed.traffic(side);
        traffic.packets += 1;
        traffic.bytes += seen.wire_len as u64;
        traffic.payload += seen.payload.len as u64;
        let at = self.observed.tell(at);
        self.observed.feed(context, |decoder, out| {
            decoder.data(side, at, seen.payload.bytes, out)
        });
    }

    /// It is now this late.
    pub fn tick(&mut self, now: Timestamp, context: &mut Context<'_>) {
        self.observed.feed(context, |decoder, out| decoder.tick(now, out));
    }

    /// No more will come.
    pub fn close(&mut self, context: &mut Context<'_>) {
        self.observed.close(Close::Abandoned, context);
    }
}
