//! TLS (RFC 8446, RFC 5246): what both sides say of themselves before everything is encrypted.
//!
//! `record` puts handshake messages together from records, however they are cut; `hello` reads the two that are told of,
//! `ja4` names a client by its hello, `progress` tells how far the handshake has come, `stream` is the decoder, `exchange` what
//! comes out and `document` what it means.
//!
//! One exchange a connection, at its end: after the handshake bytes are only counted. Of a connection that lasts, a document
//! tells early how the handshake went. Nothing is decrypted.

mod document;
mod exchange;
mod hello;
mod ja4;
mod names;
mod progress;
mod record;
mod stream;

use crate::Protocol;
use crate::detect::{Entry, Verdict};
pub use exchange::Exchange;
use record::{CLIENT_HELLO, HANDSHAKE, HEADER, LONGEST, SERVER_HELLO, SSL2};

/// How TLS is found and decoded.
pub(crate) const ENTRY: Entry = Entry {
    protocol: Protocol::Tls,
    client: |bytes, _| match bytes.first() {
        Some(&SSL2) => detect_old(bytes),
        _ => detect(bytes, CLIENT_HELLO),
    },
    server: |bytes, _| detect(bytes, SERVER_HELLO),
    open: stream::open,
};

/// A record with the beginning of this handshake message. Each byte is judged as soon as it is there. No hello is so long
/// that its length, in three bytes, needs the first of them.
fn detect(bytes: &[u8], message: u8) -> Verdict {
    for (i, byte) in bytes.iter().take(HEADER + 2).enumerate() {
        let fits = match i {
            0 => *byte == HANDSHAKE,
            1 => *byte == 3,
            2 => *byte <= 4,
            3 => usize::from(*byte) <= LONGEST >> 8,
            4 => (1..=LONGEST).contains(&usize::from(u16::from_be_bytes([bytes[3], *byte]))),
            5 => *byte == message,
            _ => *byte == 0 || bytes[3..5] == [0, 1],
        };
        if !fits {
            return Verdict::No;
        }
    }
    if bytes.len() < HEADER + 2 {
        Verdict::More
    } else {
        Verdict::Yes
    }
}

/// A client's hello in SSL 2's form that offers a later version (RFC 5246, E.2): its length, its type, that version, and the
/// length of its suites, each of three bytes.
fn detect_old(bytes: &[u8]) -> Verdict {
    let fits = |(place, byte): (usize, &u8)| match place {
        1 => *byte >= 28,
        2 => *byte == CLIENT_HELLO,
        3 => *byte == 3,
        4 => *byte <= 3,
        5 => *byte == 0,
        6 => *byte > 0 && byte.is_multiple_of(3),
        _ => true,
    };
    match bytes.iter().enumerate().all(fits) {
        false => Verdict::No,
        true if bytes.len() < HEADER + 2 => Verdict::More,
        true => Verdict::Yes,
    }
}
