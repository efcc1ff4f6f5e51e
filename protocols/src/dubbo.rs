//! Dubbo 2, the protocol of Apache Dubbo before Triple (`ExchangeCodec`, `DubboCodec`).
//!
//! `header` and `framing` cut a stream into frames and find the next one again where bytes were missed, `connection` pairs
//! requests with responses by their number, in both directions (a provider calls its consumer back on the same connection),
//! `asides` counts what comes beside these, `exchange` is what comes out. A body is kept as it came, up to a bound, and only read when its document is made: `body` knows
//! what is in it, `items` how each serialization writes that down (`hessian2`, `jsonb`, `lines`), `document` what it means.
//!
//! Heartbeats and other events are counted, not listed, and so is plain text between frames: commands that an operator types
//! on the same port (telnet). A frame's length is believed as soon as its header is plausible, but memory is used only for
//! what has arrived.

mod asides;
mod body;
mod connection;
mod document;
mod exchange;
mod framing;
mod header;
mod items;
mod jsonb;
mod jsonpath;
mod lines;
mod names;
mod numbers;
mod symbols;
pub(crate) mod triple;

use crate::Protocol;
use crate::detect::{Entry, Verdict};
pub use exchange::Exchange;
use header::{Found, Header, search};
use std::time::Duration;

/// So long a request waits for its response. Far longer than any client does: a late answer is told as an answer.
pub const TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes of a body that are kept.
const KEPT: usize = 256 << 10;

/// Bytes of an event that are kept: enough to tell one from another.
const EVENT_KEPT: usize = 16;

/// Bytes of bodies that a connection keeps for requests in waiting. Past it of each only the beginning is kept.
const STORED: usize = 1 << 20;

/// That beginning: interface, method, and what fits of the arguments.
const BEGINNING: usize = 1 << 10;

/// How Dubbo is found and decoded.
pub(crate) const ENTRY: Entry = Entry {
    protocol: Protocol::Dubbo,
    client: detect,
    server: detect,
    open: connection::open,
};

/// A plausible header: at the beginning, or, where that was missed, anywhere. Both sides send requests and responses.
fn detect(bytes: &[u8], late: bool) -> Verdict {
    if late {
        return match search(bytes) {
            Found::At(_) => Verdict::Yes,
            Found::Partial(_) => Verdict::More,
            Found::Nowhere => Verdict::No,
        };
    }
    match bytes.first_chunk() {
        Some(bytes) if Header::read(bytes).is_some_and(|header| header.is_plausible()) => Verdict::Yes,
        None if header::may_begin(bytes) => Verdict::More,
        _ => Verdict::No,
    }
}
