//! Connections joined in the middle, and gaps.

use crate::support::*;
use serde_json::{Value, json};
use weir_config::Records;
use weir_protocols::{Close, Protocol, Side};

#[test]
fn a_late_join_shows_what_it_does_not_know() {
    let mut seen = Observer::late();
    // GET and http from the static table; path and another field by indexes of which nothing is known; one with a name
    // that is unknown; one that is inserted, and so known the next time.
    let fields = [
        &b"\x82\x86\xc5\xc6"[..],
        b"\x0f\x39\x07hunter2",
        &literal(0x40, "x-late", "yes"),
    ]
    .concat();
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 41, &fields));
    assert_eq!(seen.protocol(), Protocol::Http2);
    seen.server(frame(HEADERS, END_HEADERS | END_STREAM, 41, b"\x88\xbf"));
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 43, b"\x82\x86\xbe\x84"));
    seen.server(frame(HEADERS, END_HEADERS | END_STREAM, 43, b"\xc0"));
    let documents = seen.documents();
    let first = &documents[0];
    assert_eq!(first["weir"]["late_join"], true);
    assert_eq!(first["url"], Value::Null);
    assert_eq!(first["http"]["request"]["method"], "GET");
    assert_eq!(
        first["http"]["request"]["headers"],
        json!({"<unknown>": ["<index 69>", "<index 70>", "<redacted>"], "x-late": ["yes"]})
    );
    assert_eq!(first["http"]["response"]["status_code"], 200);
    assert_eq!(
        anomalies(first),
        [
            "unknown_request_headers: 3 in a part of the table that was not seen",
            "unknown_response_headers: 1 in a part of the table that was not seen"
        ]
    );
    assert_eq!(first["event"]["outcome"], "success");
    let second = &documents[1];
    assert_eq!(second["url"]["path"], "/");
    assert_eq!(second["http"]["request"]["headers"], json!({"x-late": ["yes"]}));
    assert_eq!(second["http"]["response"]["status_code"], Value::Null);
    assert_eq!(second["event"]["outcome"], "unknown");
    let open = Records {
        redact: false,
        ..Records::default()
    };
    assert!(seen.documents_under(&open)[0].to_string().contains("hunter2"));
}

#[test]
fn a_stream_that_began_before_is_marked() {
    let mut seen = Observer::late();
    seen.server(data(7, false, b"middle"));
    seen.server(data(7, false, b"end"));
    seen.server(headers(7, true, &[("grpc-status", "0")]));
    seen.server(data(9, true, b"all"));
    // Late frames of streams that are over are no exchanges.
    seen.client(frame(WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1]));
    seen.client(data(9, true, b"rest"));
    let documents = seen.documents();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0]["weir"]["late_join"], true);
    assert_eq!(documents[0]["http"]["request"], Value::Null);
    assert_eq!(documents[0]["http"]["response"]["body"]["bytes"], 9);
    assert_eq!(
        documents[0]["http"]["response"]["headers"]["grpc-status"],
        json!(["0"])
    );
    // The status says that it was gRPC, and how it ended.
    assert_eq!(documents[0]["rpc"]["response"], json!({"status_code": "OK"}));
    assert_eq!(documents[0]["event"]["outcome"], "success");
    assert_eq!(documents[1]["rpc"], Value::Null);
    assert_eq!(documents[1]["event"]["outcome"], "unknown");
}

#[test]
fn a_stream_of_grpc_joined_late_has_no_counts() {
    let mut seen = Observer::late();
    seen.client(data(5, false, &message(false, b"x")));
    seen.server(headers(
        5,
        false,
        &[(":status", "200"), ("content-type", "application/grpc")],
    ));
    seen.server(data(5, false, &message(false, b"abc")));
    seen.client(data(5, true, b""));
    seen.server(headers(5, true, &[("grpc-status", "5")]));
    let document = seen.document();
    assert_eq!(document["rpc"]["system"]["name"], "grpc");
    assert_eq!(document["rpc"]["request"], Value::Null);
    assert_eq!(document["rpc"]["response"]["messages"], 1);
    assert_eq!(document["rpc"]["response"]["status_code"], "NOT_FOUND");
    assert_eq!(document["rpc"]["method"], Value::Null);
}

#[test]
fn a_gap_within_a_body_loses_nothing_else() {
    let mut seen = Observer::new();
    let headed = [block(&call("/s.S/M")), literal(0x40, "x", "y")].concat();
    seen.client(frame(HEADERS, END_HEADERS, 1, &headed));
    let body = data(1, true, &message(false, &[7; 1000]));
    seen.client(&body[..100]);
    seen.gap(Side::Client, Some(500));
    seen.client(&body[600..]);
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x82\x86\x84\xbe"));
    seen.server(headers(
        1,
        true,
        &[
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "0"),
        ],
    ));
    seen.server(headers(3, true, &[(":status", "200")]));
    let documents = seen.documents();
    assert_eq!(documents[0]["rpc"]["request"]["messages"], 1);
    assert_eq!(documents[0]["rpc"]["request"]["bytes"], 1000);
    assert_eq!(documents[0]["http"]["request"]["body"]["bytes"], 1005);
    assert_eq!(anomalies(&documents[0]), ["gap: 500 bytes of a body were missed"]);
    assert_eq!(documents[1]["http"]["request"]["headers"], json!({"x": ["y"]}));
    assert_eq!(anomalies(&documents[1]), [""; 0]);
}

#[test]
fn after_a_gap_frames_are_found_and_the_table_is_not_trusted() {
    let mut seen = Observer::new();
    let headed = [block(&get("/1")), literal(0x40, "x", "y")].concat();
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &headed));
    seen.client(headers(3, false, &get("/3")));
    seen.gap(Side::Client, Some(77));
    seen.client([&b"the rest of something"[..], &frame(PING, 0, 0, &[1; 8])].concat());
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 7, b"\x82\x86\x84\xbe"));
    for stream in [1, 3, 5, 7] {
        seen.server(headers(stream, true, &[(":status", "200")]));
    }
    seen.close(Close::Finished);
    let documents = seen.documents();
    let of = |id: u64| {
        let of = |document: &&Value| document["weir"]["http2"]["stream_id"] == id;
        documents.iter().find(of).unwrap()
    };
    assert_eq!(documents.len(), 4);
    assert_eq!(anomalies(of(1)), [""; 0]);
    assert_eq!(of(1)["http"]["request"]["headers"]["x"], json!(["y"]));
    // Whether it was whole is unknown, but it was answered.
    assert_eq!(anomalies(of(3)), ["gap: bytes were missed"]);
    assert_eq!(of(3)["event"]["outcome"], "success");
    assert_eq!(of(5)["http"]["request"], Value::Null);
    assert_eq!(
        of(7)["http"]["request"]["headers"],
        json!({"<unknown>": ["<index 62>"]})
    );
    assert_eq!(of(7)["url"]["path"], "/");
}
