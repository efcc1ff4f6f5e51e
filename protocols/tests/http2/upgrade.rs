//! Connections that become HTTP/2 on the way.

use crate::support::*;
use serde_json::json;
use weir_protocols::{Close, Decoder, Side};

const REQUEST: &[u8] = b"GET /up?a=1 HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
    Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUser-Agent: test/1\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

fn server() -> Vec<u8> {
    [
        SWITCH,
        &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        &headers(1, false, &[(":status", "200")]),
        &data(1, true, b"hello"),
    ]
    .concat()
}

#[test]
fn the_upgraded_request_is_answered_on_stream_1() {
    let client = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &headers(3, true, &get("/3")),
    ]
    .concat();
    // The client may speak before and after the answer, and both in any pieces.
    for piece in [1, 7, 50, 1000] {
        for early in [true, false] {
            let mut seen = Observer::of(Decoder::new(&limits(8)));
            let send = |seen: &mut Observer, side, bytes: &[u8]| {
                for part in bytes.chunks(piece) {
                    seen.data(side, part);
                }
            };
            send(&mut seen, Side::Client, REQUEST);
            if early {
                send(&mut seen, Side::Client, &client);
                send(&mut seen, Side::Server, &server());
            } else {
                send(&mut seen, Side::Server, &server());
                send(&mut seen, Side::Client, &client);
            }
            send(&mut seen, Side::Server, &headers(3, true, &[(":status", "204")]));
            seen.close(Close::Finished);
            let documents = seen.documents();
            assert_eq!(
                summary(&documents),
                ["/up 101 success", "/up 200 success", "/3 204 success"]
            );
            let versions = documents.iter().map(|document| &document["http"]["version"]);
            assert_eq!(versions.collect::<Vec<_>>(), ["1.1", "2", "2"]);
            let upgraded = &documents[1];
            assert_eq!(upgraded["weir"]["http2"]["stream_id"], 1);
            assert_eq!(upgraded["url"]["domain"], "shop.test");
            assert_eq!(
                upgraded["http"]["request"]["headers"],
                json!({"user-agent": ["test/1"]})
            );
            assert_eq!(upgraded["http"]["response"]["body"]["bytes"], 5);
            // Each byte of the request is in one document.
            assert_eq!(documents[0]["source"]["bytes"], REQUEST.len());
            assert_eq!(upgraded["source"]["bytes"], 0);
            let ids: std::collections::HashSet<_> = documents
                .iter()
                .map(|document| document["event"]["id"].to_string())
                .collect();
            assert_eq!(ids.len(), 3);
        }
    }
}

#[test]
fn a_server_that_declines_goes_on_in_http1() {
    let mut seen = Observer::of(Decoder::new(&limits(8)));
    seen.client(REQUEST);
    seen.server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    seen.client(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    seen.server(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(summary(&seen.documents()), ["/up 200 success", "/2 204 success"]);
}
