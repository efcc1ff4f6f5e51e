//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt): a header that a proxy sends before
//! the bytes of the client that it passes on, and that names that client.
//!
//! A header that keeps to the specification is taken off, and whatever else is not. Of headers behind each other the first
//! counts: the server reads that one.

mod tlv;
mod v1;
mod v2;

use super::Taken;
use crate::detect::{Dissector, Entry, Standing, Verdict};
use crate::within::{DEEPEST, Within};
use crate::{Close, Exchange, Limits, Protocol, Side};
use std::{net::SocketAddr, sync::Arc};
pub(crate) use tlv::Said;
use weir_records::{Preface, Timestamp};

/// Bytes of a header that are kept: what stands behind them is passed over.
const KEPT: usize = 4 << 10;
/// Bytes of the server that are kept until the header is whole. No server speaks before that, but captures may swap packets.
const EARLY: usize = 4 << 10;

/// How a header is found and taken off.
pub(crate) const ENTRY: Entry = Entry {
    protocol: Protocol::Proxied,
    client: |bytes, late| match Header::read(bytes) {
        _ if late => Verdict::No,
        Read::Header(_) | Read::Begun => Verdict::Yes,
        Read::More => Verdict::More,
        Read::Malformed => Verdict::No,
    },
    server: |_, _| Verdict::No,
    open: |limits, _| Box::new(Proxied::new(limits)),
};

/// A whole header.
#[derive(Debug)]
struct Header {
    preface: Preface,
    /// The client, and whom the client had connected to, where the header names them.
    ends: Option<(SocketAddr, SocketAddr)>,
    said: Said,
    /// Bytes that the header takes.
    length: usize,
}

/// What bytes are, taken as a header.
#[derive(Debug)]
enum Read {
    Header(Header),
    /// Certainly a header, and not whole.
    Begun,
    /// Perhaps the beginning of one.
    More,
    /// No header.
    Malformed,
}

impl Header {
    fn read(bytes: &[u8]) -> Read {
        match bytes.first() {
            None => Read::More,
            Some(b'P') => v1::read(bytes),
            Some(b'\r') => v2::read(bytes),
            Some(_) => Read::Malformed,
        }
    }
}

/// A connection that begins with a header.
#[derive(Debug)]
struct Proxied {
    limits: Arc<Limits>,
    depth: u8,
    /// The header so far, or its first [`KEPT`] bytes.
    header: Vec<u8>,
    /// What the server sent before the header was whole.
    early: Vec<u8>,
    /// Bytes of the header that are passed over.
    skip: usize,
    within: Option<Within<Taken>>,
    standing: Standing,
    /// What follows is not looked into.
    opaque: bool,
}

impl Proxied {
    fn new(limits: &Arc<Limits>) -> Self {
        Self {
            limits: Arc::clone(limits),
            depth: 0,
            header: Vec::new(),
            early: Vec::new(),
            skip: 0,
            within: None,
            standing: Standing::Guess,
            opaque: false,
        }
    }

    /// Takes what belongs to the header from the client's bytes.
    fn take(&mut self, bytes: &mut &[u8]) {
        let skipped = self.skip.min(bytes.len());
        *bytes = &bytes[skipped..];
        self.skip -= skipped;
        if self.within.is_some() || self.standing != Standing::Guess || bytes.is_empty() {
            return;
        }
        let before = self.header.len();
        let piece = &bytes[..(KEPT - before).min(bytes.len())];
        self.header.extend_from_slice(piece);
        match Header::read(&self.header) {
            Read::Header(header) => {
                let length = header.length;
                let used = (length - before).min(bytes.len());
                self.skip = length - before - used;
                *bytes = &bytes[used..];
                self.open(header);
            }
            Read::Begun | Read::More => *bytes = &bytes[piece.len()..],
            Read::Malformed => self.standing.settle(Standing::Refuted),
        }
    }

    fn open(&mut self, header: Header) {
        self.header = Vec::new();
        self.standing.settle(Standing::Confirmed);
        if self.depth >= DEEPEST {
            self.opaque = true;
            return;
        }
        let taken = Taken {
            preface: header.preface,
            ends: header.ends,
            proxy: Some(header.said),
        };
        self.within = Some(Within::new(&self.limits, taken, self.depth));
    }
}

impl Dissector for Proxied {
    fn data(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        if side == Side::Client && (self.within.is_none() || self.skip > 0) {
            self.take(&mut bytes);
        }
        let Some(within) = &mut self.within else {
            if side == Side::Server {
                self.early.extend_from_slice(bytes);
                self.opaque |= self.early.len() > EARLY;
            }
            return;
        };
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            within.data(Side::Server, at, &early, out);
        }
        if !bytes.is_empty() {
            within.data(side, at, bytes, out);
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Exchange)) {
        match &mut self.within {
            Some(within) if self.skip == 0 || side == Side::Server => within.gap(side, at, missed, out),
            _ => self.opaque = true,
        }
    }

    fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        if let Some(within) = &mut self.within {
            within.end(side, at, out);
        }
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        if let Some(within) = &mut self.within {
            within.close(at, how, out);
        }
    }

    fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        if let Some(within) = &mut self.within {
            within.tick(at, out);
        }
    }

    fn waits(&self) -> bool {
        self.within.as_ref().is_some_and(Within::waits)
    }

    fn take_events(&mut self) -> u64 {
        self.within.as_mut().map_or(0, Within::take_events)
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn found(&self) -> Option<Protocol> {
        self.within
            .as_ref()?
            .found()
            .filter(|found| *found != Protocol::Unknown)
    }

    fn named(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.within.as_ref()?.around().ends
    }

    fn set_depth(&mut self, depth: u8) {
        self.depth = depth;
    }

    fn held(&self) -> usize {
        let within = self.within.as_ref().map_or(0, Within::held);
        size_of::<Self>() + self.header.capacity() + self.early.capacity() + within
    }

    fn is_opaque(&self) -> bool {
        self.opaque || self.within.as_ref().is_some_and(Within::is_opaque)
    }
}
