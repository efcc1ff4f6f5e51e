//! SOCKS 4, 4A (openssh.com/txt/socks4.protocol, socks4a.protocol) and 5 (RFC 1928, RFC 1929): a client asks a proxy to
//! connect it. That is told in a document of its own, as CONNECT is; what passes through the connection is decoded as in any
//! tunnel. Names and passwords are not kept.
//!
//! `message` reads what both sides say, `stream` is the decoder, `exchange` what comes out and `document` what it means.

mod document;
mod exchange;
mod message;
mod stream;

use crate::Protocol;
use crate::detect::{Entry, Verdict};
pub use exchange::Exchange;

/// How SOCKS is found and decoded. The proxy's first answer makes it certain.
pub(crate) const ENTRY: Entry = Entry {
    protocol: Protocol::Socks,
    client: |bytes, late| match message::Opening::read(bytes) {
        _ if late => Verdict::No,
        message::Read::Whole(..) => Verdict::Yes,
        message::Read::More => Verdict::More,
        message::Read::Wrong => Verdict::No,
    },
    server: |_, _| Verdict::No,
    open: |limits, _| Box::new(stream::Stream::new(limits)),
};
