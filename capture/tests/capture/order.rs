//! Packets that have changed places in the capture: an answer before its request, an acknowledgement before its data.

use crate::support::*;
use weir_capture::{Bounds, Counters, Tracker};
use weir_protocols::Side::{Client, Server};
use weir_records::Timestamp;

const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const RST: Flags = Flags {
    syn: false,
    ack: true,
    fin: false,
    rst: true,
};

/// Three exchanges, each acknowledged by a packet of its own, an answer in two parts, and the end.
fn talk(client: &str, server: &str) -> Vec<Frame> {
    let mut conversation = Conversation::new(client, server);
    conversation.handshake();
    for path in ["/1", "/2", "/3"] {
        conversation
            .client(format!("GET {path} HTTP/1.1\r\n\r\n"))
            .next(Server, ACK, b"");
        conversation
            .server(&OK[..30])
            .server(&OK[30..])
            .next(Client, ACK, b"");
    }
    conversation.finish();
    conversation.frames
}

fn is_client(frame: &Frame) -> bool {
    let ports = if frame.bytes[0] >> 4 == 4 { 20 } else { 40 };
    frame.bytes[ports..ports + 2] == 40000_u16.to_be_bytes()
}

/// Nothing of what is told has changed but times.
fn check((seen, counters): (Seen, Counters), case: &str) {
    assert_eq!(
        seen.summary(),
        ["GET /1 200", "GET /2 200", "GET /3 200"],
        "{case}"
    );
    assert_eq!(seen.anomalies(), ["", "", ""], "{case}");
    assert_eq!(
        (counters.connections, counters.late_connections),
        (1, 0),
        "{case}"
    );
    assert_eq!((counters.gaps, counters.refused_segments), (0, 0), "{case}");
    assert_eq!(counters.repeated_segments, 0, "{case}");
    for (sent, bytes) in seen.sent[0].iter().zip([57, 120]) {
        assert_eq!((sent.bytes, sent.missed_bytes), (bytes, Some(0)), "{case}");
        assert_eq!(sent.retransmits, Some(0), "{case}");
    }
    assert!(
        seen.closed[0].starts_with("http Finished"),
        "{case} {:?}",
        seen.closed
    );
}

#[test]
fn any_packet_may_come_some_places_too_late() {
    for (client, server) in [
        ("198.18.0.2:40000", "198.18.0.1:8080"),
        ("[fd00:198:18::2]:40000", "[fd00:198:18::1]:80"),
    ] {
        let frames = talk(client, server);
        for place in 0..frames.len() {
            for by in 1..6 {
                // A connection begins with its SYN or the answer to that; and ends once.
                if place + by >= frames.len() - 1 || place == 0 && by > 2 || place == 1 && by > 1 {
                    continue;
                }
                let mut frames = frames.clone();
                let mut frame = frames.remove(place);
                frame.at = frames[place + by - 1].at + 1;
                let side = is_client(&frame);
                frames.insert(place + by, frame);
                let passed = frames[place..place + by]
                    .iter()
                    .any(|frame| is_client(frame) == side);
                let (seen, counters) = track(&frames);
                if !passed {
                    assert_eq!(counters.early_segments, 0, "{place} {by}");
                }
                check((seen, counters), &format!("{place} {by}"));
            }
        }
    }
}

#[test]
fn an_answer_that_was_captured_first_belongs_to_its_request() {
    let (seen, counters) = repro_counted("answer-captured-first.pcap");
    assert_eq!(
        (seen.summary(), seen.anomalies()),
        (vec!["GET /a 200".into()], vec![String::new()])
    );
    assert_eq!(counters.gaps, 0);
    let [client, server] = seen.sent[0];
    for sent in [client, server] {
        assert_eq!(
            (sent.missed_bytes, sent.retransmits, sent.out_of_order),
            (Some(0), Some(0), Some(0))
        );
    }
}

#[test]
fn a_reset_waits_for_what_it_acknowledges() {
    let mut conversation = Conversation::default();
    conversation.handshake().client(GET).next(Server, RST, b"");
    conversation.frames.swap(3, 4);
    let (seen, counters) = track(&conversation.frames);
    assert_eq!((seen.summary(), counters.gaps), (vec!["GET /a -".into()], 0));
    assert_eq!(seen.closed, ["http Reset(Destination)"]);
}

#[test]
fn copies_of_what_waits_are_copies() {
    let mut conversation = Conversation::default();
    conversation
        .handshake()
        .client(GET)
        .server(OK)
        .next(Client, ACK, b"");
    conversation.frames.swap(3, 4);
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in &conversation.frames {
        for interface in [1, 2] {
            let mut packet = packet(frame);
            packet.interface = interface;
            tracker.packet(&packet, &mut seen);
        }
    }
    tracker.finish(&mut seen);
    assert_eq!(seen.summary(), ["GET /a 200"]);
    assert_eq!(seen.sent[0][1].retransmits, Some(0));
    assert_eq!(tracker.counters().repeated_segments, 0);
}

/// A request is missing, and its answer is there.
fn missing() -> Conversation {
    let mut conversation = Conversation::default();
    conversation.handshake().client(GET).server(OK);
    conversation.client(GET).lost().server(OK);
    conversation
}

#[test]
fn what_does_not_come_is_waited_for_a_short_time() {
    let mut conversation = missing();
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in &conversation.frames {
        tracker.packet(&packet(frame), &mut seen);
    }
    assert_eq!((seen.documents.len(), tracker.counters().gaps), (1, 0));
    assert!(tracker.waiting_bytes() > OK.len());
    let shown = conversation.frames.len();
    conversation.now += 50 * MS;
    conversation.client(GET).server(OK);
    for frame in &conversation.frames[shown..] {
        tracker.packet(&packet(frame), &mut seen);
    }
    assert_eq!(seen.summary(), ["GET /a 200", "- - 200", "GET /a 200"]);
    assert_eq!((tracker.counters().gaps, tracker.waiting_bytes()), (1, 0));
    // Time passes, and nothing comes.
    let conversation = missing();
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in &conversation.frames {
        tracker.packet(&packet(frame), &mut seen);
    }
    tracker.tick(Timestamp(conversation.now + 1000 * MS), &mut seen);
    assert_eq!((seen.documents.len(), tracker.counters().gaps), (2, 1));
}

#[test]
fn the_wait_is_bounded_by_segments_and_by_memory() {
    for bounds in [
        Bounds::default(),
        Bounds {
            flow_bytes: 2000,
            ..Bounds::default()
        },
        Bounds {
            total_bytes: 2000,
            ..Bounds::default()
        },
    ] {
        let mut conversation = Conversation::default();
        conversation.handshake().client(GET).lost();
        conversation.server("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n");
        for _ in 0..40 {
            conversation.server("x".repeat(1000));
        }
        for frame in &mut conversation.frames {
            frame.at = START;
        }
        let mut settings = settings();
        settings.bounds = bounds;
        let mut tracker = Tracker::new(settings);
        let mut seen = Seen::default();
        let mut most = 0;
        for frame in &conversation.frames {
            tracker.packet(&packet(frame), &mut seen);
            most = most.max(tracker.waiting_bytes());
        }
        assert!(most > 1000 && most < 50_000, "{most}");
        assert_eq!(tracker.waiting_bytes(), 0);
        assert_eq!(
            (seen.summary(), tracker.counters().gaps),
            (vec!["- - 200".into()], 1)
        );
        assert_eq!(tracker.counters().gap_bytes, GET.len() as u64);
    }
}

#[test]
fn an_acknowledgement_that_is_taken_back_makes_no_gap() {
    let mut conversation = Conversation::default();
    conversation.handshake().client(GET);
    // In the window, and never sent. The next word is another.
    let [client, server] = conversation.next;
    conversation.raw(Client, client, server.wrapping_add(5000), ACK, b"");
    conversation.now += 100 * MS;
    conversation.server(OK).client(GET).server(OK).finish();
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /a 200", "GET /a 200"]);
    assert_eq!((seen.anomalies(), counters.gaps), (vec![String::new(); 2], 0));
    assert_eq!(seen.sent[0][1].missed_bytes, Some(0));
}
