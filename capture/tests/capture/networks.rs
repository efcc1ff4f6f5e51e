//! Connections in several networks: equal sockets that are two, and packets of two networks that are of one connection.

use crate::{support::*, tunnels::*, wraps::*};
use serde_json::json;
use weir_capture::{LinkType, Packet, Tracker};
use weir_records::Timestamp;

#[test]
fn equal_sockets_in_two_networks_are_two_connections() {
    let (mut here, mut there) = (Conversation::default(), Conversation::default());
    there.next = [5000, 9000];
    here.handshake()
        .client("GET /here HTTP/1.1\r\n\r\n")
        .server(OK)
        .finish();
    there
        .handshake()
        .client("GET /there HTTP/1.1\r\n\r\n")
        .server(OK)
        .finish();
    type Wrap = fn(u32, &[u8]) -> Vec<u8>;
    let wraps: [Wrap; 3] = [
        |id, packet| datagram(5555, 4789, &vxlan(id, &ethernet(packet))),
        |id, packet| datagram(5555, 6081, &geneve(id, kind(packet), packet)),
        |id, packet| v4(47, &gre(0x2000, 0x0800, &id.to_be_bytes(), packet)),
    ];
    for wrap in wraps {
        let frames: Vec<_> = std::iter::zip(&here.frames, &there.frames)
            .flat_map(|(here, there)| {
                [(1, here), (2, there)].map(|(id, frame)| {
                    let bytes = wrap(id, &frame.bytes);
                    let kept = bytes.len();
                    let at = frame.at;
                    Frame { at, bytes, kept }
                })
            })
            .collect();
        let (seen, counters) = track(&frames);
        assert_eq!(seen.summary(), ["GET /here 200", "GET /there 200"]);
        assert_eq!(counters.connections, 2);
        assert_eq!(seen.documents[0]["weir"]["tunnel_id"], json!([1]));
        assert_eq!(seen.documents[1]["weir"]["tunnel_id"], json!([2]));
    }
}

/// Each packet with the wrapping for its side: the client's, the server's.
fn by_side(frames: &[Frame], wrap: impl Fn(bool, &[u8]) -> Vec<u8>) -> Vec<Frame> {
    let wrapped = |frame: &Frame| {
        let bytes = wrap(frame.bytes[20..22] == 40000u16.to_be_bytes(), &frame.bytes);
        let kept = bytes.len();
        let at = frame.at;
        Frame { at, bytes, kept }
    };
    frames.iter().map(wrapped).collect()
}

#[test]
fn a_connection_whose_directions_have_two_numbers_is_one() {
    let of = |mine: u32, other: u32| {
        move |of_client: bool, packet: &[u8]| {
            let id = if of_client { mine } else { other };
            datagram(5555, 8472, &vxlan(id, &ethernet(packet)))
        }
    };
    let frames = by_side(&talk(true), of(4001, 4002));
    let (seen, counters) = track(&frames);
    assert_eq!(
        (seen.summary(), counters.connections),
        (vec!["GET /a 200".into()], 1)
    );
    assert_eq!(counters.losses().count(), 0);
    // Joined late, too.
    let (seen, _) = track(&frames[3..]);
    assert_eq!(seen.summary(), ["GET /a 200"]);
    let (seen, _) = track(&frames[4..]);
    assert_eq!(seen.documents.len(), 1);
    // And a query for a name.
    let ask = frame(0, dns("198.18.0.2:40000", "198.18.0.1:53", QUERY));
    let tell = frame(5, dns("198.18.0.1:53", "198.18.0.2:40000", &answer()));
    let (seen, _) = track(&by_side(&[ask, tell], of(4001, 4002)));
    assert_eq!(seen.documents.len(), 1);
    assert_eq!(seen.documents[0]["dns"]["type"], "answer");
}

const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x04weir\x07example\0\0\x01\0\x01";

fn answer() -> Vec<u8> {
    let mut bytes = QUERY.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    bytes
}

#[test]
fn a_packet_that_is_seen_within_its_tunnel_and_without_is_one() {
    let outer = |packet: &[u8]| datagram(5555, 4789, &vxlan(1, &ethernet(packet)));
    let query = frame(20, dns("198.18.0.2:40000", "198.18.0.1:53", QUERY));
    for outer_first in [true, false] {
        let mut tracker = Tracker::new(settings());
        let mut seen = Seen::default();
        for frame in talk(true).iter().chain([&query]) {
            let mut both = [(1, outer(&frame.bytes)), (2, frame.bytes.clone())];
            if !outer_first {
                both.reverse();
            }
            for (interface, bytes) in both {
                let mut packet = Packet::new(Timestamp(frame.at), LinkType::RAW, &bytes, bytes.len());
                packet.interface = interface;
                tracker.packet(&packet, &mut seen);
            }
        }
        tracker.finish(&mut seen);
        let counters = tracker.counters();
        assert_eq!(seen.documents.len(), 2, "{counters:?}");
        assert_eq!(seen.documents[0]["weir"]["tunnel"], json!(["vxlan"]));
        let packets = seen.sent.iter().flatten().map(|sent| sent.packets).sum::<u64>();
        assert_eq!((packets, counters.connections), (9, 1), "{outer_first}");
        assert_eq!(counters.duplicates, 9);
    }
}

#[test]
fn of_many_networks_with_equal_sockets_the_oldest_flows_go() {
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for id in 0..40 {
        let mut conversation = Conversation {
            next: [id * 5000, id * 9000],
            ..Conversation::default()
        };
        conversation.handshake().client(GET);
        for frame in &conversation.frames {
            let bytes = datagram(5555, 4789, &vxlan(id, &ethernet(&frame.bytes)));
            let packet = Packet::new(Timestamp(frame.at), LinkType::RAW, &bytes, bytes.len());
            tracker.packet(&packet, &mut seen);
            assert!(tracker.flows() <= 9);
        }
    }
    tracker.finish(&mut seen);
    assert_eq!(seen.documents.len(), 40);
    assert_eq!((tracker.flows(), tracker.counters().connections), (0, 40));
}
