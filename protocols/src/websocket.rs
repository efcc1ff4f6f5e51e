//! WebSocket (RFC 6455): what passes after an HTTP/1.1 handshake, counted.
//!
//! `handshake` is what the two sides agreed on, `frame` reads the headers of frames, `counting` counts one side's messages,
//! `connection` is the decoder, `exchange` what comes out and `document` what it means.
//!
//! One exchange a connection, at its end. Payloads pass by; only that of a close frame is read. Sizes are those on the wire:
//! with permessage-deflate (RFC 7692) a message is as long as it was compressed, and is not decompressed. A connection
//! whose handshake was not seen is not known as a WebSocket: its frames say too little. Over HTTP/2 (RFC 8441) the
//! stream's DATA is counted as that of any other.

mod connection;
mod counting;
mod document;
mod exchange;
mod frame;
mod handshake;

pub(crate) use connection::open;
pub use exchange::Exchange;
pub(crate) use handshake::Handshake;
