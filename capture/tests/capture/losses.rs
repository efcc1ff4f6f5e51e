//! What the capture does not hold.

use crate::support::*;
use weir_capture::Bounds;
use weir_protocols::Side;

const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
const BIG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_lost_segment_of_a_body_is_bridged() {
    let mut conversation = Conversation::default();
    conversation
        .handshake()
        .client(GET)
        .server(BIG)
        .server("x".repeat(100));
    conversation.server("y".repeat(100)).lost();
    conversation.server("z".repeat(100));
    conversation.client("GET /b HTTP/1.1\r\n\r\n").server(OK).finish();
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /a 200", "GET /b 200"]);
    assert_eq!(seen.anomalies(), ["gap: 100 bytes of the response", ""]);
    assert_eq!(seen.documents[0]["http"]["response"]["body"]["bytes"], 300);
    assert_eq!((counters.gaps, counters.gap_bytes), (1, 100));
}

#[test]
fn packets_that_were_not_captured_whole_are_gaps_of_known_size() {
    let mut conversation = Conversation::default();
    conversation.handshake().client(GET).server(BIG);
    for _ in 0..3 {
        conversation.server("x".repeat(100)).cut(4);
    }
    conversation.client(GET).server(OK).finish();
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /a 200", "GET /a 200"]);
    assert_eq!(seen.documents[0]["http"]["response"]["body"]["bytes"], 300);
    assert_eq!(
        (counters.gaps, counters.gap_bytes, counters.cut_packets),
        (3, 288, 3)
    );
}

#[test]
fn one_direction_alone_gives_what_it_holds() {
    let talk = |keep: Side| {
        let mut conversation = Conversation::default();
        conversation.handshake();
        for path in ["/1", "/2", "/3"] {
            conversation
                .client(format!("GET {path} HTTP/1.1\r\n\r\n"))
                .server(OK);
        }
        conversation.finish();
        let client = conversation.client.port().to_be_bytes();
        conversation
            .frames
            .retain(|frame| (frame.bytes[20..22] == client) == (keep == Side::Client));
        track(&conversation.frames)
    };
    let (seen, counters) = talk(Side::Client);
    assert_eq!(seen.summary(), ["GET /1 -", "GET /2 -", "GET /3 -"]);
    assert!(
        seen.anomalies().iter().all(|text| text.contains("gap")),
        "{:?}",
        seen.anomalies()
    );
    // The last is acknowledged together with the end, which counts as a byte.
    assert_eq!((counters.gaps, counters.gap_bytes), (3, 2 * OK.len() as u64));
    let (seen, _) = talk(Side::Server);
    assert_eq!(seen.summary(), ["- - 200"; 3]);
    assert_eq!(seen.documents[0]["destination"]["port"], 8080);
}

#[test]
fn an_answer_that_was_acknowledged_and_not_captured_is_known_to_be_missed() {
    let mut conversation = Conversation::default();
    conversation.handshake().client(GET).server(OK).lost();
    conversation.next(Side::Client, ACK, b"");
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /a -"]);
    assert_eq!(seen.anomalies(), ["gap: response"]);
    assert_eq!((counters.gaps, counters.gap_bytes), (1, 0));
    // Without that acknowledgement nobody can tell whether there was one.
    conversation.frames.pop();
    assert_eq!(track(&conversation.frames).0.anomalies(), [""]);
}

#[test]
fn a_hole_that_nobody_acknowledges_is_waited_for_until_patience_ends() {
    let mut conversation = Conversation::default();
    conversation
        .handshake()
        .client(GET)
        .server(BIG)
        .server("x".repeat(100))
        .lost();
    conversation.server("x".repeat(200));
    let mut tracker = weir_capture::Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in &conversation.frames {
        tracker.packet(&packet(frame), &mut seen);
    }
    assert_eq!((tracker.counters().gaps, seen.documents.len()), (0, 0));
    assert!(tracker.waiting_bytes() > 200);
    let later = conversation.now + Bounds::default().hole_patience.as_nanos() as u64;
    tracker.tick(weir_records::Timestamp(later), &mut seen);
    assert_eq!((tracker.counters().gaps, tracker.waiting_bytes()), (1, 0));
    assert_eq!(seen.summary(), ["GET /a 200"]);
    // It has the time of its last packet, and not that of the giving up.
    let took = seen.documents[0]["event"]["duration"].as_u64().unwrap();
    assert!(took < 10 * MS, "{took}");
}

#[test]
fn idle_connections_end() {
    let mut conversation = Conversation::default();
    conversation.handshake().client(GET);
    let mut tracker = weir_capture::Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in &conversation.frames {
        tracker.packet(&packet(frame), &mut seen);
    }
    let later = conversation.now + Bounds::default().idle.as_nanos() as u64;
    tracker.tick(weir_records::Timestamp(later - 1), &mut seen);
    assert_eq!(tracker.flows(), 1);
    let end = later + 1_000_000_000;
    tracker.tick(weir_records::Timestamp(end), &mut seen);
    assert_eq!(
        (tracker.flows(), seen.summary()),
        (0, vec!["GET /a -".to_owned()])
    );
    let waited = seen.documents[0]["event"]["duration"].as_u64().unwrap();
    assert!(waited >= Bounds::default().idle.as_nanos() as u64, "{waited}");
}

#[test]
fn memory_stays_under_its_bounds() {
    let mut settings = settings();
    settings.bounds = Bounds {
        max_flows: 40,
        flow_bytes: 20_000,
        total_bytes: 50_000,
        ..Bounds::default()
    };
    let mut tracker = weir_capture::Tracker::new(settings);
    let mut seen = Seen::default();
    let mut most = (0, 0);
    for port in 0..200 {
        let mut conversation = Conversation::new(&format!("198.18.0.2:{}", 1000 + port), "198.18.0.1:8080");
        conversation.handshake().client(GET);
        for _ in 0..30 {
            let lost = "x".repeat(1000);
            conversation.server(&lost).lost().server("x".repeat(1000));
        }
        for frame in &conversation.frames {
            tracker.packet(&packet(frame), &mut seen);
            assert!(tracker.waiting_bytes() <= 50_000);
            assert!(tracker.flows() <= 40);
            most = (most.0.max(tracker.waiting_bytes()), most.1.max(tracker.flows()));
        }
    }
    assert!(
        most.0 > 45_000 && most.1 == 40,
        "the bounds were never reached: {most:?}"
    );
    let counters = tracker.counters().clone();
    assert!(counters.bound_reached > 0 && counters.evicted > 0, "{counters:?}");
    tracker.finish(&mut seen);
    assert_eq!((tracker.waiting_bytes(), tracker.flows()), (0, 0));
    // None is lost: all requests are there, without the answers that were missed.
    assert_eq!(seen.documents.len(), 200);
}
