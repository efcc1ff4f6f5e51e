//! Requests without an answer: told while they wait, and how long they took in the end.

use crate::support::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use weir_protocols::{Close, Decoder, Limits, Side};
use weir_records::Timestamp;

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const GET: &str = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";

impl Observer {
    fn tick_after(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
        let out = &mut |exchange| self.exchanges.push(exchange);
        self.decoder.tick(Timestamp(self.now), out);
    }
}

fn states(seen: &Observer) -> Vec<Value> {
    let documents = seen.documents();
    documents
        .iter()
        .map(|d| {
            json!([
                d["url"]["path"],
                d["weir"]["state"],
                d["event"]["outcome"],
                d["event"]["duration"]
            ])
        })
        .collect()
}

#[test]
fn a_request_that_waits_for_too_long_is_told_once_and_again_when_it_is_over() {
    let mut seen = Observer::new().steps(&[client(GET)]);
    seen.tick_after(9);
    assert!(seen.exchanges.is_empty());
    assert!(seen.decoder.waits());
    seen.tick_after(2);
    assert!(!seen.decoder.waits(), "what is told is told");
    seen.tick_after(60);
    let document = seen.documents().remove(0);
    assert_eq!(
        states(&seen),
        [json!(["/slow", "waiting", "unknown", 10 * SECOND])]
    );
    assert_eq!(document["event"]["end"], "1970-01-01T00:00:10.001000000Z");
    assert_eq!(document["error"], Value::Null);
    assert_eq!(document["http"]["response"], Value::Null);

    seen.step(&server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let last = seen.documents().remove(1);
    assert_eq!(
        states(&seen)[1],
        json!(["/slow", null, "success", 71 * SECOND + MS])
    );
    assert_eq!(last["event"]["end"], Value::Null);
    assert_eq!(document["weir"]["final_id"], last["event"]["id"]);
    assert_ne!(document["event"]["id"], last["event"]["id"]);
    assert_eq!(last["weir"]["final_id"], Value::Null);
}

#[test]
fn each_pipelined_request_waits_from_its_own_end_on() {
    let mut seen = Observer::new().steps(&[client(GET)]);
    seen.now += 5 * SECOND;
    seen.step(&client(
        "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx",
    ));
    seen.tick_after(5);
    assert_eq!(seen.exchanges.len(), 1);
    seen.tick_after(60);
    assert_eq!(seen.exchanges.len(), 1, "the second one is not whole");
    seen.step(&client("y"));
    seen.tick_after(11);
    assert_eq!(states(&seen)[1][0], "/b");
    seen.step(&Step::Close(Close::Abandoned));
    assert_eq!(seen.exchanges.len(), 4);
}

#[test]
fn an_answer_that_has_begun_is_no_wait() {
    for begun in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata",
        "HTTP/1.1 200 OK\r\nContent-Len",
    ] {
        let mut seen = Observer::new().steps(&[client(GET), server(begun)]);
        seen.tick_after(60);
        assert!(seen.exchanges.is_empty(), "{begun}");
    }
    let mut seen = Observer::new().steps(&[client(GET), server("HTTP/1.1 103 Early Hints\r\n\r\n")]);
    seen.tick_after(60);
    assert_eq!(seen.exchanges.len(), 1, "a hint is no answer");
}

#[test]
fn where_an_answer_may_have_been_missed_none_is_waited_for() {
    let mut seen = Observer::new().steps(&[client(GET), Step::Gap(Side::Server, None)]);
    seen.tick_after(60);
    assert!(seen.documents().iter().all(|d| d["weir"]["state"] == Value::Null));
    assert!(!seen.decoder.waits());
}

#[test]
fn whoever_wants_no_such_documents_gets_none() {
    let limits = Limits {
        hung_after: None,
        ..Limits::default()
    };
    let mut seen = Observer::of(Decoder::new(&Arc::new(limits))).steps(&[client(GET)]);
    assert!(!seen.decoder.waits());
    seen.tick_after(3600);
    assert!(seen.exchanges.is_empty());
    assert_eq!(Limits::default().hung_after, Some(Duration::from_secs(10)));
}

#[test]
fn within_a_tunnel_requests_are_told_too() {
    let mut seen = Observer::new().steps(&[
        client("CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\n\r\n"),
        client(GET),
    ]);
    assert!(seen.decoder.waits());
    seen.tick_after(11);
    seen.step(&server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let documents = seen.documents();
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[1]["weir"]["state"], "waiting");
    assert_eq!(documents[1]["weir"]["final_id"], documents[2]["event"]["id"]);
    assert_ne!(documents[1]["event"]["id"], documents[2]["event"]["id"]);
}

#[test]
fn what_was_cut_short_lasted_until_that_was_known() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    for (before, end) in [
        (vec![client(GET)], Step::Close(Close::Reset(Side::Client))),
        (vec![client(GET)], Step::Close(Close::Reset(Side::Server))),
        (vec![client(GET)], Step::Close(Close::Finished)),
        (vec![client(GET)], Step::Close(Close::Abandoned)),
        (vec![client(GET)], Step::End(Side::Server)),
        (vec![client(GET)], server("no answer at all\r\n\r\n")),
        (
            vec![client("GET /half HTTP/1.1\r\nHo")],
            Step::Close(Close::Abandoned),
        ),
        (vec![client(GET), server(head)], Step::End(Side::Server)),
    ] {
        let mut seen = Observer::new().steps(&before);
        seen.now = 30 * SECOND;
        seen.step(&end);
        // (Whatever came in the answer's place, an answer may yet come behind that.)
        seen.step(&Step::Close(Close::Finished));
        let document = seen.documents().remove(0);
        let event = &document["event"];
        assert_eq!(event["duration"], 30 * SECOND, "{end:?}: {document:#}");
        assert_eq!(event["end"], "1970-01-01T00:00:30.001000000Z");
    }
}

#[test]
fn what_may_have_been_answered_unseen_has_no_duration() {
    let mut seen = Observer::new().steps(&[client(GET), Step::Gap(Side::Server, None)]);
    seen.step(&client(GET));
    seen.now = 30 * SECOND;
    seen.step(&server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let documents = seen.documents();
    assert_eq!(documents[0]["event"]["outcome"], "unknown");
    assert_eq!(documents[0]["event"]["duration"], Value::Null);
    assert_eq!(documents[0]["event"]["end"], Value::Null);
}

#[test]
fn what_may_be_another_protocol_is_not_told_before_that_is_certain() {
    let mut seen = Observer::new().steps(&[client("GET / HTTP/1.1\r\n\r\n")]);
    seen.tick_after(60);
    assert!(seen.exchanges.is_empty());
    seen.step(&server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(states(&seen), [json!(["/", null, "success", 60 * SECOND + MS])]);
}
