//! DNS (RFC 1035, EDNS of RFC 6891), over UDP and TCP.
//!
//! `message` reads one message by way of `wire`, `data` writes a record's data as a zone file has it, `pairing` finds the query that
//! a response answers, `datagrams` and `stream` are its two sources (over TCP `framing` cuts messages out, and finds the next one
//! after a gap), `exchange` is what comes out and `document` says what it means.
//!
//! One exchange a query. A response belongs to the query of the same flow with the same id and the same question, so that
//! neither a late answer nor a forged one is taken for another query's: each has a document of its own, and `past` tells them from
//! copies of an answer. Where a question can't be read the id alone must tell. A query that is sent again before it is
//! answered is the same query, which its application has waited for since it was first sent. Over UDP a query without an
//! answer comes out after [`TIMEOUT`] with a code of -1.
//!
//! `sound` tells messages at any port from other datagrams. Multicast DNS and LLMNR (`multicast`) have the same messages, and
//! their queries have no one answer.

mod data;
mod datagrams;
mod document;
mod exchange;
mod framing;
mod message;
mod multicast;
mod names;
mod pairing;
mod past;
mod sound;
mod stream;
mod wire;

use crate::detect::{Entry, Verdict};
use crate::{Protocol, Side};
pub(crate) use datagrams::open as datagrams;
pub use exchange::Exchange;
use message::{Header, Kind, beginning};
pub use multicast::Naming;
pub(crate) use multicast::open as messages;
use std::time::Duration;

/// So long after it was last sent a query over UDP counts as unanswered. More than the 5 s after which resolver libraries
/// ask again, so that such a repeat and its query are seen as one.
pub const TIMEOUT: Duration = Duration::from_secs(6);

/// No connection is known by a query longer than this: one question is at most 271 bytes, its options a few hundred more. It
/// rules out nearly every other protocol by its first two bytes.
const LONGEST_QUERY: usize = 4096;

/// Who sent this datagram, if it is a message of DNS beyond doubt: the client a query, the server a response.
pub(crate) fn sender(datagram: &[u8]) -> Option<Side> {
    Some(match sound::sound(datagram)? {
        Kind::Query => Side::Client,
        Kind::Response => Side::Server,
    })
}

/// True if this may answer a query, though not all of it can be read.
pub(crate) fn may_answer(datagram: &[u8]) -> bool {
    sound::is_like_response(datagram)
}

/// How DNS over TCP is found and decoded.
pub(crate) const ENTRY: Entry = Entry {
    protocol: Protocol::Dns,
    client: |bytes, _| detect(bytes, Kind::Query),
    server: |bytes, _| detect(bytes, Kind::Response),
    open: stream::open,
};

/// A length, and a message of this kind with exactly one question, of a known class, that ends within that length. Each
/// byte is judged as soon as it is there, so that few bytes of another protocol are enough to rule this one out.
fn detect(bytes: &[u8], kind: Kind) -> Verdict {
    let Some((length, message)) = bytes.split_first_chunk::<2>() else {
        return Verdict::More;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length < Header::SIZE || (kind == Kind::Query && length > LONGEST_QUERY) {
        return Verdict::No;
    }
    beginning(&message[..message.len().min(length)], length, kind)
}
