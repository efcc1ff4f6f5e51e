//! A success is what was seen to be one, a failure too.

use crate::support::*;
use serde_json::Value;
use weir_protocols::{Close, Side};

fn outcome(document: &Value) -> &str {
    document["event"]["outcome"].as_str().unwrap()
}

/// A late connection on which a call is seen of which these header blocks come.
fn late(request: &[u8], response: &[u8], trailers: Option<&[u8]>) -> Value {
    let mut seen = Observer::late();
    seen.client(frame(HEADERS, END_HEADERS, 41, request));
    seen.client(data(41, true, &message(false, b"x")));
    let end = if trailers.is_none() { END_STREAM } else { 0 };
    seen.server(frame(HEADERS, END_HEADERS | end, 41, response));
    if let Some(trailers) = trailers {
        seen.server(data(41, false, &message(false, b"y")));
        seen.server(frame(HEADERS, END_HEADERS | END_STREAM, 41, trailers));
    }
    seen.document()
}

#[test]
fn a_status_that_was_not_read_is_not_taken_for_a_good_one() {
    // POST, http, and what stands in the part of the table that was not seen: who says that this is no call?
    let hidden = b"\x83\x86\xc5\xc6";
    let plain = [&b"\x83\x86"[..], &literal(0, "content-type", "text/plain")].concat();
    let html = [&b"\x88"[..], &literal(0, "content-type", "text/html")].concat();
    for (request, response, trailers, expected) in [
        (&hidden[..], &b"\x88\xc5"[..], Some(&b"\xc6\xc7"[..]), "unknown"),
        (hidden, b"\x88\xc5\xc6", None, "unknown"),
        // The name is unknown, the value is not.
        (hidden, b"\x88\xc5", Some(b"\x7f\x05\x011"), "unknown"),
        // It is known not to be one.
        (b"\x82\x86\xc5", b"\x88\xc5\xc6", None, "success"),
        (&plain, b"\x88\xc5", Some(b"\xc6"), "success"),
        (hidden, &html, Some(b"\xc6"), "success"),
        (hidden, b"\x8d\xc5", Some(b"\xc6"), "failure"),
        // The trailers are known whole.
        (hidden, b"\x88\xc5", Some(&literal(0, "sum", "1")), "success"),
    ] {
        let document = late(request, response, trailers);
        assert_eq!(outcome(&document), expected, "{document:#}");
    }
}

#[test]
fn a_call_without_its_status_is_unknown() {
    let ok = [(":status", "200"), ("content-type", "application/grpc")];
    // The trailers never came.
    let mut seen = Observer::new();
    seen.client(headers(1, true, &call("/s.S/M")));
    seen.server([headers(1, false, &ok), data(1, true, &message(false, b""))].concat());
    // They were lost in a gap, and their stream's end too.
    seen.client(headers(3, true, &call("/s.S/M")));
    seen.server(headers(3, false, &ok));
    seen.gap(Side::Server, Some(30));
    seen.close(Close::Finished);
    // A status in the head does not stand for trailers that hide theirs.
    let mut late = Observer::late();
    late.client(headers(5, true, &call("/s.S/M")));
    late.server(headers(5, false, &[&ok[..], &[("grpc-status", "0")]].concat()));
    late.server(frame(HEADERS, END_HEADERS | END_STREAM, 5, b"\xc5"));
    for document in seen.documents().iter().chain(&late.documents()) {
        assert_eq!(outcome(document), "unknown", "{document:#}");
        assert_eq!(document["rpc"]["response"]["status_code"], Value::Null);
        assert_eq!(document["error"], Value::Null);
    }
}

#[test]
fn statuses_that_contradict_each_other_are_no_status() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &call("/s.S/M")));
    let trailers = [(":status", "200"), ("grpc-status", "0"), ("grpc-status", "5")];
    seen.server(headers(1, true, &trailers));
    let document = seen.document();
    assert_eq!(outcome(&document), "unknown");
    assert_eq!(anomalies(&document), ["grpc_status_repeated: response"]);
}

#[test]
fn what_is_no_final_status_is_no_success() {
    for fields in [
        &[(":status", "200"), (":status", "500")][..],
        &[(":status", "+200")],
        &[(":status", "0200")],
        &[(":status", "103")],
        &[("a", "b")],
    ] {
        let mut seen = Observer::new();
        seen.client(headers(1, true, &get("/")));
        seen.server(headers(1, true, fields));
        assert_eq!(outcome(&seen.document()), "unknown", "{fields:?}");
    }
}

#[test]
fn a_header_block_that_could_not_be_read_hides_a_status() {
    let mut seen = Observer::new();
    let request = [(":method", "POST"), (":scheme", "http"), (":path", "/s.S/M")];
    seen.client(headers(1, true, &request));
    seen.server(headers(1, false, &[(":status", "200")]));
    seen.server(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xbe"));
    let document = seen.document();
    assert_eq!(outcome(&document), "unknown");
    assert_eq!(anomalies(&document), ["invalid_header_block"]);
}

#[test]
fn an_answer_that_may_have_been_missed_is_not_said_to_be_lacking() {
    let reset = frame(RST_STREAM, 0, 41, &8_u32.to_be_bytes());
    // Joined within a request: its answer may have come before.
    for (end, how) in [
        (None, Close::Finished),
        (None, Close::Reset(Side::Server)),
        (Some(reset.clone()), Close::Finished),
    ] {
        let mut seen = Observer::late();
        seen.server(frame(SETTINGS, 1, 0, &[]));
        seen.client(data(41, false, b"middle"));
        if let Some(end) = &end {
            seen.client(end);
        }
        seen.close(how);
        let document = seen.document();
        assert_eq!(outcome(&document), "unknown", "{document:#}");
        assert_eq!(document["error"], Value::Null);
    }
    // While a side's frames are looked for, what it answers passes by.
    let mut seen = Observer::new();
    seen.gap(Side::Server, Some(10));
    seen.client(headers(1, true, &get("/1")));
    seen.server(&headers(1, true, &[(":status", "200")])[1..]);
    seen.close(Close::Finished);
    let document = seen.document();
    assert_eq!(outcome(&document), "unknown");
    assert_eq!(anomalies(&document), ["gap: bytes were missed"]);
    // A stream that is reset after its request's end has no whole answer.
    let mut seen = Observer::new();
    seen.client(headers(41, true, &get("/1")));
    seen.gap(Side::Server, Some(10));
    seen.client(&reset);
    let document = seen.document();
    assert_eq!(document["error"]["type"], "stream_reset");
}

#[test]
fn an_interim_answer_whose_status_is_unknown_is_none() {
    let mut seen = Observer::late();
    seen.client(headers(1, true, &get("/1")));
    seen.server(frame(HEADERS, END_HEADERS, 1, b"\xc5"));
    seen.server(headers(1, true, &[(":status", "404")]));
    let document = seen.document();
    assert_eq!(summary(&[document]), ["/1 404 failure"]);
}
