//! Calls of gRPC.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::Close;

const OK: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/grpc")];

#[test]
fn a_unary_call() {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &call("/shop.v1.Cart/Add")));
    seen.client(data(1, true, &message(false, b"abc")));
    seen.server(headers(1, false, OK));
    seen.server(data(1, false, &message(true, b"12345")));
    seen.server(headers(1, true, &[("grpc-status", "0"), ("grpc-message", "")]));
    let document = seen.document();
    assert_eq!(
        document["rpc"],
        json!({
            "system": {"name": "grpc"},
            "method": "shop.v1.Cart/Add",
            "request": {
                "messages": 1, "bytes": 3,
                "first_message": "1970-01-01T00:00:00.004000000Z", "last_message": "1970-01-01T00:00:00.004000000Z",
            },
            "response": {
                "status_code": "OK", "messages": 1, "bytes": 5, "compressed_messages": 1,
                "first_message": "1970-01-01T00:00:00.006000000Z", "last_message": "1970-01-01T00:00:00.006000000Z",
            },
        })
    );
    assert_eq!(document["network"]["protocol"], "grpc");
    assert_eq!(document["event"]["outcome"], "success");
    assert_eq!(document["http"]["request"]["body"]["bytes"], 8);
    assert_eq!(
        document["http"]["response"]["headers"]["grpc-status"],
        json!(["0"])
    );
}

#[test]
fn messages_of_a_stream_are_counted_across_frames() {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &call("/s.S/Chat")));
    seen.server(headers(1, false, OK));
    let sent: Vec<u8> = (0..10)
        .flat_map(|size| message(false, &vec![7; size * 100]))
        .collect();
    for part in sent.chunks(333) {
        seen.client(data(1, false, part));
        seen.server(data(1, false, &message(false, b"pong")));
    }
    seen.client(data(1, true, b""));
    seen.server(headers(1, true, &[("grpc-status", "0")]));
    let document = seen.document();
    let rpc = &document["rpc"];
    assert_eq!(
        (&rpc["request"]["messages"], &rpc["request"]["bytes"]),
        (&json!(10), &json!(4500))
    );
    let parts = sent.chunks(333).count();
    assert_eq!(
        (&rpc["response"]["messages"], &rpc["response"]["bytes"]),
        (&json!(parts), &json!(4 * parts))
    );
    assert!(rpc["request"]["first_message"].as_str() < rpc["request"]["last_message"].as_str());
}

#[test]
fn a_status_is_an_error_with_its_message() {
    for only_trailers in [true, false] {
        let mut seen = Observer::new();
        seen.client(headers(1, false, &call("/s.S/M")));
        seen.client(data(1, true, &message(false, b"")));
        let status = [
            ("grpc-status", "14"),
            ("grpc-message", "100%25 caf%C3%a9 ?token=s3cret"),
        ];
        if only_trailers {
            seen.server(headers(1, true, &[OK, &status].concat()));
        } else {
            seen.server([headers(1, false, OK), headers(1, true, &status)].concat());
        }
        let document = seen.document();
        assert_eq!(
            document["error"],
            json!({"type": "UNAVAILABLE", "message": "100% caf\u{e9} ?token=<redacted>"})
        );
        assert_eq!(document["rpc"]["response"]["status_code"], "UNAVAILABLE");
        assert_eq!(document["rpc"]["response"]["messages"], 0);
        assert_eq!(document["event"]["outcome"], "failure");
        assert_eq!(document["http"]["response"]["status_code"], 200);
    }
}

#[test]
fn a_call_that_is_cut_short_has_no_status() {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &call("/s.S/M")));
    seen.client(data(1, false, &message(false, b"one")));
    seen.server(headers(1, false, OK));
    seen.server(data(1, false, &message(false, b"two")));
    seen.client(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    seen.client(headers(3, true, &call("/s.S/M")));
    seen.server(headers(3, false, OK));
    seen.server(data(3, true, b"\0\0\0\0\x09abc"));
    seen.close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(documents[0]["error"]["type"], "stream_reset");
    assert_eq!(documents[0]["rpc"]["response"]["messages"], 1);
    assert_eq!(documents[0]["rpc"]["response"]["status_code"], Value::Null);
    assert_eq!(documents[1]["event"]["outcome"], "unknown");
    assert_eq!(documents[1]["rpc"]["response"]["messages"], 0);
    assert_eq!(anomalies(&documents[1]), ["incomplete_response_message"]);
}

#[test]
fn an_answer_that_is_no_grpc_has_no_messages() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &call("/s.S/M")));
    seen.server(headers(
        1,
        false,
        &[(":status", "502"), ("content-type", "text/html")],
    ));
    seen.server(data(1, true, b"<html>"));
    let document = seen.document();
    assert_eq!(
        document["rpc"]["response"],
        json!({"derived_status_code": "UNAVAILABLE"})
    );
    assert_eq!(document["event"]["outcome"], "failure");
}

#[test]
fn an_exception_of_a_triple_service_is_an_error() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &call("/lab.Demo/checked")));
    seen.server(headers(1, false, OK));
    let trailers = [
        ("grpc-status", "0"),
        ("tri-exception-code", "3"),
        ("grpc-message", "no"),
    ];
    seen.server(headers(1, true, &trailers));
    let document = seen.document();
    assert_eq!(document["error"], json!({"type": "exception", "message": "no"}));
    assert_eq!(document["rpc"]["response"]["status_code"], "OK");
    assert_eq!(document["event"]["outcome"], "failure");
}

#[test]
fn metadata_is_redacted_as_headers_are() {
    let mut fields = call("/s.S/M");
    fields.extend([
        ("authorization", "Bearer hunter2"),
        ("x-access-token", "hunter2"),
        ("session-token-bin", "hunter2"),
        ("trace-bin", "AAE="),
    ]);
    let mut seen = Observer::new();
    seen.client(headers(1, true, &fields));
    seen.server(headers(1, false, OK));
    seen.server(headers(
        1,
        true,
        &[("grpc-status", "0"), ("session-token", "hunter2")],
    ));
    let document = seen.document();
    assert!(!document.to_string().contains("hunter2"), "{document:#}");
    assert_eq!(
        document["http"]["request"]["headers"]["trace-bin"],
        json!(["AAE="])
    );
}
