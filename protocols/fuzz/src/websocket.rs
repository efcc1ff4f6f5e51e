//! Any connection after a handshake: survived, told of once, its bytes all counted, and the same however it is cut.
//!
//! The input is a list of steps, each with a byte for its kind and one for its length before it. Data of the client (`C`)
//! and the server (`S`) are bytes as they are; a frame of either (`c`, `s`) has its first byte from the step's, its length
//! and its mask. `G` and `g` are gaps (of the length). A first byte `D` allows compression.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Policy, Timestamp};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n";
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// Bytes of each side, and the WebSocket's document.
struct Run([u64; 2], Value);

fn run(mut input: &[u8], piece: usize) -> Run {
    let limits = Arc::new(Limits {
        max_head: 1024,
        max_headers: 8,
        max_pending: 4,
        ..Limits::default()
    });
    let mut decoder = Decoder::new(&limits);
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut sent = [0; 2];
    let deflate = input.first() == Some(&b'D');
    if deflate {
        input = &input[1..];
    }
    let switch = format!("{SWITCH}{}\r\n", if deflate { DEFLATE } else { "" });
    let at = Timestamp(0);
    let out = &mut |exchange| exchanges.push(exchange);
    decoder.data(Side::Client, at, REQUEST, out);
    decoder.data(Side::Server, at, switch.as_bytes(), out);
    while let Some(([kind, length], rest)) = input.split_first_chunk() {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        let side = match kind {
            b'C' | b'c' | b'G' => Side::Client,
            _ => Side::Server,
        };
        if matches!(kind, b'G' | b'g') {
            let missed = Some(u64::from(*length)).filter(|missed| *missed > 0);
            sent[usize::from(side == Side::Server)] += missed.unwrap_or(0);
            decoder.gap(side, at, missed, out);
            continue;
        }
        let mut data = Vec::new();
        if let (b'c' | b's', Some((first, payload))) = (kind, bytes.split_first()) {
            let mask = if side == Side::Client { 0x80 } else { 0 };
            data.extend([*first, mask | 126, 0, payload.len() as u8]);
            data.extend(if mask > 0 { &[1, 2, 3, 4][..] } else { &[] });
            data.extend(payload);
        } else {
            data.extend(bytes);
        }
        sent[usize::from(side == Side::Server)] += data.len() as u64;
        data.chunks(piece)
            .for_each(|bytes| decoder.data(side, at, bytes, out));
    }
    decoder.close(at, Close::Finished, out);
    assert_eq!(exchanges.len(), 2);
    let flow = weir_protocols_fuzz::flow(80);
    let document = exchanges[1].document(&flow, &Policy::new(&Records::default()));
    Run(sent, serde_json::to_value(&document).expect("a document is JSON"))
}

fuzz_target!(|input: &[u8]| {
    let Run(sent, whole) = run(input, usize::MAX);
    assert_eq!(whole["source"]["bytes"], sent[0]);
    assert_eq!(whole["destination"]["bytes"], sent[1]);
    for piece in [1, 7] {
        assert_eq!(run(input, piece).1, whole, "in pieces of {piece}");
    }
});
