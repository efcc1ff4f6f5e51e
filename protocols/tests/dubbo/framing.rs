//! How frames are found: one behind the other, after bytes that belong to none, after a gap, in the middle of a connection.

use crate::support::*;
use serde_json::json;
use weir_protocols::{Protocol, Side};

#[test]
fn heartbeats_are_counted_and_not_listed() {
    let mut seen = Observer::new();
    seen.client(heartbeat(1))
        .server(heartbeat_answer(1))
        .server(heartbeat(9))
        .client(heartbeat_answer(9));
    assert_eq!(seen.protocol(), Protocol::Dubbo);
    seen.client(request(2, "a"))
        .client(frame(REQUEST | EVENT | HESSIAN2, 0, 3, b"\x01R"))
        .server(response(2, "a"));
    seen.client(request(4, "b"))
        .server(response(4, "b"))
        .client(request(5, "c"))
        .server(response(5, "c"));
    let documents = seen.documents();
    assert_eq!(
        summary(&documents),
        ["echo[\"a\"] 2 20", "echo[\"b\"] 4 20", "echo[\"c\"] 5 20"]
    );
    let events: Vec<_> = documents
        .iter()
        .map(|d| d["weir"]["dubbo"]["events"].clone())
        .collect();
    assert_eq!(json!(events), json!([4, 1, null]));
    assert_eq!(seen.decoder.take_events(), 5);
    seen.client(heartbeat(9));
    assert_eq!((seen.decoder.take_events(), seen.decoder.take_events()), (1, 0));
}

#[test]
fn plain_text_between_frames_is_counted() {
    let mut seen = Observer::new();
    seen.client(request(1, "a")).server(response(1, "a"));
    seen.client("status -l\r\n")
        .server("+---+\r\n| OK \u{4e2d}|\r\ndubbo>");
    seen.client(request(2, "b")).server(response(2, "b"));
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["echo[\"a\"] 1 20", "echo[\"b\"] 2 20"]);
    // The server's answer is known to be no frame once the next one begins.
    assert_eq!(documents[1]["weir"]["dubbo"]["text_bytes"], 11);
    assert!(documents.iter().all(|document| anomalies(document).is_empty()));
}

#[test]
fn the_next_frame_is_found_after_bytes_that_belong_to_none() {
    for garbage in [
        &b"\0\x01\x02"[..],
        b"\xda",
        b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff",
    ] {
        for piece in [1, 3, 16, 1000] {
            let mut seen = Observer::new();
            seen.client(request(1, "a"));
            let bytes = [garbage, &request(2, "b"), &request(3, "c")].concat();
            for bytes in bytes.chunks(piece) {
                seen.client(bytes);
            }
            seen.server([response(1, "a"), response(2, "b"), response(3, "c")].concat());
            let documents = seen.documents();
            assert_eq!(
                summary(&documents),
                ["echo[\"a\"] 1 20", "echo[\"b\"] 2 20", "echo[\"c\"] 3 20"]
            );
            let expected = format!(
                "resynchronised: {} bytes of the client belong to no frame",
                garbage.len()
            );
            if garbage != b"\xda" {
                assert_eq!(
                    anomalies(&documents[1]),
                    [expected.as_str()],
                    "{garbage:x?} {piece}"
                );
            }
            assert!(anomalies(&documents[2]).is_empty());
        }
    }
}

#[test]
fn a_gap_within_a_body_is_stepped_over() {
    let bytes = request(1, &"x".repeat(100));
    let mut seen = Observer::new();
    seen.client(&bytes[..90])
        .gap(Side::Client, Some(60))
        .client(&bytes[150..])
        .client(request(2, "b"));
    seen.server(response(1, "a")).server(response(2, "b"));
    let documents = seen.documents();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0]["dubbo"]["method"], "echo");
    assert_eq!(
        anomalies(&documents[0]),
        ["gap: bytes of the request were missed"]
    );
    assert_eq!(
        documents[0]["weir"]["original_sizes"]["dubbo.args"],
        bytes.len() - 16
    );
    assert_eq!(documents[0]["source"]["bytes"], bytes.len());
    assert!(anomalies(&documents[1]).is_empty());
    // Up to its end exactly.
    let mut seen = Observer::new();
    seen.client(request(1, "a")).server(&response(1, "abc")[..20]);
    seen.gap(Side::Server, Some(response(1, "abc").len() as u64 - 20))
        .client(request(2, "b"))
        .server(response(2, "b"));
    assert_eq!(seen.documents().len(), 2);
}

#[test]
fn the_next_frame_is_found_after_a_gap_of_any_length() {
    for missed in [None, Some(1_000_000)] {
        let bytes = request(1, &"x".repeat(100));
        let mut seen = Observer::new();
        seen.client(&bytes[..90]).gap(Side::Client, missed);
        seen.client([&b"the end of something"[..], &request(2, "b")].concat());
        seen.server(response(1, "a"))
            .server(response(2, "b"))
            .client(request(3, "c"))
            .server(response(3, "c"));
        let documents = seen.documents();
        assert_eq!(documents.len(), 3);
        assert_eq!(documents[0]["dubbo"]["status"], 20);
        assert_eq!(
            anomalies(&documents[0]),
            ["gap: bytes of the request were missed"]
        );
        assert_eq!(
            anomalies(&documents[1]),
            ["gap: bytes of the client before this were missed"]
        );
        assert!(anomalies(&documents[2]).is_empty());
    }
}

#[test]
fn a_connection_is_joined_in_its_middle() {
    let middle = [&b"\x01\xda\xbbsomething\xda"[..], &request(5, "e")].concat();
    for piece in [1, 2, 7, 1000] {
        let mut seen = Observer::late();
        seen.server(&response(4, "missed")[10..]);
        for bytes in middle.chunks(piece) {
            seen.client(bytes);
        }
        assert_eq!(seen.protocol(), Protocol::Dubbo);
        seen.server(response(4, "d")).server(response(5, "e"));
        let documents = seen.documents();
        assert_eq!(summary(&documents), ["- 4 20", "echo[\"e\"] 5 20"], "{piece}");
        assert!(
            documents
                .iter()
                .all(|d| d["weir"]["late_join"] == true && anomalies(d).is_empty())
        );
        assert_eq!(documents[0]["dubbo"]["result"], "d");
        assert_eq!(documents[0].get("source").unwrap().get("bytes"), None);
    }
}

#[test]
fn frames_without_a_body_are_frames() {
    let mut seen = Observer::new();
    seen.client(frame(REQUEST | TWO_WAY | HESSIAN2, 0, 1, b""))
        .client(request(2, "b"));
    seen.server(frame(HESSIAN2, 20, 1, b"")).server(response(2, "b"));
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["- 1 20", "echo[\"b\"] 2 20"]);
    assert_eq!(
        anomalies(&documents[0]),
        [
            "malformed_request: its body ends too early",
            "malformed_response: its body ends too early"
        ]
    );
}
