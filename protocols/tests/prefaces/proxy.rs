//! Headers of the PROXY protocol.

use crate::{support::*, tls, wire::*};
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Protocol, Side};

const V1: &str = "PROXY TCP4 203.0.113.9 198.18.0.9 1000 80\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 with this command, family and content.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, content].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [
        &[kind][..],
        &u16::try_from(value.len()).unwrap().to_be_bytes(),
        value,
    ]
    .concat()
}

const FOUR: &[u8] = &[203, 0, 113, 9, 198, 18, 0, 9, 0x03, 0xe8, 0, 80];

/// The document of a request behind this header.
fn behind(header: &[u8]) -> Value {
    one(&[client([header, GET.as_bytes()].concat()), server(OK)])
}

#[track_caller]
fn named(document: &Value) {
    assert_eq!(document["client"], json!({"ip": "203.0.113.9", "port": 1000}));
    assert_eq!(document["server"], json!({"ip": "198.18.0.9", "port": 80}));
    // The ends of the connection itself stay.
    assert_eq!(document["source"]["ip"], "198.18.0.2");
    assert_eq!(document["source"]["bytes"], GET.len());
}

#[test]
fn a_line_names_the_client_of_the_request_behind_it() {
    let document = behind(V1.as_bytes());
    assert_eq!(summary(std::slice::from_ref(&document)), ["GET /a 200"]);
    named(&document);
    assert_eq!(document["weir"]["preface"], json!(["proxy-v1"]));
    let six = behind(b"PROXY TCP6 2001:db8::9 2001:db8::1 65535 0\r\n");
    assert_eq!(six["client"], json!({"ip": "2001:db8::9", "port": 65535}));
    assert_eq!(six["server"], json!({"ip": "2001:db8::1", "port": 0}));
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 whatever 1 2\r\n"] {
        let document = behind(unknown.as_bytes());
        assert_eq!(document["client"], Value::Null);
        assert_eq!(document["weir"]["preface"], json!(["proxy-v1"]));
    }
}

#[test]
fn a_binary_header_names_it_too() {
    for family in [0x11, 0x12] {
        let document = behind(&v2(0x21, family, FOUR));
        named(&document);
        assert_eq!(document["weir"]["preface"], json!(["proxy-v2"]));
        assert_eq!(document["weir"]["proxy"], Value::Null);
    }
    let mut six = [0; 36];
    (six[15], six[31], six[33], six[35]) = (1, 2, 3, 4);
    let document = behind(&v2(0x21, 0x21, &six));
    assert_eq!(document["client"], json!({"ip": "::1", "port": 3}));
    assert_eq!(document["server"], json!({"ip": "::2", "port": 4}));
    // A path names no address, and neither does a proxy that speaks for itself.
    let unix = behind(&v2(0x21, 0x31, &[b'/'; 216]));
    let unspecified = behind(&v2(0x21, 0, b"ignored"));
    let local = [
        behind(&v2(0x20, 0, b"")),
        behind(&v2(0x20, 0x11, FOUR)),
        behind(&v2(0x20, 0x11, b"")),
    ];
    for document in [&unix, &unspecified].into_iter().chain(&local) {
        assert_eq!(document["client"], Value::Null);
        assert_eq!(document["weir"]["preface"], json!(["proxy-v2"]));
    }
    assert_eq!(local[1]["weir"]["proxy"], json!({"local": true}));
}

#[test]
fn what_a_header_says_of_the_clients_connection_is_told() {
    let ssl = [
        &[7, 0, 0, 0, 0][..],
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x22, b"CN of a person"),
        &tlv(0x23, b"TLS_AES_128_GCM_SHA256"),
    ]
    .concat();
    let content = [
        FOUR,
        &tlv(0x04, b"padding"),
        &tlv(0x02, b"shop.example"),
        &tlv(0x01, b"h2"),
        &tlv(0x20, &ssl),
        &tlv(0x03, &[1, 2, 3, 4]),
        &tlv(0xea, b"\x01vpce-secret"),
    ]
    .concat();
    let document = behind(&v2(0x21, 0x11, &content));
    named(&document);
    assert_eq!(
        document["weir"]["proxy"],
        json!({
            "authority": "shop.example", "alpn": "h2",
            "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256",
        })
    );
    assert!(!document.to_string().contains("person"));
    // Values that are not whole are none.
    let broken = [FOUR, &tlv(0x02, b"a"), b"\x01\xff\xff"].concat();
    let document = behind(&v2(0x21, 0x11, &broken));
    assert_eq!(document["weir"]["proxy"], json!({"authority": "a"}));
}

#[test]
fn a_long_header_is_passed_over_and_not_kept() {
    let content = [FOUR, &vec![4; 65_535 - FOUR.len()]].concat();
    let header = v2(0x21, 0x11, &content);
    named(&behind(&header));
    let mut seen = Observer::new();
    for part in header.chunks(1000) {
        seen.step(&client(part));
        assert!(seen.decoder.held() < 32 << 10, "{}", seen.decoder.held());
    }
    let seen = seen.steps(&[client(GET), server(OK)]);
    named(&seen.documents()[0]);
}

#[test]
fn every_protocol_is_found_behind_it() {
    let hello = tls::record(tls::HANDSHAKE, &tls::client_hello("shop.example"));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let http2 = [&preface[..], SETTINGS, b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84"].concat();
    for (bytes, answer, dataset, protocol) in [
        (hello, vec![], "weir.tls", Protocol::Tls),
        (query(7, 0, b""), no_such_name(7), "weir.dns", Protocol::Dns),
        (call(1, true), reply(1), "weir.dubbo", Protocol::Dubbo),
        (http2, vec![], "weir.http", Protocol::Http2),
    ] {
        for header in [V1.as_bytes(), &v2(0x21, 0x11, FOUR)] {
            let mut seen = Observer::new().steps(&[client(header), client(&bytes), server(&answer)]);
            assert_eq!(seen.protocol(), protocol);
            seen.step(&Step::Close(Close::Finished));
            let documents = seen.documents();
            assert_eq!(documents.len(), 1);
            assert_eq!(documents[0]["event"]["dataset"], dataset);
            assert_eq!(documents[0]["client"]["ip"], "203.0.113.9");
        }
    }
    // Each request of the connection is that client's.
    let steps: Vec<_> = [client(V1), client(GET), server(OK), client(GET), server(OK)].into();
    let documents = run(&steps);
    assert_eq!(documents.len(), 2);
    documents.iter().for_each(named);
    assert_ne!(documents[0]["event"]["id"], documents[1]["event"]["id"]);
}

#[test]
fn a_tunnel_behind_it_names_both() {
    let connect = "CONNECT shop.example:80 HTTP/1.1\r\nHost: shop.example:80\r\n\r\n";
    let documents = run(&[
        client([V1, connect].concat()),
        server("HTTP/1.1 200 Connection established\r\n\r\n"),
        client([V1, GET].concat()),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["CONNECT shop.example:80 200", "GET /a 200"]);
    assert_eq!(documents[1]["weir"]["tunnel"], "shop.example:80");
    assert_eq!(documents[1]["weir"]["preface"], json!(["proxy-v1", "proxy-v1"]));
}

#[test]
fn of_two_headers_the_first_counts() {
    let inner = v2(0x21, 0x11, &[9, 9, 9, 9, 8, 8, 8, 8, 0, 1, 0, 2]);
    let document = behind(&[V1.as_bytes(), &inner].concat());
    named(&document);
    assert_eq!(document["weir"]["preface"], json!(["proxy-v1", "proxy-v2"]));
    // The server believes the first one, also where it names nobody.
    let document = behind(&[&v2(0x20, 0, b"")[..], V1.as_bytes()].concat());
    assert_eq!(document["client"], Value::Null);
    assert_eq!(document["weir"]["proxy"], json!({"local": true}));
    // And there is a bound.
    let many = Observer::new().steps(&[client(V1.repeat(5000)), client(GET), server(OK)]);
    assert!(many.decoder.is_opaque() && many.exchanges.is_empty());
}

/// It counts as a request that nobody understood.
#[track_caller]
fn not_taken_off(header: &[u8]) {
    let documents = run(&[client(header), client(GET), server(OK)]);
    assert_eq!(
        summary(&documents),
        ["- - -", "GET /a 200"],
        "{}",
        header.escape_ascii()
    );
    assert_eq!(anomalies(&documents[0]), ["not_a_request"]);
    assert_eq!(documents[0]["client"], Value::Null);
}

#[test]
fn what_is_no_header_is_not_taken_off() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    for line in [
        "PROXY TCP4 203.0.113.9 198.18.0.9 1000\r\n",
        "PROXY TCP4 203.0.113.9 198.18.0.9 1000 80 7\r\n",
        "PROXY TCP4 203.0.113.9 198.18.0.9 1000 65536\r\n",
        "PROXY TCP4 203.0.113.9 198.18.0.9 01000 80\r\n",
        "PROXY TCP4 203.0.113.9 198.18.0.9 +1000 80\r\n",
        "PROXY TCP4  203.0.113.9 198.18.0.9 1000 80\r\n",
        "PROXY TCP4 203.0.113.999 198.18.0.9 1000 80\r\n",
        "PROXY TCP4 2001:db8::9 2001:db8::1 1000 80\r\n",
        "PROXY TCP6 203.0.113.9 198.18.0.9 1000 80\r\n",
        "PROXY TCP4 203.0.113.9 198.18.0.9 1000 80\n",
        "PROXY UDP4 203.0.113.9 198.18.0.9 1000 80\r\n",
        "PROXY\r\n",
        "proxy UNKNOWN\r\n",
        &long,
    ] {
        not_taken_off(line.as_bytes());
    }
    for header in [
        v2(0x31, 0x11, FOUR),
        v2(0x22, 0x11, FOUR),
        v2(0x21, 0x41, FOUR),
        v2(0x21, 0x13, FOUR),
        v2(0x21, 0x11, &FOUR[..11]),
        v2(0x21, 0x21, FOUR),
    ] {
        not_taken_off(&header);
    }
    // In the middle of a connection, and of the server, it is no header either.
    let late = Observer::late().steps(&[client(V1), client(GET), server(OK)]);
    assert_eq!(late.documents()[0]["client"], Value::Null);
    let documents = run(&[server(V1), client(GET), server(OK)]);
    assert!(documents.is_empty(), "{documents:#?}");
}

#[test]
fn a_header_alone_has_no_document() {
    for header in [V1.as_bytes(), &v2(0x20, 0, b""), &v2(0x21, 0x11, FOUR)[..20]] {
        let mut seen = Observer::new().steps(&[client(header)]);
        assert_eq!(seen.protocol(), Protocol::Proxied);
        seen.step(&Step::End(Side::Client));
        seen.step(&Step::Close(Close::Finished));
        assert!(seen.exchanges.is_empty());
    }
}

proptest! {
    #[test]
    fn it_may_be_cut_anywhere(binary: bool, cut in 1..60usize) {
        let header = match binary {
            true => v2(0x21, 0x11, &[FOUR, &tlv(2, b"shop.example")].concat()),
            false => V1.into(),
        };
        let bytes = [&header[..], GET.as_bytes()].concat();
        let mut seen = Observer::new();
        for part in bytes.chunks(cut) {
            seen.step(&client(part));
        }
        seen.step(&server(OK));
        let documents = seen.documents();
        prop_assert_eq!(documents.len(), 1);
        prop_assert_eq!(&documents[0]["client"]["ip"], "203.0.113.9");
        prop_assert_eq!(&documents[0]["source"]["bytes"], GET.len());
    }

    #[test]
    fn changed_bytes_are_survived(at in 0..60usize, byte: u8, cut in 1..60usize) {
        let mut bytes = [&v2(0x21, 0x11, FOUR)[..], V1.as_bytes(), GET.as_bytes()].concat();
        bytes[at] = byte;
        let mut seen = Observer::new();
        for part in bytes.chunks(cut) {
            seen.step(&client(part));
        }
        seen.step(&server(OK));
        seen.step(&Step::Close(Close::Finished));
        seen.documents();
    }
}
