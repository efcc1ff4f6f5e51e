//! Messages of HTTP/1 that are not as they should be: the exchanges around them are there, and what is odd is named.

use crate::support::{Conversation, repro, track};
use weir_protocols::Side;

/// Method, path, status, outcome and anomalies of each exchange of a capture.
fn exchanges(name: &str) -> Vec<(String, String, String)> {
    let seen = repro(&format!("{name}.pcap"));
    let outcomes = seen
        .documents
        .iter()
        .map(|d| d["event"]["outcome"].as_str().unwrap().to_owned());
    let rows = seen.summary().into_iter().zip(outcomes).zip(seen.anomalies());
    rows.map(|((summary, outcome), anomalies)| (summary, outcome, anomalies))
        .collect()
}

#[track_caller]
fn check(name: &str, expected: &[(&str, &str, &str)]) {
    let seen = exchanges(name);
    let seen: Vec<_> = seen
        .iter()
        .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()))
        .collect();
    assert_eq!(seen, expected, "{name}");
}

/// These, and then good exchanges up to the sixth.
#[track_caller]
fn then_good(name: &str, odd: [(&str, &str, &str); 2]) {
    let rest = [
        ("GET /3 200", "success", ""),
        ("GET /4 200", "success", ""),
        ("GET /5 200", "success", ""),
        ("GET /6 200", "success", ""),
    ];
    check(name, &[&odd[..], &rest].concat());
}

#[test]
fn behind_a_response_with_a_body_that_may_not_be_the_others_are_there() {
    then_good(
        "http-after-head-with-body",
        [
            ("HEAD /1 200", "success", ""),
            (
                "GET /2 200",
                "success",
                "pairing_uncertain; body_in_answer_to_head: behind the response before this; \
                 resynchronised: 2 bytes of the server were passed over",
            ),
        ],
    );
    then_good(
        "http-after-204-with-body",
        [
            ("GET /1 204", "success", "body_in_204"),
            (
                "GET /2 200",
                "success",
                "pairing_uncertain; body_in_204: behind the response before this; \
                 resynchronised: 2 bytes of the server were passed over",
            ),
        ],
    );
}

#[test]
fn transfer_encoding_counts_more_than_content_length_in_a_response() {
    then_good(
        "http-after-te-and-cl",
        [
            (
                "GET /1 200",
                "success",
                "content_length_and_transfer_encoding: \"33907\", \"chunked\"",
            ),
            ("GET /2 200", "success", ""),
        ],
    );
}

#[test]
fn what_begins_oddly_and_is_answered_in_http_is_http() {
    check(
        "http-first-request-two-spaces",
        &[
            ("GET /1 400", "failure", "spaces_in_request_line"),
            ("GET /2 200", "success", ""),
            ("GET /3 200", "success", ""),
        ],
    );
    check(
        "http-first-request-binary",
        &[
            ("- - 400", "failure", "not_a_request"),
            (
                "GET /2 200",
                "success",
                "resynchronised: 7 bytes of the client were passed over; pairing_uncertain",
            ),
            ("GET /3 200", "success", ""),
        ],
    );
    check(
        "http-garbage-then-400",
        &[("- - 400", "failure", "not_a_request")],
    );
    check(
        "http-status-two-spaces",
        &[("GET /x 200", "success", "spaces_in_status_line")],
    );
    check(
        "h2-preface-to-http1",
        &[(
            "PRI - 400",
            "failure",
            "invalid_version: \"HTTP/2.0\"; request_body_end_unknown",
        )],
    );
}

#[test]
fn heads_that_were_cut_show_what_there_is_of_them() {
    let seen = repro("snaplen-96.pcap");
    assert_eq!(
        seen.summary(),
        ["GET /averylongpathxxxxxxxxxxxxxxxxxxxxxxxx 200", "GET /a 200"]
    );
    assert_eq!(seen.documents[0]["weir"]["truncated"], true);
    for document in &seen.documents {
        assert!(document["weir"]["late_join"].is_null());
    }
}

#[test]
fn an_answer_that_was_acknowledged_and_not_captured_is_unknown() {
    check("http-answer-in-gap", &[("GET /a -", "unknown", "gap: response")]);
    let seen = repro("http-answer-in-gap.pcap");
    assert!(seen.documents[0]["error"].is_null());
}

#[test]
fn connections_that_are_not_decoded_are_counted_with_their_bytes() {
    let counted = |steps: &[(Side, &str)]| {
        let mut conversation = Conversation::default();
        conversation.handshake();
        for (side, bytes) in steps {
            conversation.send(*side, bytes);
        }
        conversation.finish();
        let (_, counters) = track(&conversation.frames);
        (
            counters.not_decoded,
            counters.upgraded,
            counters.not_decoded_bytes,
        )
    };
    let get = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: private\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: private\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    use Side::{Client, Server};
    assert_eq!(counted(&[(Client, get), (Server, ok)]), (0, 0, 0));
    assert_eq!(
        counted(&[(Client, "SET a"), (Server, "OK"), (Client, "GET a")]),
        (1, 0, 12)
    );
    let (others, upgraded, bytes) =
        counted(&[(Client, get), (Server, switch), (Client, "abc"), (Server, "de")]);
    // (The piece with the last answer counts as what follows.)
    assert_eq!((others, upgraded, bytes), (0, 1, switch.len() as u64 + 5));
}
