//! Exchanges that are cut short: each gives a document that says how.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Side};

const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
const UPLOAD: &str = "PUT /u HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf";

#[track_caller]
fn ends(steps: &[Step], error: Value, outcome: &str) -> Value {
    let d = one(steps);
    assert_eq!(
        (&d["error"]["type"], &d["event"]["outcome"]),
        (&error, &json!(outcome))
    );
    d
}

#[test]
fn no_response() {
    ends(
        &[client(GET), Step::Close(Close::Finished)],
        json!("no_response"),
        "failure",
    );
    ends(
        &[client(GET), Step::End(Side::Server)],
        json!("no_response"),
        "failure",
    );
    ends(
        &[client(GET), Step::Close(Close::Reset(Side::Server))],
        json!("connection_reset"),
        "failure",
    );
    ends(
        &[client(GET), Step::Close(Close::Reset(Side::Client))],
        json!("connection_reset"),
        "failure",
    );
    ends(
        &[client(GET), Step::Close(Close::Abandoned)],
        json!("abandoned"),
        "unknown",
    );
}

#[test]
fn half_a_response() {
    let d = ends(
        &[client(GET), server(HALF), Step::End(Side::Server)],
        json!("incomplete_response"),
        "failure",
    );
    assert_eq!(d["http"]["response"]["body"]["bytes"], 4);
    assert_eq!(d["weir"]["timing"]["response"], json!(null));
    ends(
        &[client(GET), server(HALF), Step::Close(Close::Reset(Side::Server))],
        json!("connection_reset"),
        "failure",
    );
    let d = ends(
        &[
            client(GET),
            server("HTTP/1.1 503 Gone\r\nServ"),
            Step::Close(Close::Finished),
        ],
        json!("incomplete_response"),
        "failure",
    );
    assert_eq!(
        (&d["http"]["response"]["status_code"], &d["destination"]["bytes"]),
        (&json!(503), &json!(23))
    );
    let d = ends(
        &[client(GET), server("HTTP/1.1 2"), Step::Close(Close::Finished)],
        json!("incomplete_response"),
        "failure",
    );
    assert_eq!(
        (&d["http"]["response"], &d["destination"]["bytes"]),
        (&json!(null), &json!(10))
    );
}

#[test]
fn half_a_request() {
    let d = ends(
        &[client(UPLOAD), Step::Close(Close::Reset(Side::Client))],
        json!("connection_reset"),
        "failure",
    );
    assert_eq!(d["http"]["request"]["body"]["bytes"], 4);
    ends(
        &[
            client(UPLOAD),
            Step::End(Side::Client),
            Step::Close(Close::Finished),
        ],
        json!("incomplete_request"),
        "failure",
    );
    let d = ends(
        &[client(UPLOAD), Step::End(Side::Client), server(OK)],
        json!("incomplete_request"),
        "failure",
    );
    assert_eq!(d["http"]["response"]["status_code"], 200);
    let d = ends(
        &[
            client("GET /a HTTP/1.1\r\nHo"),
            Step::Close(Close::Reset(Side::Client)),
        ],
        json!("connection_reset"),
        "failure",
    );
    assert_eq!(d["url"]["path"], "/a");
}

#[test]
fn half_closed_clients_still_get_their_answers() {
    let documents = run(&[
        client(format!("{GET}{GET}")),
        Step::End(Side::Client),
        server(OK),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200"; 2]);
    assert!(documents.iter().all(|d| d["error"] == json!(null)));
}

#[test]
fn a_server_that_closes_while_it_is_asked() {
    let documents = run(&[
        client(UPLOAD),
        server("HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nno"),
        Step::End(Side::Server),
        client("more.."),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(summary(&documents), ["PUT /u 413"]);
    assert_eq!(documents[0]["http"]["request"]["body"]["bytes"], 10);
    ends(
        &[client(UPLOAD), Step::End(Side::Server), client("more..")],
        json!("no_response"),
        "failure",
    );
    ends(
        &[
            client(UPLOAD),
            server(HALF),
            Step::End(Side::Server),
            client("more.."),
        ],
        json!("incomplete_response"),
        "failure",
    );
}

#[test]
fn every_request_that_waits_comes_out() {
    let documents = run(&[
        client(GET.repeat(3)),
        server(OK),
        server(HALF),
        Step::Close(Close::Finished),
    ]);
    let errors: Vec<_> = documents.iter().map(|d| d["error"]["type"].clone()).collect();
    assert_eq!(
        errors,
        [json!(null), json!("incomplete_response"), json!("no_response")]
    );
}

#[test]
fn a_close_with_nothing_under_way_is_silent_and_final() {
    let mut seen = Observer::new().steps(&[client(GET), server(OK), Step::Close(Close::Finished)]);
    assert_eq!(seen.exchanges.len(), 1);
    assert_eq!(seen.protocol(), weir_protocols::Protocol::Http1);
    assert!(seen.decoder.is_opaque());
    seen.step(&client(GET));
    seen.step(&Step::Close(Close::Finished));
    assert_eq!(seen.exchanges.len(), 1);
}

#[test]
fn statuses_decide_the_outcome() {
    for (status, outcome) in [
        (200, "success"),
        (302, "success"),
        (404, "failure"),
        (500, "failure"),
    ] {
        let response = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        ends(&[client(GET), server(response)], json!(null), outcome);
    }
}
