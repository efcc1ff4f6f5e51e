//! Protocols that begin in the open and go over to TLS when the client asks for that and the server agrees. Nothing of what
//! they say before is kept or told, but that it was there; what follows is found out anew.
//!
//! A file for each way to ask. `watch` follows a connection until TLS begins, or until there is no longer any need: those who
//! have something to say to each other without TLS, and those who say too much, are left alone.

mod ldap;
mod lines;
mod mssql;
mod mysql;
mod postgresql;
mod rdp;
mod watch;
mod xmpp;

use crate::detect::{Entry, Verdict};
use crate::{Protocol, Side};
use std::fmt;
use weir_records::Preface;

/// How such a connection is found and watched.
pub(crate) const ENTRY: Entry = Entry {
    // Until TLS begins, nothing is decoded.
    protocol: Protocol::Tcp,
    client: |bytes, late| begins(Side::Client, bytes, late),
    server: |bytes, late| begins(Side::Server, bytes, late),
    open: |limits, _| Box::new(watch::Watch::new(limits)),
};

/// A protocol: who speaks first, whether these are that side's first bytes, and what reads on
/// from them.
struct Kind {
    first: Side,
    begins: fn(&[u8]) -> Verdict,
    talk: fn(&[u8]) -> Box<dyn Talk>,
}

const KINDS: &[Kind] = &[
    lines::KIND,
    mysql::KIND,
    postgresql::KIND,
    ldap::KIND,
    xmpp::KIND,
    rdp::KIND,
    mssql::KIND,
];

/// What both sides say to each other before TLS.
trait Talk: fmt::Debug + Send {
    /// The first message in what this side sent.
    fn message(&self, side: Side, bytes: &[u8]) -> Message;
    /// A message of the client.
    fn client(&mut self, message: &[u8]) -> Asked;
    /// A message of the server, after the client has asked for TLS.
    fn server(&mut self, message: &[u8]) -> Answer;
    /// What this was, once TLS begins.
    fn preface(&self) -> Preface;
    /// The handshake of TLS is within packets of this protocol.
    fn wraps(&self) -> bool {
        false
    }
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// A message of so many bytes.
    Whole(usize),
    /// A message that goes on.
    More,
    /// Nothing of this protocol.
    Other,
}

/// What the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// TLS, if the server agrees.
    Tls,
    /// TLS, which begins with the client's next byte.
    TlsAtOnce,
    /// Something that may come before TLS.
    Something,
    /// Something after which TLS is not to be expected.
    Other,
}

/// What the server says to a client that has asked for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// TLS begins.
    Agreed,
    /// No; the client may go on without.
    Refused,
    /// Nothing yet.
    Something,
    /// TLS is not to be expected any more.
    Other,
}

/// Which kind begins like this on `side`.
fn kind(side: Side, bytes: &[u8]) -> (Verdict, Option<&'static Kind>) {
    let mut open = Verdict::No;
    for kind in KINDS.iter().filter(|kind| kind.first == side) {
        match (kind.begins)(bytes) {
            Verdict::Yes => return (Verdict::Yes, Some(kind)),
            Verdict::More => open = Verdict::More,
            Verdict::No => {}
        }
    }
    (open, None)
}

fn begins(side: Side, bytes: &[u8], late: bool) -> Verdict {
    match late {
        true => Verdict::No,
        false => kind(side, bytes).0,
    }
}

/// Bytes against what is expected in each place; `None` where anything may stand. `Yes` once all are there.
fn fits(bytes: &[u8], expected: &[Option<u8>]) -> Verdict {
    let differs = |(byte, expected): (&u8, &Option<u8>)| expected.is_some_and(|expected| expected != *byte);
    match bytes.iter().zip(expected).any(differs) {
        true => Verdict::No,
        false if bytes.len() < expected.len() => Verdict::More,
        false => Verdict::Yes,
    }
}

/// A message whose length, in all, is `length` once its header is whole.
fn sized(bytes: &[u8], length: Option<usize>) -> Message {
    match length {
        Some(length) if length <= bytes.len() => Message::Whole(length),
        _ => Message::More,
    }
}
