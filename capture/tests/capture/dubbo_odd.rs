//! Captures of Dubbo connections of which something was missed.

use crate::support::*;
use serde_json::json;

#[test]
fn a_call_whose_answer_was_not_captured_is_unknown() {
    let seen = repro("dubbo-answer-in-gap.pcap");
    let told: Vec<_> = seen
        .documents
        .iter()
        .map(|document| {
            json!([
                document["dubbo"]["request_id"],
                document["event"]["outcome"],
                document["error"]["type"]
            ])
        })
        .collect();
    assert_eq!(json!(told), json!([[2, "success", null], [1, "unknown", null]]));
    assert!(seen.anomalies()[1].contains("gap: bytes of the server were missed"));
}
