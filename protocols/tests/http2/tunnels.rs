//! WebSockets and other tunnels within streams.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Side};

/// The fields of a request for a tunnel.
fn connect<'a>(path: &'a str, protocol: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![(":method", "CONNECT"), (":protocol", protocol)];
    fields.extend(get(path).into_iter().skip(1));
    fields.push(("sec-websocket-version", "13"));
    fields
}

/// A frame of a WebSocket: the client masks what it sends.
fn part(side: Side, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    match side {
        Side::Client => [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat(),
        Side::Server => [&[0x80 | opcode, length], payload].concat(),
    }
}

fn opened() -> Observer {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &connect("/chat?token=s3cret", "websocket")));
    let answer = [(":status", "200"), ("sec-websocket-protocol", "v1")];
    seen.server(headers(1, false, &answer));
    seen
}

/// The document of a dataset.
fn of<'a>(documents: &'a [Value], dataset: &str) -> Vec<&'a Value> {
    documents
        .iter()
        .filter(|document| document["event"]["dataset"] == dataset)
        .collect()
}

#[test]
fn a_websocket_stands_within_a_stream() {
    let mut seen = opened();
    // Messages don't begin where DATA does.
    let asked = [part(Side::Client, 1, b"hello"), part(Side::Client, 2, b"12")].concat();
    seen.client([data(1, false, &asked[..4]), data(1, false, &asked[4..])].concat());
    // (Another stream goes on meanwhile.)
    seen.client(headers(3, true, &get("/3")));
    seen.server(headers(3, true, &[(":status", "200")]));
    seen.server(data(1, false, &part(Side::Server, 1, b"hi")));
    seen.client(data(1, true, &part(Side::Client, 8, &1000_u16.to_be_bytes())));
    seen.server(data(1, true, &part(Side::Server, 8, &1000_u16.to_be_bytes())));
    let documents = seen.documents();
    assert_eq!(documents.len(), 3);
    let http = of(&documents, "weir.http")[1];
    assert_eq!(
        http["weir"]["http2"],
        json!({"stream_id": 1, "protocol": "websocket"})
    );
    assert_eq!(http["http"]["request"]["method"], "CONNECT");
    assert_eq!(http["event"]["outcome"], "success");
    assert_eq!(anomalies(http), [""; 0]);
    let websocket = of(&documents, "weir.websocket")[0];
    assert_eq!(websocket["network"]["protocol"], "websocket");
    assert_eq!(websocket["url"]["original"], "/chat?token=<redacted>");
    assert_eq!(websocket["url"]["domain"], "shop.test");
    assert_eq!(websocket["websocket"]["subprotocol"], "v1");
    assert_eq!(websocket["websocket"]["client"]["messages"], 2);
    assert_eq!(websocket["websocket"]["server"]["text_messages"], 1);
    assert_eq!(
        websocket["websocket"]["close"],
        json!({"by": "client", "code": 1000})
    );
    assert_eq!(websocket["weir"]["http2"], json!({"stream_id": 1}));
    assert_eq!(websocket["event"]["outcome"], "success");
    assert_eq!(anomalies(websocket), [""; 0]);
    assert_ne!(websocket["event"]["id"], http["event"]["id"]);
}

#[test]
fn several_stand_on_one_connection_and_end_each_in_its_way() {
    let mut seen = opened();
    for id in [3, 5] {
        seen.client(headers(id, false, &connect("/more", "websocket")));
        seen.server(headers(id, false, &[(":status", "200")]));
        seen.client(data(id, false, &part(Side::Client, 1, b"x")));
    }
    seen.server(frame(RST_STREAM, 0, 3, &8_u32.to_be_bytes()));
    seen.close(Close::Finished);
    let documents = seen.documents();
    let websockets = of(&documents, "weir.websocket");
    let told: Vec<_> = websockets
        .iter()
        .map(|document| {
            (
                document["weir"]["http2"]["stream_id"].as_u64().unwrap(),
                document["error"]["type"].as_str().unwrap(),
                document["websocket"]["client"]["messages"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (3, "connection_reset", 1),
            (1, "no_close_frame", 0),
            (5, "no_close_frame", 1)
        ]
    );
    let ids: std::collections::HashSet<_> =
        documents.iter().map(|it| it["event"]["id"].to_string()).collect();
    assert_eq!(ids.len(), documents.len());
}

#[test]
fn what_was_missed_of_a_websocket_is_told() {
    let mut seen = opened();
    let message = data(1, false, &part(Side::Client, 2, &[7; 100]));
    seen.client(&message[..50]);
    seen.gap(Side::Client, Some(30));
    seen.client(&message[80..]);
    seen.gap(Side::Server, Some(30));
    seen.close(Close::Finished);
    let documents = seen.documents();
    let websocket = of(&documents, "weir.websocket")[0];
    assert_eq!(websocket["websocket"]["client"]["messages"], 1);
    assert_eq!(
        anomalies(websocket),
        [
            "gap: 30 bytes of the client were missed",
            "framing_lost: what the server sent after the gap is only counted in bytes"
        ]
    );
    assert_eq!(websocket["event"]["outcome"], "unknown");
}

#[test]
fn a_tunnel_that_is_no_websocket_is_named() {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &connect("/udp/a/53/", "connect-udp")));
    seen.server(headers(1, false, &[(":status", "200")]));
    // And a WebSocket that was refused is none.
    seen.client(headers(3, true, &connect("/chat", "websocket")));
    seen.server(headers(3, true, &[(":status", "404")]));
    seen.close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(of(&documents, "weir.websocket").len(), 0);
    let protocols: Vec<_> = documents
        .iter()
        .map(|document| document["weir"]["http2"]["protocol"].as_str().unwrap())
        .collect();
    assert_eq!(protocols, ["websocket", "connect-udp"]);
}
