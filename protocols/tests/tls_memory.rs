//! What is kept of hellos that offer as much as they can, seen from outside: the process's memory. A process of its own, so
//! that no other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

#[allow(dead_code, reason = "not all helpers are used here")]
#[path = "tls/support.rs"]
mod support;

use serde_json::json;
use std::sync::Arc;
use support::{HANDSHAKE, Observer, extension, long, record, short};
use weir_protocols::{Close, Decoder, Limits, Side};
use weir_records::Timestamp;

/// Bytes of memory in use, by the kernel's count.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A hello with these suites and extensions, in as many records as it takes.
fn hello(suites: &[u8], extensions: &[u8]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &short(b""),
        &long(suites),
        &short(&[0]),
        &long(extensions),
    ]
    .concat();
    let message = support::message(support::CLIENT_HELLO, &body);
    message
        .chunks(16_000)
        .flat_map(|part| record(HANDSHAKE, part))
        .collect()
}

/// 32 000 names, or 31 000 suites, or 16 000 extensions.
fn hellos() -> [Vec<u8>; 3] {
    let names = extension(16, &long(&short(b"a").repeat(32_000)));
    [
        hello(&[0x13, 1], &names),
        hello(&[0x13, 2].repeat(31_000), b""),
        hello(&[0x13, 1], &extension(0xfe00, b"").repeat(16_000)),
    ]
}

#[test]
fn a_hello_pins_little_whatever_it_offers() {
    const CONNECTIONS: usize = 300;
    let (limits, hellos) = (Arc::new(Limits::default()), hellos());
    let open = |hello: &[u8]| {
        let mut decoder = Decoder::new(&limits);
        decoder.data(Side::Client, Timestamp(0), hello, &mut |_| {});
        decoder
    };
    // What reading one of them takes for a while is there before.
    hellos.iter().for_each(|hello| drop(open(hello)));
    let before = resident();
    let decoders: Vec<_> = (0..CONNECTIONS).map(|at| open(&hellos[at % 3])).collect();
    let grown = resident().saturating_sub(before);
    assert!(grown < CONNECTIONS * (16 << 10), "{grown} bytes");
    drop(decoders);
}

#[test]
fn what_was_cut_is_told() {
    let documents = hellos().map(|hello| {
        let mut flow = Observer::new();
        flow.data(Side::Client, 0, &hello);
        flow.close(0, Close::Abandoned)
    });
    let [names, suites, extensions] = &documents;
    assert_eq!(names["tls"]["client"]["alpn"], json!(vec!["a"; 16]));
    assert_eq!(
        names["weir"]["original_sizes"],
        json!({"tls.client.alpn_count": 32_000})
    );
    assert_eq!(
        suites["tls"]["client"]["supported_ciphers"]
            .as_array()
            .unwrap()
            .len(),
        256
    );
    assert_eq!(
        suites["weir"]["original_sizes"],
        json!({"tls.client.supported_ciphers_count": 31_000})
    );
    for (document, cut) in [(names, true), (suites, true), (extensions, false)] {
        assert_eq!(document["weir"]["truncated"].as_bool().unwrap_or(false), cut);
        assert!(document["tls"]["client"]["ja4"].is_string());
    }
}
