//! What passes through a tunnel that CONNECT opened is found out anew.

use crate::{support::*, tls, wire::*};
use serde_json::{Value, json};
use std::collections::HashSet;
use weir_protocols::{Close, Side};

const CONNECT: &str = "CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\n\r\n";
const OPENED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

fn distinct(documents: &[Value]) {
    let ids: HashSet<_> = documents
        .iter()
        .map(|document| document["event"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), documents.len());
    for document in documents {
        assert_eq!(document["weir"]["flow_id"], documents[0]["weir"]["flow_id"]);
    }
}

#[test]
fn tls_within_has_its_document() {
    let hello = tls::record(tls::HANDSHAKE, &tls::client_hello("shop.example"));
    // The client may not wait for the answer.
    for early in [false, true] {
        let mut steps = vec![client(CONNECT), server(OPENED)];
        steps.insert(if early { 1 } else { 2 }, client(&hello));
        steps.extend([Step::End(Side::Client), Step::Close(Close::Finished)]);
        let documents = run(&steps);
        distinct(&documents);
        assert_eq!(summary(&documents[..1]), ["CONNECT shop.example:443 200"]);
        assert_eq!(documents[0]["weir"]["tunnel"], json!(null));
        let within = &documents[1];
        assert_eq!(within["event"]["dataset"], "weir.tls");
        assert_eq!(within["tls"]["client"]["server_name"], "shop.example");
        assert_eq!(within["weir"]["tunnel"], "shop.example:443");
        assert_eq!(within["source"]["bytes"], hello.len());
    }
}

#[test]
fn requests_within_have_theirs() {
    let mut seen = Observer::new().steps(&[client(CONNECT), server(OPENED)]);
    for _ in 0..2 {
        seen.step(&client(GET));
        seen.step(&server(OK));
    }
    let documents = seen.documents();
    distinct(&documents);
    assert_eq!(
        summary(&documents),
        ["CONNECT shop.example:443 200", "GET /a 200", "GET /a 200"]
    );
    assert_eq!(documents[2]["weir"]["tunnel"], "shop.example:443");
    seen.step(&client(call(1, true)));
    seen.step(&Step::Close(Close::Finished));
    assert_eq!(anomalies(&seen.documents()[3]), ["not_a_request"]);
}

#[test]
fn what_is_unknown_within_is_left_alone() {
    for first in [client("hello\r\n"), client("")] {
        let ssh = server("SSH-2.0-OpenSSH_9.9\r\n");
        let seen = Observer::new().steps(&[client(CONNECT), server(OPENED), first, ssh]);
        assert!(seen.decoder.is_opaque());
        assert_eq!(seen.exchanges.len(), 1);
    }
    // A guess may be wrong here too.
    let mut seen = Observer::new().steps(&[
        client(CONNECT),
        server(OPENED),
        client("GET / HTTP/1.1\r\n\r\n"),
        server("+OK\r\n"),
    ]);
    assert!(seen.decoder.is_opaque());
    seen.step(&Step::Close(Close::Finished));
    assert_eq!(seen.exchanges.len(), 1);
}

#[test]
fn tunnels_within_tunnels_have_a_bound() {
    let mut seen = Observer::new();
    for _ in 0..5000 {
        seen.step(&client(CONNECT));
        seen.step(&server(OPENED));
    }
    assert!(seen.decoder.is_opaque());
    let documents = seen.documents();
    distinct(&documents);
    assert_eq!(documents.len(), 4);
}

#[test]
fn secrets_in_its_name_are_not_told() {
    let connect = "CONNECT user:secret@a:1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let seen = Observer::new().steps(&[client(connect), server(OPENED), client(GET), server(OK)]);
    let documents = seen.documents();
    assert_eq!(documents.len(), 2);
    assert!(documents[1]["weir"]["tunnel"].is_string());
    assert!(!documents[1].to_string().contains("secret"), "{documents:#?}");
}
