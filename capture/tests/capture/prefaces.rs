//! Captures of connections that begin with something that is taken off.

use crate::support::*;
use serde_json::json;

#[test]
fn a_request_behind_a_proxy_header_names_its_client() {
    for (file, preface) in [
        ("proxy-protocol-v1.pcap", "proxy-v1"),
        ("proxy-protocol-v2.pcap", "proxy-v2"),
    ] {
        let seen = repro(file);
        assert_eq!(seen.summary(), ["GET /1 200"], "{file}");
        let document = &seen.documents[0];
        assert_eq!(document["client"], json!({"ip": "198.18.9.9", "port": 1000}));
        assert_eq!(document["server"], json!({"ip": "198.18.9.8", "port": 80}));
        assert_eq!(document["source"]["ip"], "198.18.1.2");
        assert_eq!(document["weir"]["preface"], json!([preface]));
    }
}
