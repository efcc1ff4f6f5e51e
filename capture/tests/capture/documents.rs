//! The same bytes give the same documents, relayed or captured, however TCP carried them.

use crate::support::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Side};
use weir_records::Direction;

/// Requests and responses as they follow each other.
const TALK: &[(Side, &str)] = &[
    (
        Side::Client,
        "GET /a?password=secret HTTP/1.1\r\nHost: shop.example\r\nCookie: c=1\r\n\r\n",
    ),
    (
        Side::Server,
        "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz",
    ),
    (
        Side::Client,
        "POST /b HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        Side::Server,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
    (
        Side::Client,
        "GET /c HTTP/1.1\r\n\r\nHEAD /d HTTP/1.1\r\n\r\nGET /e HTTP/1.1\r\n\r\n",
    ),
    (
        Side::Server,
        "HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 500 No\r\nConnection: close\r\n\r\nuntil the end",
    ),
];

const PATHS: [&str; 5] = [
    "GET /a 200",
    "POST /b 201",
    "GET /c 304",
    "HEAD /d 200",
    "GET /e 500",
];

fn talk(mut conversation: Conversation, largest: usize) -> (Conversation, Vec<(u64, Step)>) {
    let mut steps = Vec::new();
    conversation.handshake();
    for (side, text) in TALK {
        for part in text.as_bytes().chunks(largest) {
            conversation.send(*side, part);
            steps.push((conversation.now, Step::Data(*side, part.to_vec())));
        }
    }
    conversation.finish();
    steps.push((conversation.now - 2 * MS, Step::End(Side::Client)));
    steps.push((conversation.now - MS, Step::End(Side::Server)));
    (conversation, steps)
}

#[test]
fn a_capture_gives_the_documents_that_the_relay_gives() {
    for (client, server) in [
        ("198.18.0.2:40000", "198.18.0.1:8080"),
        ("[fd00:198:18::2]:40000", "[fd00:198:18::1]:80"),
        ("198.18.0.2:80", "198.18.0.1:40000"), // ports say nothing where a SYN does
    ] {
        for largest in [1, 7, 1000] {
            let (conversation, steps) = talk(Conversation::new(client, server), largest);
            let flow = flow(
                conversation.client,
                conversation.server,
                conversation.frames[0].at,
            );
            let relayed = relayed(&flow, &steps, Close::Finished);
            let (seen, counters) = track(&conversation.frames);
            assert_eq!(seen.documents, relayed);
            assert_eq!(seen.summary(), PATHS);
            assert_eq!(seen.closed, ["http Finished(Some(Source))"]);
            assert_eq!(counters.losses().count(), 0, "{counters:?}");
            assert_eq!(seen.documents[0]["weir"]["capture"], "pcap");
            assert_eq!(seen.documents[0]["url"]["query"], "password=<redacted>");
        }
    }
}

/// Without what the order of packets may change: when bytes became readable.
fn timeless(documents: &[Value]) -> Vec<Value> {
    let mut documents = documents.to_vec();
    for document in &mut documents {
        document["weir"]["timing"] = Value::Null;
        document["@timestamp"] = Value::Null;
        document["event"]["duration"] = Value::Null;
        document["event"]["end"] = Value::Null;
    }
    documents
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn reordered_and_repeated_packets_change_no_document(
        largest in 1..60usize,
        jitter in prop::collection::vec(0..6usize, 1..50),
        repeats in prop::collection::vec(0..400usize, 0..20),
    ) {
        let (conversation, steps) = talk(Conversation::default(), largest);
        let flow = flow(conversation.client, conversation.server, conversation.frames[0].at);
        let relayed = relayed(&flow, &steps, Close::Finished);
        // Only packets of one side pass each other: an acknowledgement that came before what it acknowledges says that
        // the bytes were missed. The handshake stays in its place.
        let (start, rest) = conversation.frames.split_at(3);
        let (run, end) = rest.split_at(rest.len() - 3);
        let mut jitter = jitter.iter().cycle();
        let mut run: Vec<_> = run.chunk_by(|a, b| a.bytes[12..20] == b.bytes[12..20]).flat_map(|side| {
            let mut side: Vec<_> = side.iter().enumerate().collect();
            side.sort_by_cached_key(|(place, _)| place + jitter.next().unwrap());
            side.into_iter().map(|(_, frame)| frame.clone()).collect::<Vec<_>>()
        }).collect();
        for place in repeats {
            let place = place % run.len();
            run.insert(place, run[place].clone());
        }
        let frames = [start, &run, end].concat();
        let (seen, counters) = track(&frames);
        prop_assert_eq!(timeless(&seen.documents), timeless(&relayed));
        prop_assert_eq!(counters.gaps, 0);
    }
}

#[test]
fn the_same_file_gives_the_same_documents_again() {
    let (conversation, _) = talk(Conversation::default(), 10);
    assert_eq!(
        track(&conversation.frames).0.documents,
        track(&conversation.frames).0.documents
    );
    let ids: std::collections::HashSet<_> = track(&conversation.frames)
        .0
        .documents
        .iter()
        .map(|document| document["event"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), PATHS.len());
}

#[test]
fn a_connection_is_joined_late_and_says_so() {
    // The packets before some point were not captured: mostly in the middle of something.
    let (conversation, _) = talk(Conversation::default(), 1000);
    let (seen, counters) = track(&conversation.frames[5..]);
    assert_eq!(seen.summary(), PATHS[1..]);
    assert!(
        seen.documents
            .iter()
            .all(|document| document["weir"]["late_join"] == json!(true))
    );
    assert_eq!((counters.connections, counters.late_connections), (1, 1));
    assert_eq!(seen.closed, ["http Finished(Some(Source)) late"]);
}

#[test]
fn who_is_the_client_of_a_late_join_is_told_by_what_is_sent() {
    // The lower port is the client's here, and the first packet is a response.
    let mut conversation = Conversation::new("198.18.0.2:80", "198.18.0.1:40000");
    conversation.server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    conversation
        .client("GET /x HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let (seen, _) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["- - 200", "GET /x 404"]);
    assert_eq!(seen.documents[1]["source"]["port"], 80);

    // The first packet tells nothing: the lower port is taken for the server until the next tells.
    let mut conversation = Conversation::new("198.18.0.2:80", "198.18.0.1:40000");
    conversation
        .server("the rest of something")
        .client("GET /x HTTP/1.1\r\n\r\n");
    conversation.server("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let (seen, _) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /x 404"]);
    assert_eq!(seen.documents[0]["source"]["ip"], "198.18.0.2");
    let [client, server] = seen.sent[0];
    assert_eq!((client.packets, server.packets, client.bytes), (1, 2, 19));
}

#[test]
fn a_syn_ack_alone_tells_where_both_streams_begin() {
    let mut conversation = Conversation::new("198.18.0.2:80", "198.18.0.1:40000");
    conversation.handshake().frames.remove(0);
    conversation
        .client("GET /x HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 204 No\r\n\r\n")
        .finish();
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /x 204"]);
    assert_eq!(seen.documents[0]["source"]["port"], 80);
    assert_eq!((counters.late_connections, counters.gaps), (0, 0));
}

#[test]
fn the_same_ports_may_be_used_again() {
    let mut conversation = Conversation::default();
    for path in ["/1", "/2", "/3"] {
        conversation.next = [
            conversation.next[0].wrapping_add(70_000),
            conversation.next[1].wrapping_add(90_000),
        ];
        conversation.handshake();
        conversation
            .client(format!("GET {path} HTTP/1.1\r\n\r\n"))
            .server("HTTP/1.1 204 No\r\n\r\n");
        match path {
            "/1" => conversation.finish(),
            "/2" => conversation.next(Side::Client, Flags { rst: true, ..ACK }, b""),
            _ => &mut conversation,
        };
        // What comes late of the last one begins no connection.
        if path != "/3" {
            let sequence = conversation.next[1].wrapping_sub(10);
            conversation.raw(Side::Server, sequence, 0, ACK, b"again");
        }
    }
    let (seen, counters) = track(&conversation.frames);
    assert_eq!(seen.summary(), ["GET /1 204", "GET /2 204", "GET /3 204"]);
    assert_eq!(
        seen.closed,
        [
            "http Finished(Some(Source))",
            "http Reset(Source)",
            "http Unobserved"
        ]
    );
    assert_eq!((counters.connections, counters.late_connections), (3, 0));
}

#[test]
fn direction_is_told_by_local_addresses() {
    let (conversation, _) = talk(Conversation::default(), 1000);
    let direction = |local: &str| {
        let mut settings = settings();
        settings.local = vec![local.parse().unwrap()];
        let (seen, _) = track_with(settings, &conversation.frames);
        seen.documents[0]["network"]["direction"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(direction("198.18.0.2/32"), "egress");
    assert_eq!(direction("198.18.0.1/32"), "ingress");
    assert_eq!(direction("10.0.0.0/8"), "unknown");
    assert_eq!(serde_json::to_value(Direction::Unknown).unwrap(), "unknown");
}

#[test]
fn every_packet_and_byte_of_a_flow_is_counted() {
    let (conversation, _) = talk(Conversation::default(), 1000);
    let (seen, _) = track(&conversation.frames);
    let [client, server] = seen.sent[0];
    let payload = |of: Side| {
        TALK.iter()
            .filter(|(side, _)| *side == of)
            .map(|(_, text)| text.len() as u64)
            .sum()
    };
    assert_eq!(
        (client.bytes, server.bytes),
        (payload(Side::Client), payload(Side::Server))
    );
    assert_eq!((client.packets, server.packets), (7, 5));
    let all: usize = conversation.frames.iter().map(|frame| frame.bytes.len()).sum();
    assert_eq!(
        client.wire_bytes.zip(server.wire_bytes).map(|(a, b)| a + b),
        Some(all as u64)
    );
}
