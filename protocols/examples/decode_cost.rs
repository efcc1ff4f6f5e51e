//! What decoding costs: nanoseconds for a request and its response, from bytes to the JSON line, on one thread.
//! `cargo run --release -p weir-protocols --example decode_cost`
// A measuring tool may fail by panicking.
#![allow(clippy::expect_used)]

use std::{hint::black_box, sync::Arc, time::Instant};
use weir_config::Records;
use weir_protocols::{Decoder, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

const REQUEST: &[u8] =
    b"GET /api/items?page=2&sort=price HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: curl/8.5.0\r\n\
Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef\r\n\
X-Request-Id: 7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1\r\nConnection: keep-alive\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\nETag: \"65929e80-400\"\r\n\r\n";

fn main() {
    let rounds: u64 = 500_000;
    let limits = Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: 1024,
    });
    let policy = Policy::new(&Records::default());
    let flow = Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: Some("redirect"),
        direction: Direction::Ingress,
        client: ([198, 18, 0, 2], 40000).into(),
        server: ([198, 18, 0, 1], 80).into(),
        opened: Timestamp(0),
        connect: Some(50_000),
        host: Some("pod".into()),
    };
    let response = [HEAD, &[b'x'; 1024][..]].concat();
    let mut line = Vec::new();
    for stage in ["decode", "decode + document", "decode + document + JSON"] {
        let mut decoder = Decoder::new(&limits);
        let start = Instant::now();
        for round in 0..rounds {
            let mut out = |exchange: weir_protocols::Exchange| match stage {
                "decode" => drop(black_box(exchange)),
                "decode + document" => drop(black_box(exchange.document(&flow, &policy))),
                _ => {
                    line.clear();
                    serde_json::to_writer(&mut line, &exchange.document(&flow, &policy)).expect("JSON");
                    black_box(&line);
                }
            };
            decoder.data(
                Side::Client,
                Timestamp(round * 1000),
                black_box(REQUEST),
                &mut out,
            );
            decoder.data(
                Side::Server,
                Timestamp(round * 1000 + 500),
                black_box(&response),
                &mut out,
            );
        }
        let each = start.elapsed().as_nanos() as u64 / rounds;
        println!("{stage:26} {each:6} ns a request");
    }
    println!("{} bytes of JSON", line.len());
}
