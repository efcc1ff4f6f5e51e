//! Calls without an answer: told while they wait, and how long they took in the end.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Side};

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_call_that_waits_for_too_long_is_told_once_and_again_when_it_is_over() {
    let mut seen = Observer::new();
    seen.client(request(1, "a")).tick_after(9);
    assert!(seen.exchanges.is_empty() && seen.decoder.waits());
    seen.tick_after(2).tick_after(60);
    let document = seen.document();
    assert_eq!(document["weir"]["state"], "waiting");
    assert_eq!(document["event"]["outcome"], "unknown");
    assert_eq!(document["event"]["duration"], 10 * SECOND);
    assert_eq!(document["event"]["end"], "1970-01-01T00:00:10.001000000Z");
    assert!(seen.decoder.waits(), "its patience is not over");
    seen.tick_after(600);
    assert!(!seen.decoder.waits());
    let last = seen.documents().remove(1);
    assert_eq!(last["error"]["type"], "timeout");
    assert_eq!(
        last["event"]["duration"],
        600 * SECOND,
        "whenever that was looked at"
    );
    assert_eq!(document["weir"]["final_id"], last["event"]["id"]);
    assert_ne!(document["event"]["id"], last["event"]["id"]);
}

#[test]
fn what_a_provider_asks_is_told_too() {
    let mut seen = Observer::new();
    seen.client(request(7, "a")).server(response(7, "A"));
    seen.server(request(1, "call back")).tick_after(11);
    let document = seen.documents().remove(1);
    assert_eq!(document["weir"]["state"], "waiting");
    assert_eq!(document["dubbo"]["callback"], true);
}

#[test]
fn an_answer_that_arrives_or_may_have_been_missed_is_no_wait() {
    let answer = response(1, "A");
    let mut seen = Observer::new();
    seen.client([request(1, "a"), request(2, "b")].concat());
    seen.server(&answer[..20]).tick_after(11);
    assert_eq!(summary(&seen.documents()), ["echo[\"b\"] 2 -"]);
    let mut seen = Observer::new();
    seen.client(request(1, "a"))
        .gap(Side::Server, None)
        .tick_after(11);
    assert!(seen.exchanges.is_empty());
}

#[test]
fn what_was_cut_short_lasted_until_that_was_known() {
    for how in [Close::Finished, Close::Reset(Side::Client), Close::Abandoned] {
        let mut seen = Observer::new();
        seen.client(request(1, "a"));
        seen.now = 5 * SECOND;
        seen.close(how);
        let event = &seen.document()["event"];
        assert_eq!(
            [&event["duration"], &event["end"]],
            [&json!(5 * SECOND), &json!("1970-01-01T00:00:05.001000000Z")],
            "{how:?}"
        );
    }
    let mut seen = Observer::new();
    seen.client(frame(
        REQUEST | HESSIAN2,
        0,
        1,
        &body("echo", "Ljava/lang/String;", &s("a"), &[]),
    ));
    assert_eq!(seen.document()["event"]["duration"], Value::Null);
    assert!(!seen.decoder.waits());
}
