//! Calls of gRPC in captures that are kept beside the tests.

use crate::support::*;
use std::{fs, path::Path};
use weir_capture::{Packet, Tracker};
use weir_records::Timestamp;

#[test]
fn calls_whose_status_was_not_seen_are_unknown() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/repro");
    let file = fs::read(folder.join("late-grpc-failed-call.pcap")).unwrap();
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for (link, frame) in read_all(&file).unwrap() {
        let at = Timestamp(frame.at);
        tracker.packet(
            &Packet::new(at, link, &frame.bytes[..frame.kept], frame.bytes.len()),
            &mut seen,
        );
    }
    tracker.finish(&mut seen);
    // The third one failed, which only its trailers say.
    let outcomes: Vec<_> = seen
        .documents
        .iter()
        .map(|document| document["event"]["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["unknown"; 3]);
}
