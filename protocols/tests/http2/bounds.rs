//! Limits on what a connection may make the decoder keep.

use crate::support::*;
use weir_protocols::{Close, Decoder};

fn begun(max_pending: usize) -> Observer {
    let mut seen = Observer::of(Decoder::new(&limits(max_pending)));
    seen.client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    seen
}

#[test]
fn the_oldest_stream_makes_room() {
    let mut seen = begun(3);
    for id in 0..5 {
        seen.client(headers(id * 2 + 1, true, &get("/")));
    }
    let documents = seen.documents();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0]["weir"]["http2"]["stream_id"], 1);
    assert_eq!(anomalies(&documents[0]), ["too_many_pending: 3"]);
    assert_eq!(documents[0]["error"]["type"], "abandoned");
    seen.server(headers(1, true, &[(":status", "200")]));
    seen.close(Close::Finished);
    assert_eq!(seen.documents().len(), 5);
}

#[test]
fn a_header_block_past_the_limit_is_not_kept() {
    let mut seen = begun(8);
    seen.client(frame(HEADERS, END_STREAM, 1, &block(&get("/1"))));
    for _ in 0..10 {
        seen.client(frame(CONTINUATION, 0, 1, &[0x82; 16000]));
    }
    seen.client(frame(CONTINUATION, END_HEADERS, 1, b"\x82"));
    seen.client(headers(3, true, &get("/3")));
    seen.close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(anomalies(&documents[0]), ["header_block_too_long"]);
    assert_eq!(documents[1]["url"]["path"], "/3");
}

#[test]
fn lists_of_headers_are_cut_and_say_so() {
    let mut seen = begun(8);
    let mut fields = get("/1");
    let long = "v".repeat(10_000);
    fields.push(("long", &long));
    fields.extend([("many", "x"); 200]);
    seen.client(headers(1, true, &fields));
    seen.server(headers(1, true, &[(":status", "200")]));
    let document = seen.document();
    assert_eq!(document["weir"]["truncated"], true);
    let sizes = &document["weir"]["original_sizes"];
    assert_eq!(sizes["http.request.headers.long"], 10_000);
    assert_eq!(document["url"]["path"], "/1");
    assert!(sizes["http.request.head"].as_u64().is_some(), "{sizes}");
    let kept = document["http"]["request"]["headers"]["many"].as_array().unwrap();
    assert_eq!(kept.len(), 64 - 2);
    assert_eq!(sizes["http.request.header_count"], 202);
}

#[test]
fn what_is_no_frame_again_and_again_ends_what_is_open() {
    let mut seen = begun(64);
    for id in 0..10 {
        seen.client(headers(id * 2 + 1, true, &get("/")));
    }
    let found = [frame(PING, 0, 0, &[0; 8]), frame(PING, 0, 0, &[0; 8])].concat();
    for time in 0..100 {
        assert_eq!(seen.documents().len(), if time <= 64 { 0 } else { 10 }, "{time}");
        seen.server([0xff; 20]).server(&found);
    }
    for document in seen.documents() {
        assert_eq!(document["event"]["outcome"], "unknown");
        assert_eq!(
            anomalies(&document),
            ["not_a_frame: frames were looked for again"]
        );
    }
    // What comes then is decoded all the same.
    seen.client(headers(101, true, &get("/101")));
    seen.server(headers(101, true, &[(":status", "200")]));
    assert_eq!(summary(&seen.documents()[10..]), ["/101 200 success"]);
}

#[test]
fn each_stream_is_told_once_of_what_passes_by() {
    let mut seen = begun(64);
    seen.gap(weir_protocols::Side::Server, Some(10));
    for id in [1, 3, 5] {
        seen.client(headers(id, true, &get("/")));
        seen.server([0xff; 20]).server([0xff; 20]);
    }
    seen.server([frame(PING, 0, 0, &[0; 8]), frame(PING, 0, 0, &[0; 8])].concat());
    // This one was asked for after the frames were found again.
    seen.client(headers(7, true, &get("/")));
    seen.close(Close::Finished);
    let outcomes: Vec<_> = seen
        .documents()
        .iter()
        .map(|document| document["event"]["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["unknown", "unknown", "unknown", "failure"]);
}
