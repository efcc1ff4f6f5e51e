//! Bodies on request.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Decoder, Side};

fn begun(max: u64) -> Observer {
    let mut seen = Observer::of(Decoder::new(&keeping(max)));
    seen.client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    seen.server(frame(SETTINGS, 0, 0, &[]));
    seen
}

fn post(kind: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/p"),
        ("content-type", kind),
    ]
}

fn answer(kind: &str) -> Vec<(&str, &str)> {
    vec![(":status", "200"), ("content-type", kind)]
}

const REQUEST: &str = "/http/request/body/content";
const RESPONSE: &str = "/http/response/body/content";

#[test]
fn bodies_are_in_the_document_without_padding_and_secrets() {
    let mut seen = begun(1024);
    seen.client(headers(1, false, &post("application/json")));
    seen.client(frame(DATA, PADDED, 1, b"\x03{\"token\":\"hun\0\0\0"));
    seen.client(data(1, true, b"ter2\"}"));
    seen.server(headers(1, false, &answer("text/plain")));
    seen.server(data(1, false, b"hello"));
    seen.server(headers(1, true, &[("trailer", "t")]));
    let d = seen.document();
    assert_eq!(d.pointer(REQUEST).unwrap(), r#"{"token":"<redacted>"}"#);
    assert_eq!(
        d["http"]["response"]["body"],
        json!({"bytes": 5, "content": "hello"})
    );
}

#[test]
fn what_is_encoded_is_decoded() {
    const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x54\xb2\x32\xac\x05\x00\xaf\xac\x1b\x56\x07\x00\x00\x00";
    let mut seen = begun(1024);
    seen.client(headers(1, true, &get("/")));
    seen.server(headers(
        1,
        false,
        &[&answer("application/json")[..], &[("content-encoding", "gzip")]].concat(),
    ));
    seen.server(data(1, false, &GZIP[..9]));
    seen.server(data(1, true, &GZIP[9..]));
    let d = seen.document();
    assert_eq!(
        d["http"]["response"]["body"],
        json!({"bytes": GZIP.len(), "content": r#"{"a":1}"#})
    );
}

#[test]
fn messages_of_grpc_are_no_text() {
    let mut seen = begun(1024);
    seen.client(headers(1, false, &call("/s/m")));
    seen.client(data(1, true, &message(false, b"\xff")));
    seen.server(headers(1, true, &[(":status", "200"), ("grpc-status", "0")]));
    let d = seen.document();
    assert_eq!(d.pointer(REQUEST).unwrap(), "AAAAAAH/");
    assert_eq!(d["weir"]["base64"], json!(["http.request.body.content"]));
}

#[test]
fn bodies_are_cut_and_gaps_end_them() {
    let mut seen = begun(4);
    seen.client(headers(1, true, &get("/")));
    seen.server(headers(1, false, &answer("text/plain")));
    seen.server(data(1, true, b"abcdef"));
    let d = seen.document();
    assert_eq!(d.pointer(RESPONSE).unwrap(), "abcd");
    assert_eq!(
        d["weir"]["original_sizes"],
        json!({"http.response.body.content": 6})
    );
    for missed in [Some(3), None] {
        let mut seen = begun(99);
        seen.client(headers(1, true, &get("/")));
        seen.server(headers(1, false, &answer("text/plain")));
        let whole = data(1, true, b"abcdefghi");
        seen.server(&whole[..12]);
        seen.gap(Side::Server, missed);
        seen.server(&whole[15..]);
        seen.close(Close::Finished);
        let d = seen.document();
        assert_eq!(d.pointer(RESPONSE).unwrap(), "abc");
        assert_eq!(d["weir"]["truncated"], true);
        assert!(anomalies(&d)[0].starts_with("gap"), "{d:#}");
    }
}

#[test]
fn of_a_body_whose_head_was_missed_nothing_is_kept() {
    let mut seen = Observer::of(Decoder::late(&keeping(99)));
    seen.client(data(1, false, b"abc"));
    seen.server(data(1, false, b"abc"));
    seen.client(headers(3, false, &post("text/plain")));
    seen.client(data(3, true, b"def"));
    seen.close(Close::Finished);
    let documents = seen.documents();
    let contents: Vec<Option<&Value>> = documents.iter().map(|d| d.pointer(REQUEST)).collect();
    assert!(contents.contains(&Some(&json!("def"))), "{documents:#?}");
    assert!(!json!(documents).to_string().contains("abc"), "{documents:#?}");
}

#[test]
fn bodies_of_streams_under_way_have_a_bound_together() {
    let mut seen = begun(100);
    for number in 0..12 {
        seen.client(headers(number * 2 + 1, false, &post("text/plain")));
        seen.client(data(number * 2 + 1, true, &[b'x'; 100]));
    }
    for number in 0..12 {
        seen.server(headers(number * 2 + 1, true, &answer("text/plain")));
    }
    let documents = seen.documents();
    assert_eq!(documents.len(), 12);
    for (number, document) in documents.iter().enumerate() {
        assert_eq!(document.pointer(REQUEST).is_some(), number < 8, "{number}");
        assert_eq!(document["weir"]["truncated"] == true, number >= 8, "{number}");
    }
    // What was kept has been given back.
    seen.client(headers(101, false, &post("text/plain")));
    seen.client(data(101, true, &[b'x'; 100]));
    seen.server(headers(101, true, &answer("text/plain")));
    assert!(seen.documents()[12].pointer(REQUEST).is_some());
}

#[test]
fn the_body_of_a_request_that_asked_for_the_upgrade_is_that_of_stream_1() {
    let mut seen = Observer::of(Decoder::new(&keeping(64)));
    seen.client(
        &b"POST /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\
        Content-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"token\":\"hunter\"}"[..],
    );
    seen.server(&b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"[..]);
    seen.client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    seen.server(frame(SETTINGS, 0, 0, &[]));
    seen.server(headers(1, true, &[(":status", "204")]));
    seen.close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(documents.len(), 2);
    for document in &documents {
        assert_eq!(document.pointer(REQUEST).unwrap(), r#"{"token":"<redacted>"}"#);
        assert_eq!(document["http"]["request"]["body"]["bytes"], 18);
    }
}
