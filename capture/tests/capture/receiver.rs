//! Segments are judged as their receiver judges them, by their numbers (RFC 9293, 3.10.7; RFC 5961; RFC 7413).

use crate::support::*;
use serde_json::Value;
use weir_capture::{Counters, Tracker};
use weir_protocols::Side::{self, Client, Server};
use weir_records::Timestamp;

const SYN: Flags = Flags {
    syn: true,
    ack: false,
    fin: false,
    rst: false,
};
const SYN_ACK: Flags = Flags { ack: true, ..SYN };
const RST: Flags = Flags {
    syn: false,
    ack: false,
    fin: false,
    rst: true,
};
const RST_ACK: Flags = Flags { ack: true, ..RST };
const FIN: Flags = Flags { fin: true, ..ACK };
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A capture of `tests/corpus/repro`.
fn repro(name: &str) -> (Seen, Counters) {
    repro_counted(&format!("{name}.pcap"))
}

fn both() -> [Conversation; 2] {
    [
        Conversation::default(),
        Conversation::new("[fd00:198:18::2]:40000", "[fd00:198:18::1]:80"),
    ]
}

fn ask(conversation: &mut Conversation, path: &str) {
    conversation
        .client(format!("GET {path} HTTP/1.1\r\n\r\n"))
        .server(OK);
}

/// Three exchanges, and a segment with these numbers before, between or behind them: so far from where its side has come to,
/// acknowledging so far beyond what the other has sent.
fn disturbed(place: usize, side: Side, distance: i64, acknowledged: i64, flags: Flags, payload: &[u8]) {
    for mut conversation in both() {
        conversation.handshake();
        for n in 0..4 {
            if n == place {
                let (mine, other) = if side == Client { (0, 1) } else { (1, 0) };
                let by = |number: u32, by: i64| number.wrapping_add(by as u32);
                let sequence = by(conversation.next[mine], distance);
                let acknowledged = by(conversation.next[other], acknowledged);
                conversation.raw(side, sequence, acknowledged, flags, payload);
            }
            if n < 3 {
                ask(&mut conversation, &format!("/{n}"));
            }
        }
        conversation.finish();
        let case = format!("{place} {side:?} {distance} {acknowledged} {flags:?}");
        let (seen, counters) = track(&conversation.frames);
        assert_eq!(
            seen.summary(),
            ["GET /0 200", "GET /1 200", "GET /2 200"],
            "{case}"
        );
        assert_eq!(seen.anomalies(), ["", "", ""], "{case}");
        assert_eq!(seen.closed, ["http Finished(Some(Source))"], "{case}");
        assert_eq!((counters.gaps, counters.connections), (0, 1), "{case}");
        assert_eq!(counters.refused_segments, 1, "{case}");
        let [client, server] = seen.sent[0];
        assert_eq!((client.bytes, server.bytes), (3 * 19, 3 * 40), "{case}");
        assert_eq!((client.resets, server.resets), (Some(0), Some(0)), "{case}");
        assert_eq!(client.packets + server.packets, 13, "{case}");
        for sent in [client, server] {
            assert_eq!(
                (sent.retransmits, sent.missed_bytes),
                (Some(0), Some(0)),
                "{case}"
            );
        }
    }
}

#[test]
fn what_no_receiver_takes_changes_nothing() {
    for place in 0..4 {
        for side in [Client, Server] {
            for distance in [
                1_000_000,
                12_345_639,
                1 << 30,
                i64::from(i32::MAX),
                -100_000,
                -(1 << 30),
            ] {
                disturbed(place, side, distance, 0, RST, b"");
                disturbed(place, side, distance, 0, RST_ACK, b"");
                disturbed(place, side, distance, 0, SYN, b"");
                disturbed(place, side, distance, 0, SYN_ACK, b"");
            }
            // In the window a reset is doubted, and whoever goes on speaks against it.
            for distance in [1, 100, 60_000] {
                if place < 3 {
                    disturbed(place, side, distance, 0, RST, b"");
                }
                disturbed(place, side, distance, 0, SYN, b"");
                disturbed(place, side, distance, 0, SYN_ACK, b"");
            }
            // The next number, and that before it: a SYN of that number is none.
            for distance in [0, -1].into_iter().take(1 + place) {
                disturbed(place, side, distance, 0, SYN, b"");
                disturbed(place, side, distance, 0, SYN_ACK, b"");
            }
            for distance in [1_000_000, 12_345_639, 1 << 30, i64::from(i32::MAX)] {
                disturbed(place, side, distance, 0, FIN, b"");
                disturbed(place, side, 0, distance, ACK, b"");
                if place < 3 {
                    disturbed(place, side, distance, 0, ACK, b"HTTP/1.1 404 No\r\n\r\n");
                    disturbed(place, side, 0, distance, ACK, b"HTTP/1.1 404 No\r\n\r\n");
                }
            }
        }
    }
}

#[test]
fn captures_with_numbers_of_something_else() {
    for (name, refused) in [
        ("synack-other-isn", 1),
        ("syn-out-of-window", 1),
        ("ack-beyond-window", 1),
    ] {
        let (seen, counters) = repro(name);
        assert_eq!(
            seen.summary(),
            ["GET /1 200", "GET /2 200", "GET /3 200"],
            "{name}"
        );
        assert_eq!(seen.anomalies(), ["", "", ""], "{name}");
        assert_eq!((counters.connections, counters.gaps), (1, 0), "{name}");
        assert_eq!(counters.refused_segments, refused, "{name}");
    }
}

#[test]
fn a_reset_at_the_receivers_place_counts() {
    for (side, end) in [(Client, "Source"), (Server, "Destination")] {
        for mut conversation in both() {
            conversation.handshake();
            ask(&mut conversation, "/1");
            conversation
                .client("GET /2 HTTP/1.1\r\n\r\n")
                .next(side, RST, b"");
            let (seen, counters) = track(&conversation.frames);
            assert_eq!(seen.summary(), ["GET /1 200", "GET /2 -"]);
            assert_eq!(seen.closed, [format!("http Reset({end})")]);
            assert_eq!(counters.refused_segments, 0);
            assert_eq!(seen.documents[1]["error"]["type"], "connection_reset");
        }
    }
    // What was sent is not acknowledged yet: the reset may answer what came before it.
    let mut conversation = Conversation::default();
    conversation.handshake();
    let sequence = conversation.next[1];
    conversation.client("GET /1 HTTP/1.1\r\n\r\n").server(OK);
    conversation.raw(Server, sequence, 0, RST, b"");
    assert_eq!(track(&conversation.frames).0.closed, ["http Reset(Destination)"]);
}

#[test]
fn a_reset_behind_missing_bytes_counts_where_nothing_speaks_against_it() {
    let mut conversation = Conversation::default();
    conversation
        .handshake()
        .client("GET /1 HTTP/1.1\r\n\r\n")
        .server(OK)
        .lost();
    conversation.next(Server, RST_ACK, b"");
    // Bytes that come after it complete it at once.
    let mut late = conversation.clone();
    let sequence = late.next[1].wrapping_sub(OK.len() as u32);
    late.raw(Server, sequence, late.next[0], ACK, OK.as_bytes());
    let (seen, counters) = track(&late.frames);
    assert_eq!((seen.summary(), counters.gaps), (vec!["GET /1 200".into()], 0));
    assert_eq!(seen.closed, ["http Reset(Destination)"]);
    // None come.
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in &conversation.frames {
        tracker.packet(&packet(frame), &mut seen);
    }
    assert_eq!(seen.documents.len(), 0);
    tracker.tick(Timestamp(conversation.now + 2000 * MS), &mut seen);
    assert_eq!(seen.summary(), ["GET /1 -"]);
    tracker.finish(&mut seen);
    assert_eq!(seen.closed, ["http Reset(Destination)"]);
    let counters = tracker.counters();
    assert_eq!((counters.gaps, counters.gap_bytes), (1, OK.len() as u64));
    assert_eq!(seen.sent[0][1].resets, Some(1));
}

#[test]
fn a_connection_that_goes_on_long_after_a_doubted_reset_is_joined_again() {
    let mut conversation = Conversation::default();
    conversation.handshake();
    ask(&mut conversation, "/1");
    let sequence = conversation.next[0].wrapping_add(500);
    conversation.raw(Client, sequence, 0, RST, b"");
    conversation.now += 10_000 * MS;
    ask(&mut conversation, "/2");
    let (seen, _) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /1 200", "GET /2 200"]);
    // The receiver's question (a challenge ACK) tells at once.
    let mut conversation = Conversation::default();
    conversation.handshake();
    ask(&mut conversation, "/1");
    conversation.next(Client, ACK, b"");
    let sequence = conversation.next[0].wrapping_add(500);
    conversation
        .raw(Client, sequence, 0, RST, b"")
        .next(Server, ACK, b"");
    conversation.now += 10_000 * MS;
    ask(&mut conversation, "/2");
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /1 200", "GET /2 200"]);
    assert_eq!((counters.connections, counters.refused_segments), (1, 1));
}

#[test]
fn a_syn_is_refused_by_a_reset_that_names_it() {
    let refused = |sequence: u32, flags: Flags, acknowledged: i64| {
        let mut conversation = Conversation::default();
        conversation.next(Client, SYN, b"");
        let acknowledged = conversation.next[0].wrapping_add(acknowledged as u32);
        conversation.raw(Server, sequence, acknowledged, flags, b"");
        let (seen, counters) = track(&conversation.frames);
        (seen.closed[0].clone(), counters.refused_segments)
    };
    assert_eq!(refused(0, RST_ACK, 0), ("- Refused".into(), 0));
    assert_eq!(refused(0, RST_ACK, 1), ("- Unobserved".into(), 1));
    assert_eq!(refused(0, RST_ACK, -1), ("- Unobserved".into(), 1));
    assert_eq!(refused(0, RST, 0), ("- Unobserved".into(), 1));
}

#[test]
fn data_after_an_end_is_answered_by_a_reset() {
    let mut conversation = Conversation::default();
    conversation.handshake().client("GET /1 HTTP/1.1\r\n\r\n");
    let acknowledged = conversation.next[0];
    conversation.next(Client, FIN, b"");
    // The answer was on its way: it acknowledges no end, and is answered by what it acknowledges.
    let sequence = conversation.next[1];
    conversation.raw(Server, sequence, acknowledged, ACK, OK.as_bytes());
    conversation.raw(Client, acknowledged, 0, RST, b"");
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(
        (seen.summary(), counters.refused_segments),
        (vec!["GET /1 200".into()], 0)
    );
    assert_eq!(seen.closed, ["http Reset(Source)"]);
}

#[test]
fn windows_are_as_large_as_their_scale_says() {
    // (The frames of the tests have no options: windows are not scaled.) A window of 64 KiB may be all on its way.
    let far = |distance: u32| {
        let mut conversation = Conversation::default();
        conversation.handshake();
        ask(&mut conversation, "/1");
        let sequence = conversation.next[1].wrapping_add(distance);
        conversation.raw(Server, sequence, 0, RST, b"");
        track(&conversation.frames).0.closed[0].clone()
    };
    assert_eq!(far(65_535), "http Reset(Destination)");
    assert_eq!(far(65_536), "http Unobserved");
}

#[test]
fn a_new_connection_of_the_same_ports_needs_no_end_of_the_old_one() {
    let next = |conversation: &mut Conversation| {
        conversation.next = conversation.next.map(|next| next.wrapping_add(1_000_000_007));
    };
    for lost in [None, Some(0), Some(1), Some(2)] {
        for mut conversation in both() {
            conversation.handshake();
            ask(&mut conversation, "/old");
            conversation.client("GET /open HTTP/1.1\r\n\r\n");
            next(&mut conversation);
            let at = conversation.frames.len();
            conversation.handshake();
            ask(&mut conversation, "/1");
            ask(&mut conversation, "/2");
            if let Some(lost) = lost {
                conversation.frames.remove(at + lost);
            }
            let (seen, counters) = track(&conversation.frames);
            let all = ["GET /old 200", "GET /open -", "GET /1 200", "GET /2 200"];
            assert_eq!(seen.summary(), all, "{lost:?}");
            assert_eq!((counters.connections, counters.gaps), (2, 0), "{lost:?}");
            assert_eq!(seen.closed, ["http Unobserved"; 2], "{lost:?}");
        }
    }
}

#[test]
fn a_syn_that_is_meant_and_never_answered_is_told() {
    let mut conversation = Conversation::default();
    conversation.handshake();
    ask(&mut conversation, "/old");
    conversation.next[0] = conversation.next[0].wrapping_add(1_000_000_007);
    let sequence = conversation.next[0];
    for _ in 0..3 {
        conversation.raw(Client, sequence, 0, SYN, b"");
        conversation.now += 1000 * MS;
    }
    let (seen, _) = track(&conversation.frames);
    assert_eq!(seen.closed, ["http Unobserved", "- Unanswered"]);
}

#[test]
fn of_two_answers_to_a_syn_that_counts_which_the_client_takes() {
    for mut conversation in both() {
        conversation.next(Client, SYN, b"").next(Server, SYN_ACK, b"");
        conversation.next[1] = 77_777;
        conversation.next(Server, SYN_ACK, b"").next(Client, ACK, b"");
        ask(&mut conversation, "/1");
        conversation.finish();
        let (seen, counters) = track(&conversation.frames);
        assert_eq!(seen.summary(), ["GET /1 200"]);
        assert_eq!((counters.connections, counters.gaps), (1, 0));
        assert_eq!(seen.closed, ["http Finished(Some(Source))"]);
        assert_eq!(seen.sent[0][1].bytes, OK.len() as u64);
    }
}

#[test]
fn both_may_open_at_once() {
    let mut conversation = Conversation::default();
    conversation.next(Client, SYN, b"");
    conversation.next(Server, SYN, b"");
    let [client, server] = conversation.next;
    conversation
        .raw(Client, client.wrapping_sub(1), server, SYN_ACK, b"")
        .raw(Server, server.wrapping_sub(1), client, SYN_ACK, b"");
    ask(&mut conversation, "/1");
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(
        (seen.summary(), counters.connections),
        (vec!["GET /1 200".into()], 1)
    );
    assert_eq!(counters.refused_segments, 0);
}

/// A megabyte was lost, as a ring that is full loses one.
#[test]
fn a_capture_that_has_lost_more_than_a_window_goes_on() {
    for (client, server) in [
        (0, 1 << 20),
        (1 << 20, 0),
        (1 << 20, 1 << 20),
        (0, 5 << 29),
        (1 << 31, 1 << 31),
    ] {
        let mut conversation = Conversation::default();
        conversation.handshake();
        ask(&mut conversation, "/1");
        let next = &mut conversation.next;
        *next = [next[0].wrapping_add(client), next[1].wrapping_add(server)];
        for path in ["/2", "/3", "/4"] {
            ask(&mut conversation, path);
        }
        conversation.finish();
        let (seen, counters) = track(&conversation.frames);
        assert_eq!(
            seen.summary(),
            ["GET /1 200", "GET /2 200", "GET /3 200", "GET /4 200"],
            "{client} {server}"
        );
        assert_eq!(counters.refused_segments, 0, "{client} {server}: {counters:?}");
        assert_eq!(seen.closed, ["http Finished(Some(Source))"]);
    }
}

#[test]
fn of_one_direction_alone_what_follows_much_that_was_lost_is_believed() {
    let mut conversation = Conversation::default();
    conversation.handshake();
    for n in 0..60 {
        ask(&mut conversation, &format!("/{n}"));
        if n == 20 {
            conversation
                .frames
                .retain(|frame| frame.bytes[20..22] == 40000_u16.to_be_bytes());
            conversation.next[0] = conversation.next[0].wrapping_add(1 << 20);
        }
    }
    conversation
        .frames
        .retain(|frame| frame.bytes[20..22] == 40000_u16.to_be_bytes());
    let (seen, counters) = track(&conversation.frames);
    assert_eq!((seen.documents.len(), counters.refused_segments), (60, 0));
}

fn fast_open(answered: usize, answer: &[u8]) -> Conversation {
    let request = b"GET /a HTTP/1.1\r\n\r\n";
    let mut conversation = Conversation::default();
    conversation.next(Client, SYN, request);
    let begin = conversation.next[0].wrapping_sub(request.len() as u32);
    let acknowledged = begin.wrapping_add(answered as u32);
    let sequence = conversation.next[1];
    conversation.raw(Server, sequence, acknowledged, SYN_ACK, answer);
    conversation.next[1] = sequence.wrapping_add(1 + answer.len() as u32);
    if answered < request.len() {
        conversation.raw(
            Client,
            acknowledged,
            conversation.next[1],
            ACK,
            &request[answered..],
        );
    } else {
        conversation.next(Client, ACK, b"");
    }
    conversation
}

#[test]
fn data_that_comes_with_a_syn_is_the_connections_first() {
    let (seen, counters) = repro("tcp-fast-open");
    assert_eq!(
        (seen.summary(), seen.anomalies()),
        (vec!["GET /a 200".into()], vec![String::new()])
    );
    assert_eq!(
        (counters.connections, counters.gaps, counters.refused_segments),
        (1, 0, 0)
    );
    // Acknowledged, or in part, or not at all: then it is sent again.
    for answered in [19, 7, 0] {
        let mut conversation = fast_open(answered, b"");
        conversation.server(OK);
        ask(&mut conversation, "/b");
        conversation.finish();
        for again in [false, true] {
            if again {
                // The SYN without its data, as it is tried when nobody answers.
                let mut frame = conversation.frames[0].clone();
                frame.bytes.truncate(40);
                frame.bytes[3] = 40;
                frame.kept = 40;
                conversation.frames.insert(1, frame);
            }
            let (seen, counters) = track(&conversation.frames);
            assert_eq!(seen.summary(), ["GET /a 200", "GET /b 200"], "{answered}");
            assert_eq!(seen.anomalies(), ["", ""]);
            assert_eq!(
                (counters.connections, counters.gaps, counters.refused_segments),
                (1, 0, 0)
            );
            let client = seen.sent[0][0];
            assert_eq!((client.bytes, client.missed_bytes), (38, Some(0)));
            let sent_again = u64::from(answered < 19) + u64::from(again);
            assert_eq!(client.retransmits, Some(sent_again), "{answered} {again}");
        }
    }
}

#[test]
fn data_that_comes_with_the_answer_to_a_syn_is_the_servers_first() {
    let mut conversation = fast_open(19, OK.as_bytes());
    ask(&mut conversation, "/b");
    conversation.finish();
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /a 200", "GET /b 200"]);
    assert_eq!(
        (counters.connections, counters.gaps, counters.refused_segments),
        (1, 0, 0)
    );
    let flow: &Value = seen.flows.last().unwrap();
    assert_eq!(flow["weir"]["flow"]["handshake"], 2 * MS, "{flow:#}");
    // The SYN was captured after its answer.
    let mut conversation = fast_open(19, b"");
    conversation.server(OK);
    conversation.frames.swap(0, 1);
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(
        (seen.summary(), counters.connections),
        (vec!["GET /a 200".into()], 1)
    );
}
