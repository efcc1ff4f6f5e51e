//! Any connection that begins like TLS: survived, and told of once, or not at all where no hello follows.
//!
//! The input is a list of pieces, each with its length in one byte before it; the length's lowest bit tells whose it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Close, Decoder, Limits, Side};
use weir_records::{Policy, Timestamp};

/// A record that begins a ClientHello.
const FIRST: [u8; 7] = [22, 3, 1, 0x20, 0, 1, 0];

fuzz_target!(|input: &[u8]| {
    let limits = Limits {
        max_head: 1024,
        max_headers: 8,
        max_pending: 4,
        ..Limits::default()
    };
    let mut decoder = Decoder::new(&Arc::new(limits));
    let mut exchanges = Vec::new();
    let out = &mut |exchange| exchanges.push(exchange);
    decoder.data(Side::Client, Timestamp(0), &FIRST, out);
    let mut rest = input;
    while let Some((head, after)) = rest.split_first() {
        let side = if head & 1 == 0 { Side::Client } else { Side::Server };
        let (piece, after) = after.split_at(usize::from(*head).min(after.len()));
        decoder.data(side, Timestamp(0), piece, out);
        rest = after;
    }
    decoder.close(Timestamp(1), Close::Finished, out);
    assert!(exchanges.len() <= 1);
    let flow = weir_protocols_fuzz::flow(443);
    for exchange in exchanges {
        let document = exchange.document(&flow, &Policy::new(&Records::default()));
        serde_json::to_string(&document).expect("a document is JSON");
    }
});
