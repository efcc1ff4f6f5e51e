//! Captures of connections that begin with something that is taken off.

use crate::support::*;
use serde_json::json;
use std::path::Path;
use weir_capture::{Packet, Tracker};
use weir_records::Timestamp;

/// What a capture of ours gives.
fn decode(name: &str) -> Seen {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus/repro")
        .join(name);
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for (link, frame) in read_all(&std::fs::read(path).unwrap()).unwrap() {
        let (at, size) = (Timestamp(frame.at), frame.bytes.len());
        tracker.packet(
            &Packet::new(at, link, &frame.bytes[..frame.kept], size),
            &mut seen,
        );
    }
    tracker.finish(&mut seen);
    seen
}

#[test]
fn a_request_behind_a_proxy_header_names_its_client() {
    for (file, preface) in [
        ("proxy-protocol-v1.pcap", "proxy-v1"),
        ("proxy-protocol-v2.pcap", "proxy-v2"),
    ] {
        let seen = decode(file);
        assert_eq!(seen.summary(), ["GET /1 200"], "{file}");
        let document = &seen.documents[0];
        assert_eq!(document["client"], json!({"ip": "198.18.9.9", "port": 1000}));
        assert_eq!(document["server"], json!({"ip": "198.18.9.8", "port": 80}));
        assert_eq!(document["source"]["ip"], "198.18.1.2");
        assert_eq!(document["weir"]["preface"], json!([preface]));
    }
}
