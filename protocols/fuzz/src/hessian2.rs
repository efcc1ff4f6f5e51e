//! Any bytes as a value in Hessian 2 (or, by the first byte, in one of fastjson's two forms), as an argument and as a result:
//! survived, and told in JSON that can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Decoder, Limits, Side};
use weir_records::{Policy, Timestamp};

fn frame(flags: u8, status: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut frame = vec![0xda, 0xbb, flags, status, 0, 0, 0, 0, 0, 0, 0, 1];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

/// An item of fastjson 2, with its length before it.
fn item(item: &[u8]) -> Vec<u8> {
    [&(item.len() as u32).to_be_bytes(), item].concat()
}

fuzz_target!(|input: &[u8]| {
    let Some((form, value)) = input.split_first() else {
        return;
    };
    let (request, response) = match form % 4 {
        1 => (
            frame(0xc6, 0, &[b"\"2.0.2\"\n\"s\"\n\"v\"\n\"m\"\n\"I\"\n", value]),
            frame(6, 20, &[b"1\n", value]),
        ),
        2 => (
            frame(
                0xd7,
                0,
                &[&item(b"\x4aa").repeat(4), &item(b"\x4aI"), &item(value)],
            ),
            frame(23, 20, &[&item(b"\x01"), &item(value)]),
        ),
        _ => (
            frame(0xc2, 0, &[b"\x01a\x01b\x01c\x01d\x01I", value]),
            frame(2, 20, &[b"\x91", value]),
        ),
    };
    let limits = Arc::new(Limits {
        max_head: 1,
        max_headers: 1,
        max_pending: 1,
        ..Limits::default()
    });
    let flow = weir_protocols_fuzz::flow(20880);
    let narrow = Records {
        max_value: 16,
        max_values: 16,
        ..Records::default()
    };
    let mut decoder = Decoder::new(&limits);
    let mut seen = 0;
    let mut out = |exchange: weir_protocols::Exchange| {
        seen += 1;
        for records in [&Records::default(), &narrow] {
            let document = exchange.document(&flow, &Policy::new(records));
            let text = serde_json::to_string(&document).expect("a document is JSON");
            serde_json::from_str::<serde_json::Value>(&text).expect("and JSON that can be read");
        }
    };
    decoder.data(Side::Client, Timestamp(0), &request, &mut out);
    decoder.data(Side::Server, Timestamp(0), &response, &mut out);
    assert_eq!(seen, 1);
});
