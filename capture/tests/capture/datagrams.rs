//! DNS over UDP.

use crate::support::*;
use weir_capture::Sink;
use weir_protocols::{Close, Decoder, Side};
use weir_records::Timestamp;

/// A query of type A for `weir.example`, or its answer.
fn message(id: u8, response: bool) -> Vec<u8> {
    let flags = if response { [0x81, 0x80] } else { [1, 0] };
    [
        &[0, id][..],
        &flags,
        b"\0\x01\0\0\0\0\0\0\x04weir\x07example\0\0\x01\0\x01",
    ]
    .concat()
}

fn frame(at: u64, bytes: Vec<u8>) -> Frame {
    Frame {
        at: START + at * MS,
        kept: bytes.len(),
        bytes,
    }
}

fn query(at: u64, id: u8) -> Frame {
    frame(at, udp("198.18.0.2:40000", "198.18.0.1:53", &message(id, false)))
}

fn answer(at: u64, id: u8) -> Frame {
    frame(at, udp("198.18.0.1:53", "198.18.0.2:40000", &message(id, true)))
}

#[test]
fn queries_and_answers_are_paired() {
    let (seen, _) = track(&[query(0, 1), query(1, 2), answer(3, 2), answer(5, 1)]);
    let durations: Vec<_> = seen
        .documents
        .iter()
        .map(|d| d["event"]["duration"].as_u64().unwrap() / MS)
        .collect();
    assert_eq!(durations, [2, 5]);
    assert_eq!(seen.documents[0]["dns"]["question"]["name"], "weir.example");
    assert_eq!(seen.documents[0]["weir"].get("late_join"), None);
}

#[test]
fn a_capture_gives_the_documents_that_the_relay_gives() {
    let (client, server) = (
        "198.18.0.2:40000".parse().unwrap(),
        "198.18.0.1:53".parse().unwrap(),
    );
    let flow = flow(client, server, START);
    let mut relayed = Seen::default();
    let mut decoder = Decoder::dns_datagrams(&limits());
    let mut out = |exchange| relayed.exchange(&flow, exchange);
    for (at, side, message) in [
        (0, Side::Client, message(1, false)),
        (1, Side::Client, message(2, false)),
        (3, Side::Server, message(2, true)),
        (5000, Side::Client, message(1, false)),
        (5002, Side::Server, message(1, true)),
        (5003, Side::Client, message(3, false)),
    ] {
        decoder.data(side, Timestamp(START + at * MS), &message, &mut out);
    }
    decoder.close(Timestamp(START + 5003 * MS), Close::Abandoned, &mut out);
    let (captured, _) = track(&[
        query(0, 1),
        query(1, 2),
        answer(3, 2),
        query(5000, 1),
        answer(5002, 1),
        query(5003, 3),
    ]);
    assert_eq!(captured.documents, relayed.documents);
    assert_eq!(captured.documents.len(), 3);
}

#[test]
fn a_query_without_an_answer_comes_out_when_time_has_passed() {
    let mut tracker = weir_capture::Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in [query(0, 1), query(7000, 2)] {
        tracker.packet(&packet(&frame), &mut seen);
    }
    assert_eq!(seen.documents.len(), 1);
    assert_eq!(seen.documents[0]["weir"]["dns"]["rcode"], -1);
}

#[test]
fn a_time_that_was_damaged_stops_no_clock() {
    let mut tracker = weir_capture::Tracker::new(settings());
    let mut seen = Seen::default();
    let mut damaged = query(0, 9);
    damaged.at = u64::MAX;
    damaged.bytes[20..22].copy_from_slice(&[1, 1]); // from another socket
    for frame in [damaged, query(0, 1), query(7000, 2)] {
        tracker.packet(&packet(&frame), &mut seen);
    }
    assert_eq!(seen.documents.len(), 1);
    assert_eq!(seen.documents[0]["dns"]["id"], "1");
}

#[test]
fn an_answer_whose_query_was_missed_is_shown_and_marked() {
    let (seen, _) = track(&[answer(0, 1), query(1, 2), answer(2, 2)]);
    assert_eq!(seen.documents.len(), 2);
    assert_eq!(seen.documents[0]["weir"]["late_join"], true);
    assert_eq!(seen.documents[0]["source"]["ip"], "198.18.0.2");
}

#[test]
fn a_datagram_that_is_seen_twice_is_one() {
    // As on the two ends of a virtual cable.
    let (seen, counters) = track(&[query(0, 1), query(0, 1), answer(3, 1), answer(3, 1)]);
    assert_eq!((seen.documents.len(), counters.duplicates), (1, 2));
    let [client, server] = seen.sent[0];
    assert_eq!((client.packets, server.packets), (1, 1));
    // But one that was sent again is another.
    let (_, counters) = track(&[query(0, 1), query(5000, 1), answer(5003, 1)]);
    assert_eq!(counters.duplicates, 0);
}

#[test]
fn between_two_ports_53_the_one_that_asks_is_the_client() {
    let ask = frame(0, udp("198.18.0.2:53", "198.18.0.1:53", &message(1, false)));
    let tell = frame(1, udp("198.18.0.1:53", "198.18.0.2:53", &message(1, true)));
    let (seen, _) = track(&[ask, tell]);
    assert_eq!(seen.documents.len(), 1);
    assert_eq!(seen.documents[0]["source"]["ip"], "198.18.0.2");
}
