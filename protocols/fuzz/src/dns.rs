//! Any datagrams and any stream: survived, and each query out once.
//!
//! The input is a list of messages, each with its length in one byte before it; the length's lowest bit tells whose it is.
//! They are shown as datagrams, and, each with DNS's own two bytes of length before it, as a connection that begins with a
//! query of its own and so is known to be DNS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{collections::HashSet, sync::Arc};
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Policy, Timestamp};

/// `A` of the root.
const FIRST: [u8; 19] = [0, 17, 0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];

fn messages(mut input: &[u8]) -> Vec<(Side, &[u8])> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = input.split_first() {
        let side = if head & 1 == 0 { Side::Client } else { Side::Server };
        let (message, rest) = rest.split_at(usize::from(*head).min(rest.len()));
        messages.push((side, message));
        input = rest;
    }
    messages
}

fn documents(exchanges: &[Exchange]) {
    let flow = weir_protocols_fuzz::flow(53);
    let policy = Policy::new(&Records::default());
    let mut ids = HashSet::new();
    for exchange in exchanges {
        let document = exchange.document(&flow, &policy);
        assert!(ids.insert(document.event.id), "an exchange came out twice");
        serde_json::to_string(&document).expect("a document is JSON");
    }
}

fuzz_target!(|input: &[u8]| {
    let limits = Arc::new(Limits {
        max_head: 1,
        max_headers: 1,
        max_pending: 4,
        ..Limits::default()
    });
    let messages = messages(input);
    for mut decoder in [Decoder::dns_datagrams(&limits), Decoder::new(&limits)] {
        let mut exchanges = Vec::new();
        let stream = decoder.protocol() == weir_protocols::Protocol::Unknown;
        let out = &mut |exchange| exchanges.push(exchange);
        if stream {
            decoder.data(Side::Client, Timestamp(0), &FIRST, out);
        }
        for (side, message) in &messages {
            if stream {
                let length = (message.len() as u16).to_be_bytes();
                decoder.data(*side, Timestamp(0), &length, out);
            }
            decoder.data(*side, Timestamp(0), message, out);
        }
        decoder.tick(Timestamp(u64::MAX), out);
        decoder.close(Timestamp(u64::MAX), Close::Finished, out);
        // A response that answers nothing has a document too, and in a stream messages are found again behind what is none: the
        // shortest has 12 bytes.
        let found_again = if stream { 1 + input.len() / 12 } else { 0 };
        assert!(exchanges.len() <= messages.len() + found_again);
        documents(&exchanges);
    }
});
