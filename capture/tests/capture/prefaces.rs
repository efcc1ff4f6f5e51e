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
        let flow = seen.flows.last().unwrap();
        assert_eq!(flow["client"], document["client"]);
        assert_eq!(flow["network"]["protocol"], "http");
    }
}

#[test]
fn a_flow_names_the_client_of_a_proxy_header_whatever_it_speaks() {
    let mut talk = Conversation::new("198.18.0.2:40000", "198.18.0.1:9999");
    talk.handshake();
    talk.client("PROXY TCP4 203.0.113.9 198.18.0.9 1000 80\r\n");
    talk.client([0xff; 40]).server("what?\n");
    talk.finish();
    let (seen, _) = track(&talk.frames);
    assert!(seen.documents.is_empty());
    let flow = seen.flows.last().unwrap();
    assert_eq!(flow["client"], json!({"ip": "203.0.113.9", "port": 1000}));
    assert_eq!(flow["source"]["ip"], "198.18.0.2");
}

/// Outcome, `tls.resumed`, `error.message` and `weir.preface` of the only document.
fn handshake(file: &str) -> [serde_json::Value; 4] {
    let seen = repro(file);
    assert_eq!(seen.documents.len(), 1, "{file}");
    let document = &seen.documents[0];
    [
        &document["event"]["outcome"],
        &document["tls"]["resumed"],
        &document["error"]["message"],
        &document["weir"]["preface"],
    ]
    .map(Clone::clone)
}

/// Both sides are OpenSSL 3.0.
#[test]
fn handshakes_of_openssl_end_as_they_did() {
    for (file, expected) in [
        ("tls12-ok", json!(["success", false, null, null])),
        ("tls12-resumed", json!(["success", true, null, null])),
        (
            "tls12-mtls-missing",
            json!([
                "failure",
                null,
                "the server ended the handshake: handshake_failure",
                null
            ]),
        ),
        (
            "tls12-client-refuses",
            json!([
                "failure",
                null,
                "the client ended the handshake: unknown_ca",
                null
            ]),
        ),
        ("tls13-ok", json!(["success", false, null, null])),
        ("tls13-resumed", json!(["success", true, null, null])),
        // That the server wants a certificate of the client is encrypted.
        ("tls13-mtls-missing", json!(["unknown", false, null, null])),
        (
            "starttls-smtp",
            json!(["success", false, null, ["starttls-smtp"]]),
        ),
        (
            "starttls-postgresql",
            json!(["success", false, null, ["starttls-postgresql"]]),
        ),
    ] {
        assert_eq!(json!(handshake(&format!("{file}.pcap"))), expected, "{file}");
    }
}
