//! Any connection that may begin with something that is taken off: survived, and each exchange has a document of its own.
//!
//! The input is a list of pieces, each with one byte before it: the lowest bit tells whose it is, the others its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{collections::HashSet, sync::Arc};
use weir_config::Records;
use weir_protocols::{Close, Decoder, Limits, Side};
use weir_records::{Policy, Timestamp};

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
    let mut rest = input;
    while let Some((head, after)) = rest.split_first() {
        let side = if head & 1 == 0 { Side::Client } else { Side::Server };
        let (piece, after) = after.split_at(usize::from(*head >> 1).min(after.len()));
        decoder.data(side, Timestamp(0), piece, out);
        // Sixteen KiB for each of what a connection can be within, and as much again.
        assert!(decoder.held() < 256 << 10);
        rest = after;
    }
    decoder.close(Timestamp(1), Close::Finished, out);
    let flow = weir_protocols_fuzz::flow(443);
    let mut ids = HashSet::new();
    for exchange in exchanges {
        let document = exchange.document(&flow, &Policy::new(&Records::default()));
        assert!(ids.insert(document.event.id), "two exchanges have one name");
        serde_json::to_string(&document).expect("a document is JSON");
    }
});
