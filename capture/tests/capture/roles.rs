//! Who is the client of a connection whose beginning was missed: what is said tells, whatever the ports are.

use crate::support::*;
use serde_json::Value;
use std::time::Duration;
use weir_capture::{FlowSettings, Settings, Tracker, Way};
use weir_protocols::Side::{self, Client, Server};
use weir_records::Timestamp;

/// Who said what.
type Said<'a> = [(Side, &'a [u8])];

/// A connection that was open before; by its ports the client would be taken for the server.
fn late(client: &str, server: &str, said: &Said) -> Vec<Frame> {
    let mut conversation = Conversation::new(client, server);
    for (side, bytes) in said {
        conversation.send(*side, bytes);
    }
    conversation.frames
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or("-")
}

/// Method and status of each call.
fn calls(seen: &Seen) -> Vec<String> {
    let call = |document: &Value| {
        let method = text(document, "/rpc/method");
        format!("{method} {}", text(document, "/rpc/response/status_code"))
    };
    seen.documents.iter().map(call).collect()
}

fn is_turned(seen: &Seen, client: u16) {
    for document in seen.documents.iter().chain(&seen.flows) {
        assert_eq!(document["source"]["port"], client, "{document:#}");
        assert_eq!(document["weir"]["late_join"], true, "{document:#}");
    }
    assert_eq!(seen.flows.len(), 1);
}

const POST: &[u8] = &[0, 0, 6, 1, 4, 0, 0, 0, 3, 0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];
const ASK: &[u8] = &[0, 0, 6, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 1, b'a'];
const HEAD: &[u8] = &[0, 0, 2, 1, 4, 0, 0, 0, 3, 0x88, 0xc0];
const ANSWER: &[u8] = &[0, 0, 6, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, b'x'];
const TRAILERS: &[u8] = &[0, 0, 2, 1, 5, 0, 0, 0, 3, 0xbf, 0xbe];
/// A call of a method by its name, on the fifth stream; and its answer, NOT_FOUND.
const NEW: &[u8] = b"\0\0\x0e\x01\x04\0\0\0\x05\x83\x86\x44\x87\x62\xb5\xf7\x31\xa4\xbe\x3f\xc1\xc0\xbf\0\0\x06\0\x01\0\0\0\x05\0\0\0\0\x01a";
const NOT_FOUND: &[u8] = b"\0\0\x02\x01\x04\0\0\0\x05\x88\xc0\0\0\x06\0\0\0\0\0\x05\0\0\0\0\x01x\0\0\x0f\x01\x05\0\0\0\x05\0\x0bgrpc-status\x015";
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn of_grpc_who_asks_is_the_client() {
    let (seen, counters) = repro_counted("late-grpc-port-50051.pcap");
    assert_eq!(seen.documents.len(), 3);
    assert_eq!(text(&seen.documents[2], "/url/path"), "/p.S/New");
    assert_eq!(text(&seen.documents[2], "/http/request/method"), "POST");
    is_turned(&seen, 40000);
    assert_eq!((counters.connections, counters.gaps), (1, 0));
    let [client, server] = seen.sent[0];
    assert_eq!((client.bytes, server.bytes), (98, 114));

    let ports = ("198.18.0.2:20000", "198.18.0.1:50000");
    let call = [(Client, NEW), (Server, NOT_FOUND)];
    let before: [&Said; 7] = [
        &[],
        // An answer, of which the end alone may have been seen; what says nothing of who has sent it.
        &[(Server, HEAD), (Server, ANSWER), (Server, TRAILERS)],
        &[(Server, ANSWER), (Server, TRAILERS)],
        &[(Server, PING), (Client, PING)],
        &[(Client, PING), (Client, PING), (Server, PING), (Server, PING)],
        &[(Client, ASK), (Server, ANSWER)],
        &[
            (Client, b"the middle of something"),
            (Server, b"and of something else"),
            (Client, POST),
            (Client, ASK),
        ],
    ];
    for said in before {
        let frames = late(ports.0, ports.1, &[said, &call].concat());
        let (seen, _) = track(&frames);
        assert!(calls(&seen).contains(&"p.S/New NOT_FOUND".to_owned()), "{said:?}");
        is_turned(&seen, 20000);
        // The other way round they were right from the beginning: it makes no difference.
        let frames = late("198.18.0.1:50000", "198.18.0.2:20000", &[said, &call].concat());
        let (right, _) = track(&frames);
        assert_eq!(calls(&right), calls(&seen));
        is_turned(&right, 50000);
    }
    // In pieces.
    let pieces: Vec<_> = call
        .iter()
        .flat_map(|(side, bytes)| bytes.chunks(1).map(|piece| (*side, piece)))
        .collect();
    let (seen, _) = track(&late(ports.0, ports.1, &pieces));
    assert!(
        seen.documents
            .iter()
            .all(|document| document["source"]["port"] == 20000)
    );
}

fn dubbo(flags: u8, status: u8, id: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xda, 0xbb, flags, status, 0, 0, 0, 0, 0, 0, 0, id];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

/// A call with an argument of so many bytes, and these attachments.
fn ask(id: u8, argument: usize, attachments: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut put = |text: &str| {
        if text.len() < 32 {
            body.push(text.len() as u8);
        } else {
            body.push(b'S');
            body.extend((text.len() as u16).to_be_bytes());
        }
        body.extend(text.as_bytes());
    };
    for text in ["2.0.2", "demo.Api", "0.0.0", "hi", "Ljava/lang/String;"] {
        put(text);
    }
    put(&"x".repeat(argument));
    body.push(b'H');
    for text in attachments {
        body.push(text.len() as u8);
        body.extend(text.as_bytes());
    }
    body.push(b'Z');
    dubbo(0xc2, 0, id, &body)
}

fn answer(id: u8) -> Vec<u8> {
    dubbo(0x02, 20, id, b"\x91\x02ok")
}

#[test]
fn of_dubbo_who_asks_is_the_client_but_for_callbacks() {
    let ports = ("198.18.0.2:20000", "198.18.0.1:50000");
    let heartbeat = dubbo(0xe2, 0, 9, b"N");
    let back = ask(8, 3, &["callback.service.instid", "7"]);
    let (call, reply, long) = (ask(1, 3, &[]), answer(1), ask(1, 60_000, &[]));
    let unseen = answer(5);
    let cases: [(&Said, usize); 7] = [
        (&[(Client, &call), (Server, &reply)], 1),
        (&[(Server, &unseen), (Client, &call), (Server, &reply)], 2),
        (&[(Server, &heartbeat), (Client, &call), (Server, &reply)], 1),
        (&[(Server, &back), (Client, &call), (Server, &reply)], 2),
        (
            &[(Client, &call[..20]), (Client, &call[20..]), (Server, &reply)],
            1,
        ),
        (
            &[
                (Client, &long[..1000]),
                (Client, &long[1000..30_000]),
                (Client, &long[30_000..]),
                (Server, &reply),
            ],
            1,
        ),
        (
            &[
                (Client, &call),
                (Server, &back),
                (Server, &reply),
                (Client, &answer(8)),
            ],
            2,
        ),
    ];
    for (said, count) in cases {
        let (seen, _) = track(&late(ports.0, ports.1, said));
        assert_eq!(seen.documents.len(), count, "{said:?}");
        is_turned(&seen, 20000);
        let asked = seen
            .documents
            .iter()
            .find(|document| document["dubbo"]["request_id"] == 1);
        let asked = asked.unwrap();
        assert_eq!(text(asked, "/rpc/method"), "demo.Api/hi");
        assert_eq!(text(asked, "/rpc/response/status_code"), "OK", "{asked:#}");
        assert!(asked["dubbo"]["callback"].is_null(), "{asked:#}");
        let called_back = said.iter().any(|(_, bytes)| *bytes == back);
        let back = seen
            .documents
            .iter()
            .find(|document| document["dubbo"]["request_id"] == 8);
        assert_eq!(
            called_back,
            back.is_some_and(|back| back["dubbo"]["callback"] == true)
        );
    }
}

#[test]
fn of_other_protocols_it_is_told_however_they_are_cut() {
    let ports = ("198.18.0.2:80", "198.18.0.1:40000");
    let get = b"GET /x HTTP/1.1\r\n\r\n";
    let ok = b"HTTP/1.1 204 No\r\n\r\n";
    let query = b"\0\x18\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    let said: [&Said; 5] = [
        &[(Client, get), (Server, ok)],
        &[
            (Client, &get[..2]),
            (Client, &get[2..9]),
            (Client, &get[9..]),
            (Server, ok),
        ],
        &[
            (Server, b"rest"),
            (Client, &get[..2]),
            (Client, &get[2..]),
            (Server, ok),
        ],
        &[
            (Server, &ok[..7]),
            (Server, &ok[7..]),
            (Client, get),
            (Server, ok),
        ],
        &[(Client, &query[..1]), (Client, &query[1..])],
    ];
    for said in said {
        let (seen, _) = track(&late(ports.0, ports.1, said));
        let last = seen.documents.last().unwrap_or_else(|| panic!("{said:?}"));
        assert!(
            last["url"]["path"] == "/x" || last["dns"]["question"]["name"] == "a.test",
            "{last:#}"
        );
        is_turned(&seen, 80);
    }
}

/// What was taken for a frame by chance is looked at again at the end.
#[test]
fn what_is_told_at_the_end_alone_counts_too() {
    // A query of DNS, with a label that looks like the header of a call of Dubbo.
    let mut query = b"\0\x22\0\x01\x01\0\0\x01\0\0\0\0\0\0\x10".to_vec();
    query.extend(b"\xda\xbb\xc6\0\0\0\0\0\0\0\0\x07\0\0\0\x05");
    let cut = query.len();
    query.extend(b"\0\0\x01\0\x01");
    for (client, server) in [
        ("198.18.0.2:80", "198.18.0.1:40000"),
        ("198.18.0.2:40000", "198.18.0.1:80"),
    ] {
        let frames = late(
            client,
            server,
            &[(Client, &query[..cut]), (Client, &query[cut..])],
        );
        let (seen, _) = track(&frames);
        assert_eq!(seen.documents.len(), 1);
        assert_eq!(seen.documents[0]["dns"]["id"], "1", "{:#}", seen.documents[0]);
        assert_eq!(seen.documents[0]["source"]["ip"], "198.18.0.2");
        assert_eq!(seen.flows[0]["source"]["ip"], "198.18.0.2");
        assert_eq!(seen.sent[0][0].bytes, query.len() as u64);
    }
}

#[test]
fn where_nothing_tells_the_higher_port_is_the_clients() {
    for said in [
        &b"the middle of something"[..],
        PING,
        ANSWER,
        &dubbo(0xe2, 0, 9, b"N"),
    ] {
        let (seen, _) = track(&late(
            "198.18.0.2:80",
            "198.18.0.1:40000",
            &[(Client, said), (Server, said)],
        ));
        assert_eq!(seen.flows[0]["source"]["port"], 40000);
    }
}

#[test]
fn direction_and_documents_of_intervals_are_put_right() {
    let mut conversation = Conversation::new("198.18.0.2:20000", "198.18.0.1:50000");
    conversation.client(PING).server(PING).client(PING).server(PING);
    let interval = Some(Duration::from_secs(1));
    let settings = Settings {
        flows: Some(FlowSettings { interval }),
        ..settings()
    };
    let mut tracker = Tracker::new(settings);
    let mut seen = Seen::default();
    let show = |tracker: &mut Tracker, seen: &mut Seen, frames: &[Frame]| {
        for frame in frames {
            let mut packet = packet(frame);
            packet.way = match frame.bytes[12..16] == [198, 18, 0, 2] {
                true => Way::Received,
                false => Way::Sent,
            };
            tracker.packet(&packet, seen);
        }
    };
    show(&mut tracker, &mut seen, &conversation.frames);
    for second in 1..3 {
        tracker.tick(Timestamp(conversation.now + second * 1000 * MS), &mut seen);
    }
    let shown = conversation.frames.len();
    conversation.now += 5000 * MS;
    conversation.client(NEW).server(NOT_FOUND);
    show(&mut tracker, &mut seen, &conversation.frames[shown..]);
    tracker.finish(&mut seen);
    assert_eq!(calls(&seen), ["p.S/New NOT_FOUND"]);
    let [first, last] = &seen.flows[..] else {
        panic!("{:#?}", seen.flows)
    };
    assert_eq!(
        (&first["source"]["port"], text(first, "/network/direction")),
        (&50000.into(), "egress")
    );
    assert_eq!(
        (&last["source"]["port"], text(last, "/network/direction")),
        (&20000.into(), "ingress")
    );
    assert_eq!(first["weir"]["flow_id"], last["weir"]["flow_id"]);
    assert_eq!(text(&seen.documents[0], "/network/direction"), "ingress");
    assert_eq!(
        last["weir"]["flow"]["source"]["bytes"],
        2 * PING.len() + NEW.len()
    );
}
