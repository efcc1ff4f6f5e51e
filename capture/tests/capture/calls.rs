//! Calls of gRPC in captures that are kept beside the tests.

use crate::support::*;

#[test]
fn calls_whose_status_was_not_seen_are_unknown() {
    // The third one failed, which only its trailers say.
    let seen = repro("late-grpc-failed-call.pcap");
    let outcomes: Vec<_> = seen
        .documents
        .iter()
        .map(|document| document["event"]["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["unknown"; 3]);
}
