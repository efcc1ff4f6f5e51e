//! Streams and connections that end early.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Side};

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn error(document: &Value) -> &str {
    document["error"]["type"].as_str().unwrap_or("none")
}

#[test]
fn a_stream_is_reset_by_either_side() {
    let mut seen = Observer::new();
    seen.client([headers(1, true, &get("/1")), headers(3, true, &get("/3"))].concat());
    seen.client(reset(1, 8));
    seen.server([headers(3, false, &[(":status", "200")]), reset(3, 2)].concat());
    // What comes late on a stream that is over belongs to no exchange.
    seen.server([headers(1, false, &[(":status", "200")]), data(1, true, b"x")].concat());
    seen.close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["/1 null failure", "/3 200 failure"]);
    assert_eq!(
        documents[0]["error"],
        json!({"type": "stream_reset", "message": "the client reset the stream: CANCEL"})
    );
    assert_eq!(
        documents[1]["error"]["message"],
        "the server reset the stream: INTERNAL_ERROR"
    );
}

#[test]
fn a_server_that_has_answered_may_refuse_the_rest_of_the_request() {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &get("/up")));
    seen.server([headers(1, true, &[(":status", "200")]), reset(1, 0)].concat());
    let document = seen.document();
    assert_eq!(document["event"]["outcome"], "success");
    assert_eq!(error(&document), "none");
}

#[test]
fn a_server_that_goes_away_says_what_it_has_not_looked_at() {
    let mut seen = Observer::new();
    for id in [1, 3, 5] {
        seen.client(headers(id, true, &get("/")));
    }
    seen.server(go_away((1 << 31) - 1, 0));
    assert_eq!(seen.documents().len(), 0);
    seen.server(go_away(3, 11));
    seen.server(headers(1, true, &[(":status", "200")]));
    seen.close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(
        documents.iter().map(error).collect::<Vec<_>>(),
        ["goaway", "none", "no_response"]
    );
    assert_eq!(documents[0]["weir"]["http2"]["stream_id"], 5);
    assert_eq!(anomalies(&documents[2]), ["goaway: ENHANCE_YOUR_CALM"]);
}

#[test]
fn what_is_unfinished_comes_out_as_the_connection_ends() {
    for (how, failed) in [
        (
            Close::Finished,
            ["no_response", "incomplete_request", "incomplete_response"],
        ),
        (Close::Reset(Side::Server), ["connection_reset"; 3]),
        (Close::Abandoned, ["abandoned"; 3]),
    ] {
        let mut seen = Observer::new();
        seen.client(headers(1, true, &get("/1")));
        seen.client(headers(3, false, &get("/3")));
        seen.client(headers(5, true, &get("/5")));
        seen.server(headers(5, false, &[(":status", "200")]));
        seen.close(how);
        assert_eq!(seen.documents().iter().map(error).collect::<Vec<_>>(), failed);
    }
}

#[test]
fn a_client_may_wait_after_its_last_word() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &get("/1")));
    seen.end(Side::Client);
    seen.server(headers(1, true, &[(":status", "200")]));
    seen.client(headers(3, true, &get("/3")));
    seen.end(Side::Server);
    assert_eq!(summary(&seen.documents()), ["/1 200 success", "/3 null failure"]);
}

#[test]
fn a_broken_header_block_is_noted_and_its_table_not_trusted() {
    let mut seen = Observer::new();
    // Index 62 of a table that is empty.
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\xbe"));
    seen.server(headers(1, true, &[(":status", "400")]));
    // Interrupted by another frame.
    seen.client(frame(HEADERS, END_STREAM, 3, &block(&get("/3"))));
    seen.client(frame(PING, 0, 0, &[0; 8]));
    seen.client(headers(5, true, &get("/5")));
    seen.server(headers(5, true, &[(":status", "200")]));
    seen.close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["- 400 failure", "/5 200 success"]);
    assert_eq!(anomalies(&documents[0]), ["invalid_header_block"]);
    assert_eq!(documents[0]["http"]["request"]["method"], "GET");
}

#[test]
fn what_is_no_frame_ends_the_order_and_the_next_frame_is_found() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &get("/1")));
    seen.client([0xff; 40]);
    seen.client(
        [
            headers(3, true, &get("/3")),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
        ]
        .concat(),
    );
    seen.server(headers(1, true, &[(":status", "200")]));
    seen.server(headers(3, true, &[(":status", "200")]));
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["/1 200 success", "/3 200 success"]);
    assert_eq!(
        anomalies(&documents[1]),
        ["not_a_frame: frames were looked for again"]
    );
}
