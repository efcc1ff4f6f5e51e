//! Any body under any coding, of any type: survived, within its bound, without a secret that was put into it, and the same
//! however it is cut.
//!
//! The first byte chooses the codings, the second one the type; the rest is the body as it is sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use weir_config::{Bodies, Bytes, Records};
use weir_protocols::{Decoder, Exchange, Limits, Side};
use weir_records::{Document, Policy, Timestamp};

const MAX: usize = 2000;

const CODINGS: [&str; 9] = [
    "identity",
    "gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, br",
    "zstd, gzip",
    "deflate, deflate, zstd, br",
    "x",
];

const TYPES: [&str; 10] = [
    "application/json",
    "application/xml",
    "application/x-www-form-urlencoded",
    "text/plain",
    "text/plain; charset=gbk",
    "text/plain; charset=utf-16le",
    "text/plain; charset=iso-2022-jp",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "image/png",
];

fn document(coding: &str, kind: &str, body: &[u8], piece: usize) -> Document {
    let limits = Arc::new(Limits {
        bodies: Bodies {
            max_bytes: Bytes(MAX as u64),
            content_types: vec!["*/*".parse().expect("a media type")],
        },
        ..Limits::default()
    });
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut decoder = Decoder::new(&limits);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
        body.len() + 1
    );
    let at = Timestamp(0);
    let out = &mut |exchange| exchanges.push(exchange);
    decoder.data(Side::Client, at, b"GET / HTTP/1.1\r\n\r\n", out);
    decoder.data(Side::Server, at, head.as_bytes(), out);
    for bytes in body.chunks(piece) {
        decoder.data(Side::Server, at, bytes, out);
    }
    decoder.data(Side::Server, at, b"\n", out);
    let flow = weir_protocols_fuzz::flow(80);
    exchanges[0].document(&flow, &Policy::new(&Records::default()))
}

fuzz_target!(|input: &[u8]| {
    let [coding, kind, body @ ..] = input else { return };
    let coding = CODINGS[usize::from(*coding) % CODINGS.len()];
    let kind = TYPES[usize::from(*kind) % TYPES.len()];
    let whole = document(coding, kind, body, usize::MAX);
    let cut = document(coding, kind, body, 7);
    let text = |document: &Document| serde_json::to_string(document).expect("a document is JSON");
    assert_eq!(text(&whole), text(&cut));
    let content = |document: Document| document.http.and_then(|http| http.response?.body.content);
    // A byte may become two, and each colon the place of a secret.
    assert!(content(whole).unwrap_or_default().len() <= 20 * MAX);
    // What stands before it in the body can't hide a secret.
    if coding == "identity" && matches!(kind, "application/json" | "text/plain") && body.len() < MAX - 100 {
        let secret = [body, b"\n,\"password\":\"hunter2\""].concat();
        let seen = content(document(coding, kind, &secret, usize::MAX)).unwrap_or_default();
        assert!(!seen.contains("hunter2"), "{seen}");
    }
});
