//! Builds frames, and connections of them.

use crate::support::{Observer, Step, client, server};
use serde_json::Value;
use weir_protocols::Side;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// In place of an opcode: the last frame of its message.
pub const FIN: u8 = 0x80;
/// The same: compressed.
pub const RSV1: u8 = 0x40;

pub const REQUEST: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: chat.example:81\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// The response that opens the connection, with these fields.
pub fn switch(fields: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{fields}\r\n")
}

/// A frame of a side, its length in the shortest form.
pub fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask_bit = if side == Side::Client { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(mask_bit | length as u8),
        length @ 126..=0xffff => {
            frame.push(mask_bit | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(mask_bit | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    if side == Side::Client {
        let mask = [0x11, 0xff, 0x00, 0x5a];
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    } else {
        frame.extend(payload);
    }
    frame
}

/// The client sends this frame.
pub fn up(first: u8, payload: impl AsRef<[u8]>) -> Step {
    client(frame(Side::Client, first, payload.as_ref()))
}

/// The server does.
pub fn down(first: u8, payload: impl AsRef<[u8]>) -> Step {
    server(frame(Side::Server, first, payload.as_ref()))
}

/// The payload of a close frame.
pub fn closing(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// A connection whose handshake is over.
pub fn opened(fields: &str) -> Observer {
    Observer::new().steps(&[client(REQUEST), server(switch(fields))])
}

/// The WebSocket's document among the two of a connection.
#[track_caller]
pub fn document(seen: &Observer) -> Value {
    let documents = seen.documents();
    assert_eq!(documents.len(), 2, "{documents:#?}");
    assert_eq!(documents[0]["event"]["dataset"], "weir.http");
    assert_eq!(documents[0]["http"]["response"]["status_code"], 101);
    assert_eq!(documents[1]["event"]["dataset"], "weir.websocket");
    assert_ne!(documents[0]["event"]["id"], documents[1]["event"]["id"]);
    documents[1].clone()
}

/// The same of these steps after an ordinary handshake.
#[track_caller]
pub fn of(steps: &[Step]) -> Value {
    document(&opened(ACCEPT).steps(steps))
}
