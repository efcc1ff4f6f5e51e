//! WebSocket (RFC 6455): what passes after a handshake over HTTP/1.1, or within a stream of HTTP/2 (RFC 8441), counted.
//!
//! `handshake` is what the two sides agreed on, `frame` reads the headers of frames, `counting` counts one side's messages,
//! `connection` is the decoder, `exchange` what comes out and `document` what it means.
//!
//! One exchange a connection, at its end. Payloads pass by; only that of a close frame is read. Sizes are those on the wire:
//! with permessage-deflate (RFC 7692) a message is as long as it was compressed, and is not decompressed. A connection
//! whose handshake was not seen is not known as a WebSocket: its frames say too little.

mod connection;
mod counting;
mod document;
mod exchange;
mod frame;
mod handshake;

pub(crate) use connection::open;
pub use exchange::Exchange;
pub(crate) use handshake::Handshake;
