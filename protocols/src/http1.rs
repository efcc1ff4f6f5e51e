//! HTTP/1.x (RFC 9112).
//!
//! `head`, `start`, `odd`, `fields` and `framing` read heads, `collector` gathers them, `body` counts bodies; `connection` holds
//! the two streams and pairs requests with responses (`client` and `server` are its two halves, `ending` the ways in which it
//! is cut short); `exchange` is what comes out and `document` says what it means.
//!
//! Where the end of a message is in doubt, nothing is guessed: what made it doubtful is noted on the exchange, and `search`
//! looks for the next sound head. What lies between is counted, and what is found may answer or ask something else than it
//! seems to: it is marked until the connection was quiet once.

mod body;
mod calls;
mod client;
mod collector;
mod connection;
mod document;
mod ending;
mod exchange;
mod fields;
mod framing;
mod head;
mod odd;
mod pairing;
mod search;
mod server;
mod start;
mod target;
mod upgrade;
mod waiting;

use crate::detect::{Dissector, Entry, Verdict};
use crate::{Limits, Protocol};
pub(crate) use document::request_url;
pub use exchange::Exchange;
pub(crate) use fields::Field;
pub(crate) use framing::{note, quote};
pub(crate) use head::is_token_byte;
use std::sync::Arc;
pub(crate) use target::{Target, host};

/// A first line that has not ended after so many bytes is judged by its beginning.
const LONG: usize = 1024;

/// How HTTP/1 is found and decoded.
pub(crate) const ENTRY: Entry = Entry {
    protocol: Protocol::Http1,
    client: detect_client,
    server: |bytes, _| start::response_verdict(bytes),
    open: connection::open,
};

/// Methods in use, for request lines that are too long to wait for.
const KNOWN: &[&[u8]] = &[
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"OPTIONS",
    b"PROPFIND",
    b"REPORT",
    b"SEARCH",
];

/// A whole request line, or the beginning of one far longer than any other protocol's first line would be.
fn detect_client(bytes: &[u8], late: bool) -> Verdict {
    if late {
        return start::midway_request_verdict(bytes);
    }
    match start::request_verdict(bytes) {
        Verdict::More if bytes.len() >= LONG && begins_request(bytes) => Verdict::Yes,
        verdict => verdict,
    }
}

/// The beginning of a request line with a method in use.
pub(crate) fn begins_request(bytes: &[u8]) -> bool {
    let mut words = head::skip_empty(bytes).splitn(3, |b| *b == b' ');
    let known = words.next().is_some_and(|method| KNOWN.contains(&method));
    let target = words.next().unwrap_or_default();
    let url = target.starts_with(b"/") || target.starts_with(b"http");
    let plain = target.iter().all(|b| b.is_ascii_graphic());
    let version = words.next().unwrap_or_default();
    known && url && plain && (b"HTTP/1.1\r".starts_with(version) || b"HTTP/1.0\r".starts_with(version))
}

/// The decoder for a connection that was taken for another version of HTTP, within so many tunnels.
pub(crate) fn instead(limits: &Arc<Limits>, depth: u8) -> Box<dyn Dissector> {
    let mut connection = connection::Connection::new(limits, false);
    connection.depth = depth;
    // (None of the other's exchanges has these numbers.)
    connection.sequence = 1 << 32;
    Box::new(connection)
}

/// Whether a server of HTTP/1 begins to answer so.
pub(crate) fn begins_answer(bytes: &[u8]) -> Verdict {
    start::response_verdict(bytes)
}
