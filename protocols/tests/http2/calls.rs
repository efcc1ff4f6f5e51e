//! Calls that are not gRPC's own: gRPC-Web and Connect; and what a client makes of an answer without a status.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::Side;

/// The fields of a call with this content type.
fn of(content_type: &str) -> Vec<(&str, &str)> {
    let mut fields = call("/s.S/M");
    fields.retain(|(name, _)| !matches!(*name, "te" | "content-type"));
    fields.push(("content-type", content_type));
    fields
}

/// A frame of a body.
fn framed(flag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], content].concat()
}

/// A call of one message, and how it is answered: fields, and a body.
fn answered(asked: &[(&str, &str)], answer: &[(&str, &str)], body: &[u8]) -> Value {
    let mut seen = Observer::new();
    seen.client([headers(1, false, asked), data(1, true, &framed(0, b"abc"))].concat());
    seen.server(headers(1, body.is_empty(), answer));
    // (However the body is cut.)
    for (number, piece) in body.chunks(7).enumerate() {
        seen.server(data(1, (number + 1) * 7 >= body.len(), piece));
    }
    seen.document()
}

/// Status, outcome and error of a call, and the messages both ways.
fn told(document: &Value) -> (&Value, &str, &Value, [&Value; 2]) {
    let rpc = &document["rpc"];
    (
        &rpc["response"]["status_code"],
        document["event"]["outcome"].as_str().unwrap(),
        &document["error"],
        [&rpc["request"]["messages"], &rpc["response"]["messages"]],
    )
}

const WEB: &str = "application/grpc-web+proto";

#[test]
fn a_call_of_grpc_web_ends_in_its_body() {
    let head = [(":status", "200"), ("content-type", WEB)];
    let end = |trailers: &str| [framed(0, b"12345"), framed(0x80, trailers.as_bytes())].concat();
    let document = answered(&of(WEB), &head, &end("grpc-status:0\r\ngrpc-message:\r\n"));
    let one = json!(1);
    assert_eq!(
        told(&document),
        (&json!("OK"), "success", &Value::Null, [&one, &one])
    );
    assert_eq!(document["rpc"]["system"]["name"], "grpc");
    assert_eq!(document["rpc"]["method"], "s.S/M");
    assert_eq!(document["network"]["protocol"], "http");
    let document = answered(
        &of(WEB),
        &head,
        &end("grpc-status: 14\r\ngrpc-message: no%20way\r\n"),
    );
    assert_eq!(
        told(&document),
        (
            &json!("UNAVAILABLE"),
            "failure",
            &json!({"type": "UNAVAILABLE", "message": "no way"}),
            [&one, &one]
        )
    );
    // Without a body it ends in the head.
    let document = answered(&of(WEB), &[&head[..], &[("grpc-status", "5")]].concat(), b"");
    assert_eq!(document["rpc"]["response"]["status_code"], "NOT_FOUND");
    assert_eq!(document["event"]["outcome"], "failure");
    // The end never came.
    let document = answered(&of(WEB), &head, &framed(0, b"12345"));
    assert_eq!(
        told(&document),
        (&Value::Null, "unknown", &Value::Null, [&one, &one])
    );
}

#[test]
fn a_call_of_grpc_web_in_base64() {
    const TEXT: &str = "application/grpc-web-text";
    let mut seen = Observer::new();
    seen.client([headers(1, false, &of(TEXT)), data(1, true, b"AAAAAAFh")].concat());
    seen.server(headers(1, false, &[(":status", "200"), ("content-type", TEXT)]));
    seen.server(data(1, true, b"AAAAAAFhgAAAAA9ncnBjLXN0YXR1czo1DQo="));
    let document = seen.document();
    let one = json!(1);
    assert_eq!(
        told(&document),
        (
            &json!("NOT_FOUND"),
            "failure",
            &json!({"type": "NOT_FOUND"}),
            [&one, &one]
        )
    );
    assert_eq!(document["rpc"]["response"]["bytes"], 1);
}

#[test]
fn a_stream_of_connect_ends_in_its_body() {
    const TYPE: &str = "application/connect+proto";
    let head = [(":status", "200"), ("content-type", TYPE)];
    let one = json!(1);
    let fine = [framed(0, b"x"), framed(2, b"{}")].concat();
    let document = answered(&of(TYPE), &head, &fine);
    assert_eq!(
        told(&document),
        (&Value::Null, "success", &Value::Null, [&one, &one])
    );
    assert_eq!(document["rpc"]["system"]["name"], "connectrpc");
    assert_eq!(document["network"]["protocol"], "http");
    let error = br#"{"error":{"code":"not_found","message":"no ?token=s3cret"}}"#;
    let document = answered(&of(TYPE), &head, &framed(2, error));
    assert_eq!(
        told(&document),
        (
            &json!("not_found"),
            "failure",
            &json!({"type": "not_found", "message": "no ?token=<redacted>"}),
            [&one, &json!(0)]
        )
    );
    let document = answered(&of(TYPE), &head, &framed(0, b"x"));
    assert_eq!(document["event"]["outcome"], "unknown");
}

#[test]
fn a_call_of_connect_without_streams() {
    let mut asked = of("application/json");
    asked.push(("connect-protocol-version", "1"));
    let head = [(":status", "200"), ("content-type", "application/json")];
    let document = answered(&asked, &head, br#"{"code":"not_found"}"#);
    let none = [&Value::Null; 2];
    // (An answer may look like an error: the status tells.)
    assert_eq!(told(&document), (&Value::Null, "success", &Value::Null, none));
    assert_eq!(document["rpc"]["system"]["name"], "connectrpc");
    let head = [(":status", "404"), ("content-type", "application/json")];
    let document = answered(&asked, &head, br#"{"code":"unimplemented","message":"no"}"#);
    assert_eq!(
        told(&document),
        (
            &json!("unimplemented"),
            "failure",
            &json!({"type": "unimplemented", "message": "no"}),
            none
        )
    );
    // What is no answer of Connect has the status that its client makes of it.
    let document = answered(
        &asked,
        &[(":status", "502"), ("content-type", "text/html")],
        b"<html>",
    );
    assert_eq!(
        document["rpc"]["response"],
        json!({"derived_status_code": "unavailable"})
    );
    // A GET says it in its target.
    let mut seen = Observer::new();
    seen.client(headers(
        1,
        true,
        &get("/s.S/M?encoding=json&message=%7B%7D&connect=v1"),
    ));
    seen.server(headers(1, true, &[(":status", "200")]));
    let document = seen.document();
    assert_eq!(document["rpc"]["method"], "s.S/M");
    assert_eq!(document["event"]["outcome"], "success");
    // And one that does not is none.
    let mut seen = Observer::new();
    seen.client(headers(1, true, &get("/s.S/M?connect=v2")));
    seen.server(headers(1, true, &[(":status", "200")]));
    assert_eq!(seen.document()["rpc"], Value::Null);
}

#[test]
fn what_a_client_makes_of_an_answer_without_a_status_stands_apart() {
    for (status, expected) in [
        ("503", "UNAVAILABLE"),
        ("404", "UNIMPLEMENTED"),
        ("418", "UNKNOWN"),
    ] {
        let document = answered(
            &call("/s.S/M"),
            &[(":status", status), ("content-type", "text/html")],
            b"x",
        );
        assert_eq!(
            document["rpc"]["response"],
            json!({"derived_status_code": expected})
        );
        assert_eq!(document["event"]["outcome"], "failure");
    }
    for (side, code, expected) in [
        (Side::Server, 7_u32, json!("UNAVAILABLE")),
        (Side::Server, 8, json!("CANCELLED")),
        (Side::Server, 11, json!("RESOURCE_EXHAUSTED")),
        (Side::Server, 5, Value::Null),
        // Why it gave up, a client knows better.
        (Side::Client, 8, Value::Null),
    ] {
        let mut seen = Observer::new();
        seen.client(headers(1, true, &call("/s.S/M")));
        seen.data(side, frame(RST_STREAM, 0, 1, &code.to_be_bytes()));
        let document = seen.document();
        assert_eq!(document["rpc"]["response"]["derived_status_code"], expected);
        assert_eq!(document["rpc"]["response"]["status_code"], Value::Null);
        assert_eq!(document["error"]["type"], "stream_reset");
    }
    // One that was named is not derived; of one that may have been missed nothing is.
    let ok = [(":status", "200"), ("content-type", "application/grpc")];
    let document = answered(&call("/s.S/M"), &[&ok[..], &[("grpc-status", "5")]].concat(), b"");
    assert_eq!(document["rpc"]["response"]["derived_status_code"], Value::Null);
    let document = answered(&call("/s.S/M"), &ok, &message(false, b"x"));
    assert_eq!(document["rpc"]["response"]["derived_status_code"], Value::Null);
}

#[test]
fn what_is_cut_of_a_call_says_so() {
    let long = "x".repeat(5000);
    let mut asked = call("/s.S/M");
    asked[0].1 = &long;
    asked[1].1 = &long;
    let path = format!("/{long}/M");
    asked[2].1 = &path;
    let mut seen = Observer::new();
    seen.client(headers(1, true, &asked));
    let trailers = [(":status", "200"), ("grpc-status", "2"), ("grpc-message", &long)];
    seen.server(headers(1, true, &trailers));
    let records = weir_config::Records {
        headers: false,
        ..weir_config::Records::default()
    };
    let document = seen.documents_under(&records).remove(0);
    assert_eq!(document["weir"]["truncated"], true);
    let sizes = &document["weir"]["original_sizes"];
    for (field, size) in [
        ("error.message", 5000),
        ("http.request.method", 5000),
        ("url.scheme", 5000),
        ("rpc.method", 5002),
    ] {
        assert_eq!(sizes[field], size, "{field}: {sizes:#}");
    }
}
