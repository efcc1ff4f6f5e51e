//! Decoders: the bytes of a connection in, exchanges out. No sockets, no clock, no threads.
//!
//! A source feeds a [`Decoder`] `(side, time, bytes)`, tells it of gaps and ends, and gets [`Exchange`]s through a
//! callback; [`Exchange::document`] turns one into what is exported. A decoder never blocks, bounds its memory and
//! survives any input.
#![forbid(unsafe_code)]

pub mod http1;

use weir_records::{Document, Flow, Policy, Timestamp};

/// Who sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one who opened the connection.
    Client,
    /// The one who accepted it.
    Server,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// Both sides closed in order.
    Finished,
    /// This side reset it.
    Reset(Side),
    /// The source gave it up: idle too long, or drained.
    Abandoned,
}

/// What a connection was found to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Not yet known.
    Unknown,
    /// HTTP/1.x.
    Http1,
    /// Nothing that is decoded here, or no longer (after CONNECT, an upgrade, a bound).
    Tcp,
}

/// Bounds of one connection's decoder.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest head, in bytes.
    pub max_head: usize,
    /// Most headers of a message.
    pub max_headers: usize,
    /// Most requests waiting for a response.
    pub max_pending: usize,
}

/// One request and its response, of whichever protocol.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// HTTP/1.x.
    Http1(Box<http1::Exchange>),
}

impl Exchange {
    /// The document that says what was seen.
    pub fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        match self {
            Self::Http1(exchange) => exchange.document(flow, policy),
        }
    }
}

/// The decoder of one connection: finds the protocol, then decodes it.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// For a connection that is seen from its beginning.
    pub fn new(limits: &std::sync::Arc<Limits>) -> Self {
        let _ = limits;
        Self {}
    }

    /// For a connection whose beginning was missed.
    pub fn late(limits: &std::sync::Arc<Limits>) -> Self {
        Self::new(limits)
    }

    /// These bytes were sent by `side`; `out` gets each exchange that they complete.
    pub fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        let _ = (side, at, bytes, out);
    }

    /// Bytes of `side` were missed: so many, if that is known.
    pub fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Exchange)) {
        let _ = (side, at, missed, out);
    }

    /// `side` will send no more (FIN).
    pub fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        let _ = (side, at, out);
    }

    /// The connection is over: whatever is unfinished comes out now, marked as such.
    pub fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        let _ = (at, how, out);
    }

    /// What the connection was found to speak so far.
    pub fn protocol(&self) -> Protocol {
        Protocol::Unknown
    }

    /// True once nothing more can come out: the source may stop feeding.
    pub fn is_opaque(&self) -> bool {
        false
    }
}
