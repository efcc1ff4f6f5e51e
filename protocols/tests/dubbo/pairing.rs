//! Which request a response answers, and what becomes of requests without one.

use crate::support::*;
use serde_json::Value;
use weir_protocols::{Close, Decoder, Side};

fn results(seen: &Observer) -> Vec<String> {
    let documents = seen.documents();
    let pair = |d: &Value| format!("{} {}", d["dubbo"]["args"][0], d["dubbo"]["result"]);
    documents.iter().map(pair).collect()
}

fn error(document: &Value) -> (&str, &str) {
    (
        document["error"]["type"].as_str().unwrap_or_default(),
        document["event"]["outcome"].as_str().unwrap(),
    )
}

#[test]
fn responses_are_found_in_any_order() {
    let mut seen = Observer::new();
    seen.client([request(1, "a"), request(2, "b"), request(3, "c")].concat());
    seen.server([response(3, "C"), response(1, "A")].concat())
        .client(request(4, "d"));
    seen.server([response(4, "D"), response(2, "B")].concat());
    assert_eq!(
        results(&seen),
        ["\"c\" \"C\"", "\"a\" \"A\"", "\"d\" \"D\"", "\"b\" \"B\""]
    );
    let ids: std::collections::HashSet<_> = seen
        .documents()
        .iter()
        .map(|d| d["event"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_late_answer_is_an_answer() {
    let mut seen = Observer::new();
    seen.client(request(1, "slow")).tick_after(60);
    for id in 2..30 {
        seen.client(request(id, "quick")).server(response(id, "q"));
    }
    seen.server(response(1, "at last"));
    let documents = seen.documents();
    assert_eq!(documents.len(), 30, "one that it waits, and the calls");
    assert_eq!(documents[29]["dubbo"]["result"], "at last");
    assert!(documents[29]["event"]["duration"].as_u64().unwrap() > 60_000_000_000);
}

#[test]
fn a_request_that_nobody_ever_answers_comes_out_at_last() {
    let mut seen = Observer::new();
    seen.client(request(1, "a")).tick_after(599);
    assert!(seen.exchanges.iter().all(weir_protocols::Exchange::is_waiting));
    seen.exchanges.clear();
    seen.tick_after(2);
    assert_eq!(error(&seen.document()), ("timeout", "failure"));
    // And so it does when others come behind it.
    let mut seen = Observer::new();
    seen.client(request(1, "a"));
    seen.now += 601_000_000_000;
    seen.client(request(2, "b"));
    assert_eq!(summary(&seen.documents()), ["echo[\"a\"] 1 -"]);
}

#[test]
fn a_number_that_comes_again_is_another_request() {
    let mut seen = Observer::new();
    seen.client(request(1, "a"))
        .client(request(1, "b"))
        .server(response(1, "B"));
    let documents = seen.documents();
    assert_eq!(results(&seen), ["\"a\" null", "\"b\" \"B\""]);
    assert_eq!(anomalies(&documents[0]), ["request_id_repeated: 1"]);
    assert_eq!(error(&documents[0]), ("no_response", "failure"));
}

#[test]
fn past_the_limit_the_oldest_is_given_up() {
    let mut seen = Observer::of(Decoder::new(&limits(2)));
    seen.client([request(1, "a"), request(2, "b"), request(3, "c")].concat());
    let document = seen.document();
    assert_eq!(summary(std::slice::from_ref(&document)), ["echo[\"a\"] 1 -"]);
    assert_eq!(error(&document), ("abandoned", "unknown"));
    assert_eq!(anomalies(&document), ["too_many_pending: 2"]);
    seen.server([response(1, "A"), response(2, "B"), response(3, "C")].concat());
    let documents = seen.documents();
    assert_eq!(
        summary(&documents),
        [
            "echo[\"a\"] 1 -",
            "- 1 20",
            "echo[\"b\"] 2 20",
            "echo[\"c\"] 3 20"
        ]
    );
    assert_eq!(anomalies(&documents[1]), ["unmatched_response: 1"]);
}

#[test]
fn an_end_without_a_response_says_whose_it_was() {
    for (how, expected) in [
        (Close::Finished, ("no_response", "failure")),
        (Close::Reset(Side::Client), ("connection_reset", "failure")),
        (Close::Reset(Side::Server), ("connection_reset", "failure")),
        (Close::Abandoned, ("abandoned", "unknown")),
    ] {
        let mut seen = Observer::new();
        seen.client(request(1, "a")).close(how);
        assert_eq!(error(&seen.document()), expected);
    }
    let mut seen = Observer::new();
    seen.client(request(1, "a")).end(Side::Client);
    assert!(seen.exchanges.is_empty(), "it may still be answered");
    seen.end(Side::Server).close(Close::Finished);
    assert_eq!(error(&seen.document()), ("no_response", "failure"));
}

#[test]
fn an_end_within_a_frame_is_told() {
    let mut seen = Observer::new();
    seen.client(&request(1, "abc")[..70]).close(Close::Finished);
    let document = seen.document();
    assert_eq!(error(&document), ("incomplete_request", "failure"));
    assert_eq!(document["dubbo"]["method"], "echo");
    assert_eq!(document["source"]["bytes"], 70);

    let mut seen = Observer::new();
    seen.client(request(1, "abc"))
        .server(&response(1, "ABC")[..20])
        .end(Side::Server)
        .close(Close::Finished);
    let document = seen.document();
    assert_eq!(error(&document), ("incomplete_response", "failure"));
    assert_eq!(document["dubbo"]["args"][0], "abc");

    let mut seen = Observer::new();
    seen.client(request(1, "abc"))
        .server(&response(1, "ABC")[..20])
        .close(Close::Reset(Side::Server));
    assert_eq!(error(&seen.document()), ("connection_reset", "failure"));
    // Within a header nothing is known.
    let mut seen = Observer::new();
    seen.client([request(1, "a"), request(2, "b")[..9].to_vec()].concat())
        .close(Close::Finished);
    assert_eq!(seen.exchanges.len(), 1);
}
