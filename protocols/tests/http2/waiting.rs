//! Requests without an answer: told while they wait, and how long they took in the end.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Side};
use weir_records::Timestamp;

const SECOND: u64 = 1_000_000_000;

impl Observer {
    fn tick_after(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
        let out = &mut |exchange| self.exchanges.push(exchange);
        self.decoder.tick(Timestamp(self.now), out);
    }
}

#[test]
fn a_call_that_waits_for_too_long_is_told_once_and_again_when_it_is_over() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &call("/s.S/M")));
    seen.tick_after(9);
    assert!(seen.exchanges.is_empty() && seen.decoder.waits());
    seen.tick_after(2);
    seen.tick_after(60);
    assert!(!seen.decoder.waits());
    let document = seen.document();
    assert_eq!(document["weir"]["state"], "waiting");
    assert_eq!(document["rpc"]["method"], "s.S/M");
    assert_eq!(
        (&document["event"]["outcome"], &document["event"]["duration"]),
        (&json!("unknown"), &json!(10 * SECOND))
    );
    // The client's deadline.
    seen.client(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    let last = seen.documents().remove(1);
    assert_eq!(last["event"]["duration"], 71 * SECOND + 1_000_000);
    assert_eq!(last["event"]["end"], "1970-01-01T00:01:11.004000000Z");
    assert_eq!(
        (&last["weir"]["state"], &last["event"]["outcome"]),
        (&Value::Null, &json!("failure"))
    );
    assert_eq!(document["weir"]["final_id"], last["event"]["id"]);
}

#[test]
fn a_stream_that_is_under_way_is_no_wait() {
    let mut seen = Observer::new();
    // Of the first the client has more to say; the second has its head.
    seen.client(headers(1, false, &call("/s.S/M")))
        .client(headers(3, true, &call("/s.S/W")));
    seen.server(headers(
        3,
        false,
        &[(":status", "200"), ("content-type", "application/grpc")],
    ));
    assert!(!seen.decoder.waits());
    seen.tick_after(3600);
    assert!(seen.exchanges.is_empty());
    seen.close(Close::Reset(Side::Server));
    for document in seen.documents() {
        assert!(document["event"]["duration"].as_u64().unwrap() > 3600 * SECOND);
    }
}

#[test]
fn where_an_answer_may_have_been_missed_none_is_waited_for() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &call("/s.S/M")))
        .gap(Side::Server, None);
    assert!(!seen.decoder.waits());
    seen.tick_after(3600);
    assert!(seen.exchanges.is_empty());
}
