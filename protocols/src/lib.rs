//! Decoders: the bytes of a connection in, exchanges out. No sockets, no clock, no threads.
//!
//! A source feeds a [`Decoder`] `(side, time, bytes)`, tells it of gaps and ends, and gets [`Exchange`]s through a
//! callback; [`Exchange::document`] turns one into what is exported. A decoder never blocks, bounds its memory and
//! survives any input.
//!
//! A new protocol is one module with an [`Entry`](detect::Entry), and its line in [`detect::REGISTRY`].
#![forbid(unsafe_code)]

mod dates;
mod decoder;
mod decoders;
mod detect;
pub mod dns;
pub mod dubbo;
mod fate;
mod guess;
mod hessian2;
mod http;
pub mod http1;
pub mod http2;
mod preface;
pub mod socks;
pub mod tls;
mod tunnel;
mod undecoded;
pub mod websocket;
mod within;

pub use decoder::Decoder;
pub use decoders::{Decoders, Spoken};
pub use detect::speaker;
pub use dns::Naming;
pub use preface::Prefaced;
use std::time::Duration;
pub use tunnel::Tunnelled;
pub use undecoded::Undecoded;
use weir_config::{Bodies, Config};
use weir_records::{Document, ExchangeState, Flow, Policy};

/// Who sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one who opened the connection.
    Client,
    /// The one who accepted it.
    Server,
}

impl Side {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// What it is called in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
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
    /// HTTP/2, and gRPC and Triple on it.
    Http2,
    /// DNS.
    Dns,
    /// TLS.
    Tls,
    /// Dubbo 2.
    Dubbo,
    /// SOCKS.
    Socks,
    /// A PROXY header, and nothing yet behind it.
    Proxied,
    /// Nothing that is decoded here, or not yet (it may go over to TLS), or no longer (after CONNECT, an upgrade, a bound).
    Tcp,
}

impl Protocol {
    /// What documents call it; nothing where it is not known.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Proxied | Self::Tcp => None,
            Self::Http1 | Self::Http2 => Some("http"),
            Self::Dns => Some("dns"),
            Self::Tls => Some("tls"),
            Self::Dubbo => Some("dubbo"),
            Self::Socks => Some("socks"),
        }
    }
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
    /// Which bodies of HTTP are kept, and how much of each.
    pub bodies: Bodies,
    /// How long a request waits for the beginning of its answer before a document tells that it waits, and how long a TLS
    /// connection goes on before a document tells of its handshake; nothing for never.
    pub hung_after: Option<Duration>,
}

impl Limits {
    /// The same in ns.
    pub(crate) fn patience(&self) -> Option<u64> {
        let after = self.hung_after?;
        Some(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let decoding = &config.decoding;
        Self {
            max_head: usize::try_from(decoding.max_head.0).unwrap_or(usize::MAX),
            max_headers: decoding.max_headers,
            max_pending: decoding.max_pending,
            bodies: config.capture.bodies.clone(),
            hung_after: decoding.hung_after.non_zero(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

/// One request and its response, of whichever protocol.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// HTTP/1.x.
    Http1(Box<http1::Exchange>),
    /// HTTP/2, and gRPC and Triple on it.
    Http2(Box<http2::Exchange>),
    /// DNS.
    Dns(Box<dns::Exchange>),
    /// TLS.
    Tls(Box<tls::Exchange>),
    /// Dubbo 2.
    Dubbo(Box<dubbo::Exchange>),
    /// A WebSocket connection, from its handshake to its end.
    WebSocket(Box<websocket::Exchange>),
    /// What a SOCKS proxy was asked for.
    Socks(Box<socks::Exchange>),
    /// Any of them, within a tunnel that was opened by CONNECT or by SOCKS.
    Tunnelled(Box<Tunnelled>),
    /// Any of them, behind something that was taken off.
    Prefaced(Box<Prefaced>),
}

impl From<dns::Exchange> for Exchange {
    fn from(exchange: dns::Exchange) -> Self {
        Self::Dns(Box::new(exchange))
    }
}

impl Exchange {
    /// What its document calls the protocol.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Http1(_) => "http",
            Self::Http2(exchange) => exchange.protocol(),
            Self::Dns(exchange) => exchange.protocol(),
            Self::Tls(_) => "tls",
            Self::Dubbo(_) => "dubbo",
            Self::WebSocket(_) => "websocket",
            Self::Socks(_) => "socks",
            Self::Tunnelled(exchange) => exchange.protocol(),
            Self::Prefaced(exchange) => exchange.protocol(),
        }
    }

    /// The exchange happened in a tunnel, whose protocol is not the connection's.
    pub fn is_tunnelled(&self) -> bool {
        match self {
            Self::Tunnelled(_) => true,
            Self::Prefaced(exchange) => exchange.is_tunnelled(),
            _ => false,
        }
    }

    /// The exchange is still under way: its request has waited for its answer for [`Limits::hung_after`], or its TLS connection
    /// goes on after that. The exchange comes again when its fate is known.
    pub fn is_waiting(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.fate.is_waiting(),
            Self::Http2(exchange) => exchange.fate.is_waiting(),
            Self::Dubbo(exchange) => exchange.fate.is_waiting(),
            Self::Tls(exchange) => exchange.is_open(),
            Self::Dns(_) | Self::WebSocket(_) | Self::Socks(_) => false,
            Self::Tunnelled(exchange) => exchange.is_waiting(),
            Self::Prefaced(exchange) => exchange.is_waiting(),
        }
    }

    /// The document that says what was seen.
    pub fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let is_within = matches!(self, Self::Tunnelled(_) | Self::Prefaced(_));
        if self.is_waiting() && !is_within {
            let mut document = self.document_of_kind(flow, policy);
            let state = match self {
                Self::Tls(_) => ExchangeState::Open,
                _ => ExchangeState::Waiting,
            };
            fate::mark(&mut document, state);
            return document;
        }
        self.document_of_kind(flow, policy)
    }

    fn document_of_kind(&self, flow: &Flow, policy: &Policy) -> Document {
        match self {
            Self::Http1(exchange) => exchange.document(flow, policy),
            Self::Http2(exchange) => exchange.document(flow, policy),
            Self::Dns(exchange) => exchange.document(flow, policy),
            Self::Tls(exchange) => exchange.document(flow, policy),
            Self::Dubbo(exchange) => exchange.document(flow, policy),
            Self::WebSocket(exchange) => exchange.document(flow, policy),
            Self::Socks(exchange) => exchange.document(flow, policy),
            Self::Tunnelled(exchange) => exchange.document(flow, policy),
            Self::Prefaced(exchange) => exchange.document(flow, policy),
        }
    }
}
