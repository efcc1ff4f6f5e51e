//! Bodies on request: what is kept of them, and what is not.

use crate::support::*;
use serde_json::{Value, json};
use std::sync::Arc;
use weir_config::{Bodies, Bytes};
use weir_protocols::{Close, Decoder, Limits, Side};

/// Bodies of the usual types, or of these.
pub fn keeping(max: u64, types: &[&str]) -> Arc<Limits> {
    let mut bodies = Bodies {
        max_bytes: Bytes(max),
        ..Bodies::default()
    };
    if !types.is_empty() {
        bodies.content_types = types.iter().map(|range| range.parse().unwrap()).collect();
    }
    Arc::new(Limits {
        max_pending: 64,
        bodies,
        ..Limits::default()
    })
}

fn observer(max: u64, types: &[&str]) -> Observer {
    Observer::of(Decoder::new(&keeping(max, types)))
}

fn only(seen: &Observer) -> Value {
    let mut documents = seen.documents();
    assert_eq!(documents.len(), 1, "{documents:#?}");
    documents.remove(0)
}

fn post(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /p HTTP/1.1\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}")
}

const REQUEST: &str = "/http/request/body/content";
const RESPONSE: &str = "/http/response/body/content";

#[test]
fn bodies_are_in_the_document_without_framing_and_secrets() {
    let seen = observer(1024, &[]).steps(&[
        client(post(
            "application/json; charset=utf-8",
            r#"{"user":"a","password":"hunter2"}"#,
        )),
        server(
            "HTTP/1.1 200 OK\r\ncontent-type: TEXT/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: t\r\n\r\n",
        ),
    ]);
    let d = only(&seen);
    assert_eq!(
        d["http"]["request"]["body"],
        json!({"bytes": 33, "content": r#"{"user":"a","password":"<redacted>"}"#})
    );
    assert_eq!(
        d["http"]["response"]["body"],
        json!({"bytes": 5, "content": "hello"})
    );
    assert_eq!(d["weir"]["truncated"], json!(null));
    assert_eq!(d["weir"]["base64"], json!(null));
}

#[test]
fn no_body_is_kept_unless_asked_for() {
    let steps = [
        client(post("application/json", "{}")),
        server("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\nok"),
    ];
    assert_eq!(one(&steps).pointer(REQUEST), None);
    let d = only(&observer(9, &[]).steps(&steps));
    assert_eq!(
        (d.pointer(REQUEST).unwrap(), d.pointer(RESPONSE)),
        (&json!("{}"), None)
    );
    let d = only(&observer(9, &["image/*"]).steps(&steps));
    assert_eq!(
        (d.pointer(REQUEST), d.pointer(RESPONSE).unwrap()),
        (None, &json!("ok"))
    );
    // Without a type only where any will do.
    let steps = [
        client(post("", "{}").replace("Content-Type: \r\n", "")),
        server(OK),
    ];
    assert_eq!(only(&observer(9, &[]).steps(&steps)).pointer(REQUEST), None);
    let d = only(&observer(9, &["*/*"]).steps(&steps));
    assert_eq!(d.pointer(REQUEST).unwrap(), "{}");
    assert_eq!(d.pointer(RESPONSE).unwrap(), "ok");
}

#[test]
fn what_has_no_body_has_no_content() {
    let head = "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n";
    for (request, response) in [
        ("HEAD / HTTP/1.1\r\n\r\n", format!("HTTP/1.1 200 OK\r\n{head}")),
        (
            "GET / HTTP/1.1\r\n\r\n",
            format!("HTTP/1.1 304 Not Modified\r\n{head}"),
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n".into(),
        ),
        (
            "CONNECT h:1 HTTP/1.1\r\n\r\n",
            format!("HTTP/1.1 200 OK\r\n{head}"),
        ),
        (
            "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n",
            format!("HTTP/1.1 101 Go\r\n{head}"),
        ),
    ] {
        // What follows belongs to nothing, or to the next exchange.
        let seen = observer(99, &["*/*"]).steps(&[client(request), server(response), server(OK)]);
        let documents = seen.documents();
        assert_eq!(documents[0].pointer(RESPONSE), None, "{documents:#?}");
    }
    let seen = observer(99, &["*/*"]).steps(&[
        client("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
        server("HTTP/1.1 100 Continue\r\n\r\n"),
        client("ab"),
        server(OK),
    ]);
    let d = only(&seen);
    assert_eq!(
        (d.pointer(REQUEST).unwrap(), d.pointer(RESPONSE).unwrap()),
        (&json!("ab"), &json!("ok"))
    );
}

#[test]
fn long_bodies_are_cut_and_say_so() {
    let seen = observer(4, &[]).steps(&[
        client(post("text/plain", "abcd")),
        client(post("text/plain", "abcde")),
    ]);
    let seen = seen.steps(&[server(OK), server(OK)]);
    let documents = seen.documents();
    assert_eq!(documents[0]["weir"]["truncated"], json!(null));
    assert_eq!(documents[1].pointer(REQUEST).unwrap(), "abcd");
    assert_eq!(
        documents[1]["weir"]["original_sizes"],
        json!({"http.request.body.content": 5})
    );
    // A body that is cut by its peer was not cut here.
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n";
    let seen = observer(99, &[]).steps(&[client(GET), server(head), server("abc"), Step::End(Side::Server)]);
    let d = only(&seen);
    assert_eq!(
        (d.pointer(RESPONSE).unwrap(), &d["error"]["type"]),
        (&json!("abc"), &json!("incomplete_response"))
    );
    assert_eq!(d["weir"]["truncated"], json!(null));
}

#[test]
fn a_gap_ends_what_is_kept() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n";
    for missed in [Some(3), None] {
        let seen = observer(99, &[]).steps(&[
            client(GET),
            server(head),
            server("abc"),
            Step::Gap(Side::Server, missed),
            server("ghi"),
            Step::Close(Close::Finished),
        ]);
        let d = only(&seen);
        assert_eq!(d.pointer(RESPONSE).unwrap(), "abc");
        assert!(anomalies(&d)[0].starts_with("gap: "), "{d:#}");
        if missed.is_some() {
            assert_eq!(
                d["weir"]["original_sizes"],
                json!({"http.response.body.content": 9})
            );
        }
    }
    // Until the end of the connection nobody knows how much is missing; nothing is kept behind it.
    let seen = observer(99, &[]).steps(&[
        client("GET / HTTP/1.0\r\n\r\n"),
        server("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nabc"),
        Step::Gap(Side::Server, None),
        server("xyz"),
        Step::Close(Close::Finished),
    ]);
    let d = only(&seen);
    assert_eq!(
        (d.pointer(RESPONSE).unwrap(), &d["weir"]["truncated"]),
        (&json!("abc"), &json!(true))
    );
}

#[test]
fn a_response_that_may_be_none_is_not_kept() {
    // Joined late: it may answer a HEAD, and then what follows is no body.
    let limits = keeping(99, &[]);
    let seen = Observer::of(Decoder::late(&limits)).steps(&[
        server("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n"),
        client(post("text/plain", "abc")),
        server("123456789"),
        Step::Close(Close::Finished),
    ]);
    for document in seen.documents() {
        assert_eq!(document.pointer(RESPONSE), None);
    }
}

#[test]
fn bodies_in_waiting_have_a_bound_together_and_decoding_goes_on() {
    let body = "x".repeat(100);
    let requests = post("text/plain", &body).repeat(12);
    let mut seen = observer(100, &[]).steps(&[client(requests), server(OK.repeat(12))]);
    let documents = seen.documents();
    assert_eq!(documents.len(), 12);
    for (number, document) in documents.iter().enumerate() {
        assert_eq!(document["http"]["request"]["body"]["bytes"], 100);
        assert_eq!(document.pointer(REQUEST).is_some(), number < 8, "{number}");
        let cut = json!({"http.request.body.content": 100});
        assert_eq!(document["weir"]["original_sizes"] == cut, number >= 8, "{number}");
    }
    // What was kept has been given back.
    seen = seen.steps(&[client(post("text/plain", &body)), server(OK)]);
    let last = seen.documents().pop().unwrap();
    assert_eq!(last.pointer(REQUEST).unwrap(), &json!(body));
}
