//! HTTP/2 (RFC 9113) in clear text, and gRPC, gRPC-Web, Connect and Triple on it.
//!
//! `frame` and `framing` cut a direction into frames and find the next one again where bytes were missed, `hpack` reads
//! header blocks (`blocks` gathers them, `rules` looks at their fields), `connection` holds the `streams`, and `tunnels` what
//! is within them; `exchange` is what comes out and `document` says what it means, with `parts` and `rpc`.
//!
//! A connection that is joined late is decoded from the next frame on. The peers' tables of headers are then only known as
//! far as they were filled since: what an index beyond that stands for is shown as unknown. A frame's length is believed,
//! but memory is used only for what has arrived.

mod blocks;
mod connection;
mod document;
mod exchange;
mod faults;
mod frame;
mod framing;
mod hpack;
mod names;
mod parts;
mod rpc;
mod rules;
mod streams;
mod triple;
mod tunnels;
mod upgrade;
mod waiting;

use crate::detect::{Entry, Verdict};
use crate::{Protocol, Side};
pub use exchange::Exchange;
use frame::{DEFAULT_MAX, HEADER, Header, SETTINGS};
pub(crate) use upgrade::{Upgrade, upgraded};

/// What a client sends first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Headers and messages of streams under way that are kept on a connection, in multiples of the longest head. Past it of
/// each list only the beginning is kept, and nothing of messages.
const STORED_HEADS: usize = 16;

/// That beginning: the pseudo-headers, and what fits of the others.
const BEGINNING: usize = 1 << 10;

/// Bytes of a wrapped call or answer of Triple that are kept.
const KEPT: usize = 128 << 10;

/// Streams whose end is remembered, so that what comes later is not taken for another exchange.
const FINISHED: usize = 128;

/// How HTTP/2 is found and decoded.
pub(crate) const ENTRY: Entry = Entry {
    protocol: Protocol::Http2,
    client: detect_client,
    server: detect_server,
    open: connection::open,
};

/// The preface; of a connection joined late, frames.
fn detect_client(bytes: &[u8], late: bool) -> Verdict {
    if bytes.starts_with(PREFACE) {
        Verdict::Yes
    } else if PREFACE.starts_with(bytes) {
        Verdict::More
    } else {
        detect_late(bytes, late, Side::Client)
    }
}

/// The settings, with which a server must begin.
fn detect_server(bytes: &[u8], late: bool) -> Verdict {
    if bytes.starts_with(PREFACE) {
        return Verdict::No;
    }
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        let may_begin = bytes.iter().zip([0, 0]).all(|(a, b)| *a == b);
        let may_begin = may_begin && bytes.get(3).is_none_or(|kind| *kind == SETTINGS);
        return if may_begin && !late {
            Verdict::More
        } else {
            Verdict::No
        };
    };
    let header = Header::read(header);
    let settings = (header.kind, header.flags, header.stream) == (SETTINGS, 0, 0);
    if settings && header.length.is_multiple_of(6) && header.length <= 256 {
        Verdict::Yes
    } else {
        detect_late(bytes, late, Side::Server)
    }
}

fn detect_late(bytes: &[u8], late: bool, side: Side) -> Verdict {
    if late && frame::search(bytes, side, DEFAULT_MAX).is_some() {
        Verdict::Yes
    } else {
        Verdict::No
    }
}
