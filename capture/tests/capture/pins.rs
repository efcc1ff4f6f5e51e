//! Ports that are pinned to a protocol, in captures.

use crate::support::*;
use weir_capture::Settings;
use weir_config::{Config, Decoding};
use weir_protocols::{Decoders, Side};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn pinned(pins: &str) -> Settings {
    Settings {
        decoders: Decoders::from(&Config {
            decoding: Decoding {
                protocols: pins.parse().unwrap(),
                ..Decoding::default()
            },
            ..Config::default()
        }),
        ..settings()
    }
}

/// A connection, the last of whose ports is the server's.
fn talk(late: bool) -> Conversation {
    let mut conversation = Conversation::new("198.18.0.2:8000", "198.18.0.1:9000");
    if !late {
        conversation.handshake();
    }
    let data = Flags {
        ack: true,
        ..Flags::default()
    };
    if late {
        conversation.next(Side::Client, data, b"\x01\x02 the rest of something");
    }
    conversation
        .next(Side::Client, data, GET)
        .next(Side::Server, data, OK);
    conversation
}

#[test]
fn a_pinned_port_is_decoded_as_what_it_is_pinned_to() {
    let frames = talk(false).frames;
    for (pins, count) in [
        ("9000:http1", 1),
        ("9000:tcp", 0),
        ("9000:dubbo", 0),
        ("8000:tcp", 1),
    ] {
        let (seen, _) = track_with(pinned(pins), &frames);
        assert_eq!(seen.documents.len(), count, "{pins}");
    }
}

#[test]
fn of_a_late_join_it_tells_who_the_server_is() {
    // By its ports and first bytes alone the client would be taken for the server.
    let (seen, counters) = track_with(pinned("9000:http1"), &talk(true).frames);
    assert_eq!(seen.summary(), ["GET /a 200"]);
    assert_eq!(seen.documents[0]["destination"]["port"], 9000);
    assert_eq!(seen.documents[0]["weir"]["late_join"], true);
    assert_eq!(counters.late_connections, 1);
}

#[test]
fn datagrams_are_dns_at_the_ports_that_are_pinned_to_it() {
    let message = |flags: [u8; 2]| [&[0, 1][..], &flags, b"\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"].concat();
    let frames = |port: u16| {
        let server = format!("198.18.0.1:{port}");
        [
            udp("198.18.0.2:40000", &server, &message([1, 0])),
            udp(&server, "198.18.0.2:40000", &message([0x81, 0x83])),
        ]
        .map(|bytes| Frame {
            at: START,
            kept: bytes.len(),
            bytes,
        })
    };
    for (pins, port, count) in [
        ("5300:dns", 5300, 1),
        ("5300:dns", 53, 1),
        ("5300:dns", 5301, 1), // by what they are
        ("5301:tcp", 5301, 0),
        ("53:tcp", 53, 0),
    ] {
        let (seen, counters) = track_with(pinned(pins), &frames(port));
        assert_eq!(seen.documents.len(), count, "{pins} {port}");
        // What is not DNS is a flow all the same, or else left out.
        let protocol = if count == 0 { "-" } else { "dns" };
        assert_eq!(seen.closed, [format!("{protocol} Unobserved")]);
        assert_eq!(counters.other_datagrams, 0);
        let settings = weir_capture::Settings {
            flows: None,
            ..pinned(pins)
        };
        let (seen, counters) = track_with(settings, &frames(port));
        assert_eq!((seen.documents.len(), seen.flows.len()), (count, 0));
        assert_eq!(counters.other_datagrams, if count == 0 { 2 } else { 0 });
    }
}
