//! The decoder of one connection: waits until it knows the protocol, then hands everything to that protocol's decoder.

use crate::detect::{Dissector, Probe, Verdict, recognise};
use crate::{Close, Exchange, Limits, Protocol, Side, dns};
use std::{cell::Cell, sync::Arc};
use weir_records::Timestamp;

/// So much of a first line is kept until it tells what it is.
const FIRST_LINE: usize = 16 << 10;
/// After so many bytes of one side without anything known in them, a connection joined late is left alone.
const LATE_SEARCH: u64 = 16 << 20;

/// The decoder of one connection: finds the protocol, then decodes it.
#[derive(Debug)]
pub struct Decoder {
    limits: Arc<Limits>,
    state: State,
}

#[derive(Debug)]
enum State {
    Detecting(Detecting),
    Decoding(Protocol, Box<dyn Dissector>),
    /// Closed while it was this.
    Closed(Protocol),
    Opaque,
}

#[derive(Debug, Default)]
struct Detecting {
    late: bool,
    client: Probe,
    server: Probe,
    /// Whose the kept bytes are, in the order in which they came.
    order: Vec<Kept>,
    searched: u64,
}

/// Bytes of one side that came one after the other.
#[derive(Debug)]
struct Kept {
    side: Side,
    /// When the first of them came.
    at: Timestamp,
    length: usize,
}

impl Detecting {
    /// So many more bytes of this side are kept.
    fn keep(&mut self, side: Side, at: Timestamp, length: usize) {
        match self.order.last_mut() {
            Some(last) if last.side == side => last.length += length,
            _ if length > 0 => self.order.push(Kept { side, at, length }),
            _ => {}
        }
    }

    /// Shows a decoder what was kept, in order.
    fn replay(&self, decoder: &mut dyn Dissector, out: &mut dyn FnMut(Exchange)) {
        let (mut client, mut server) = (self.client.part.as_slice(), self.server.part.as_slice());
        for kept in &self.order {
            let part = match kept.side {
                Side::Client => &mut client,
                Side::Server => &mut server,
            };
            let (bytes, rest) = part.split_at(kept.length.min(part.len()));
            *part = rest;
            decoder.data(kept.side, kept.at, bytes, out);
        }
    }

    fn late() -> Self {
        Self {
            late: true,
            ..Self::default()
        }
    }
}

impl Decoder {
    /// For a connection that is seen from its beginning.
    pub fn new(limits: &Arc<Limits>) -> Self {
        Self {
            limits: Arc::clone(limits),
            state: State::Detecting(Detecting::default()),
        }
    }

    /// For a connection whose beginning was missed.
    pub fn late(limits: &Arc<Limits>) -> Self {
        Self {
            limits: Arc::clone(limits),
            state: State::Detecting(Detecting::late()),
        }
    }

    /// For the datagrams between a client's socket and port 53 of a server: each piece of data is one of them. It needs
    /// [`Self::tick`] for what is never answered.
    pub fn dns_datagrams(limits: &Arc<Limits>) -> Self {
        Self {
            limits: Arc::clone(limits),
            state: State::Decoding(Protocol::Dns, dns::datagrams(limits, false)),
        }
    }

    /// As [`Self::dns_datagrams`], for a flow whose first queries may have been missed.
    pub fn late_dns_datagrams(limits: &Arc<Limits>) -> Self {
        Self {
            limits: Arc::clone(limits),
            state: State::Decoding(Protocol::Dns, dns::datagrams(limits, true)),
        }
    }

    /// These bytes were sent by `side`; `out` gets each exchange that they complete.
    pub fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        if let State::Detecting(_) = self.state {
            self.detect(side, at, bytes, out);
        } else {
            self.decode(|decoder| decoder.data(side, at, bytes, out));
        }
    }

    /// Bytes of `side` were missed: so many, if that is known.
    pub fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Exchange)) {
        if let State::Detecting(detecting) = &mut self.state {
            *detecting = Detecting::late();
        } else {
            self.decode(|decoder| decoder.gap(side, at, missed, out));
        }
    }

    /// `side` will send no more (FIN).
    pub fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        self.decode(|decoder| decoder.end(side, at, out));
    }

    /// It is now this late, though nothing came: whatever has waited for too long comes out.
    pub fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        self.decode(|decoder| decoder.tick(at, out));
    }

    /// The connection is over: whatever is unfinished comes out now, marked as such.
    pub fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        self.decode(|decoder| decoder.close(at, how, out));
        self.state = State::Closed(self.protocol());
    }

    /// Messages since this was last asked that are counted and not listed: heartbeats and the like.
    pub fn take_events(&mut self) -> u64 {
        match &mut self.state {
            State::Decoding(_, decoder) => decoder.take_events(),
            _ => 0,
        }
    }

    /// What the connection was found to speak so far.
    pub fn protocol(&self) -> Protocol {
        match &self.state {
            State::Detecting(_) => Protocol::Unknown,
            State::Decoding(protocol, _) | State::Closed(protocol) => *protocol,
            State::Opaque => Protocol::Tcp,
        }
    }

    /// True once nothing more can come out: the source may stop feeding.
    pub fn is_opaque(&self) -> bool {
        matches!(self.state, State::Opaque | State::Closed(_))
    }

    fn decode(&mut self, feed: impl FnOnce(&mut dyn Dissector)) {
        if let State::Decoding(_, decoder) = &mut self.state {
            feed(&mut **decoder);
            if decoder.is_opaque() {
                self.state = State::Opaque;
            }
        }
    }

    fn detect(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        let State::Detecting(detecting) = &mut self.state else {
            return;
        };
        let found = Cell::new(None);
        let late = detecting.late;
        let check = |bytes: &[u8]| {
            let (verdict, entry) = recognise(side, bytes, late);
            found.set(entry);
            verdict
        };
        let probe = match side {
            Side::Client => &mut detecting.client,
            Side::Server => &mut detecting.server,
        };
        let mut before = probe.part.len();
        let mut verdict = probe.push(at, bytes, FIRST_LINE, &check);
        if late && verdict == Verdict::No && before > 0 {
            // What was kept of this side is forgotten, and these bytes are looked at by themselves.
            detecting.order.retain(|kept| kept.side != side);
            before = 0;
            verdict = probe.push(at, bytes, FIRST_LINE, &check);
        }
        let more = probe.part.len().saturating_sub(before);
        detecting.keep(side, at, more);
        if late {
            detecting.searched += bytes.len() as u64;
            if verdict == Verdict::No && detecting.searched <= LATE_SEARCH {
                return;
            }
        }
        match (verdict, found.get()) {
            (Verdict::Yes, Some(entry)) => {
                let mut decoder = (entry.open)(&self.limits, late);
                detecting.replay(&mut *decoder, out);
                self.state = State::Decoding(entry.protocol, decoder);
                self.data(side, at, bytes, out);
            }
            (Verdict::No, _) => self.state = State::Opaque,
            _ => {}
        }
    }
}
