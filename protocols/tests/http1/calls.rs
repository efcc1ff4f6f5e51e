//! Calls of gRPC-Web and Connect over HTTP/1: their outcome is the call's, and not that of HTTP.

use crate::support::*;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use weir_protocols::{Close, Side};

fn frame(flag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, content].concat()
}

fn ask(content_type: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /demo.Greeter/Hello HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn answer(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn chunked(content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut wire =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n")
            .into_bytes();
    for chunk in body.chunks(3) {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

/// The document of one exchange, which is the same however the answer is cut.
fn call(request: &[u8], answer: &[u8]) -> Value {
    let whole = one(&[client(request), server(answer)]);
    let mut steps = vec![client(request)];
    steps.extend(answer.chunks(1).map(server));
    let cut = one(&steps);
    for pointer in [
        "/rpc/system",
        "/rpc/response/messages",
        "/rpc/response/status_code",
        "/error",
        "/event/outcome",
    ] {
        assert_eq!(whole.pointer(pointer), cut.pointer(pointer), "{pointer}");
    }
    whole
}

#[track_caller]
fn ended(document: &Value, system: &str, status: Value, outcome: &str, error: Value) {
    assert_eq!(document["rpc"]["system"]["name"], system);
    assert_eq!(document["rpc"]["method"], "demo.Greeter/Hello");
    assert_eq!(document["rpc"]["response"]["status_code"], status);
    assert_eq!(document["event"]["outcome"], outcome);
    assert_eq!(document["error"]["type"], error);
    assert_eq!(document["network"]["protocol"], "http");
}

#[test]
fn the_status_of_grpc_web_is_in_the_body() {
    let asked = frame(0, b"abc");
    let good = [frame(0, b"ok"), frame(0x80, b"grpc-status: 0\r\n")].concat();
    let bad = [
        frame(0, b"ok"),
        frame(0x80, b"grpc-status:14\r\ngrpc-message:try%20later\r\n"),
    ]
    .concat();
    for content_type in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web+json",
    ] {
        let request = ask(content_type, "", &asked);
        for answered in [
            answer("200 OK", content_type, &good),
            chunked(content_type, &good),
        ] {
            let d = call(&request, &answered);
            ended(&d, "grpc", json!("OK"), "success", Value::Null);
            assert_eq!(d["rpc"]["request"]["messages"], 1);
            assert_eq!(d["rpc"]["request"]["bytes"], 3);
            assert_eq!(d["rpc"]["response"]["messages"], 1);
        }
        let d = call(&request, &chunked(content_type, &bad));
        ended(&d, "grpc", json!("UNAVAILABLE"), "failure", json!("UNAVAILABLE"));
        assert_eq!(d["error"]["message"], "try later");
    }
    let text = "application/grpc-web-text+proto";
    let request = ask(text, "", BASE64_STANDARD.encode(&asked).as_bytes());
    let d = call(&request, &chunked(text, BASE64_STANDARD.encode(&bad).as_bytes()));
    ended(&d, "grpc", json!("UNAVAILABLE"), "failure", json!("UNAVAILABLE"));
    assert_eq!(d["rpc"]["request"]["messages"], 1);
}

#[test]
fn or_in_the_head_of_an_answer_without_messages() {
    let request = ask("application/grpc-web+proto", "", &frame(0, b""));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nGrpc-Status: 5\r\nGrpc-Message: gone\r\n\
                Content-Length: 0\r\n\r\n";
    let d = call(&request, head.as_bytes());
    ended(&d, "grpc", json!("NOT_FOUND"), "failure", json!("NOT_FOUND"));
    // gRPC itself, over a proxy: in trailers.
    let trailers = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 7\r\n\r\n";
    let d = call(&ask("application/grpc", "", &frame(0, b"")), trailers.as_bytes());
    ended(
        &d,
        "grpc",
        json!("PERMISSION_DENIED"),
        "failure",
        json!("PERMISSION_DENIED"),
    );
}

#[test]
fn a_status_that_was_not_seen_is_unknown() {
    let kind = "application/grpc-web+proto";
    let request = ask(kind, "", &frame(0, b""));
    let cut = [frame(0, b"ok"), frame(0x80, b"grpc-status: 0\r\n")].concat();
    let d = call(&request, &answer("200 OK", kind, &cut[..12]));
    ended(&d, "grpc", Value::Null, "unknown", Value::Null);
    let d = call(&request, &answer("200 OK", "text/html", b"<html>"));
    ended(&d, "grpc", Value::Null, "unknown", Value::Null);
    let d = call(&request, &answer("503 Unavailable", "text/html", b"<html>"));
    ended(&d, "grpc", Value::Null, "failure", Value::Null);
    // A hole where it was.
    let answered = answer("200 OK", kind, &cut);
    let (before, after) = answered.split_at(answered.len() - 10);
    let d = one(&[
        client(&request),
        server(before),
        Step::Gap(Side::Server, Some(4)),
        server(&after[4..]),
    ]);
    ended(&d, "grpc", Value::Null, "unknown", Value::Null);
    assert_eq!(d["rpc"]["response"], Value::Null);
    // Half an answer is none.
    let d = one(&[
        client(&request),
        server(before),
        Step::Close(Close::Reset(Side::Server)),
    ]);
    assert_eq!(
        (&d["event"]["outcome"], &d["error"]["type"]),
        (&json!("failure"), &json!("connection_reset"))
    );
}

#[test]
fn connect_says_in_json_what_went_wrong() {
    let stream = "application/connect+proto";
    let request = ask(stream, "", &frame(0, b"abc"));
    let good = [frame(0, b"ok"), frame(0, b"ok"), frame(2, b"{}")].concat();
    let d = call(&request, &chunked(stream, &good));
    ended(&d, "connectrpc", Value::Null, "success", Value::Null);
    assert_eq!(d["rpc"]["response"]["messages"], 2);
    let bad = frame(2, br#"{"error":{"code":"not_found","message":"gone"}}"#);
    let d = call(&request, &chunked(stream, &bad));
    ended(
        &d,
        "connectrpc",
        json!("not_found"),
        "failure",
        json!("not_found"),
    );
    assert_eq!(d["error"]["message"], "gone");

    let request = ask("application/json", "Connect-Protocol-Version: 1\r\n", b"{}");
    let d = call(&request, &answer("200 OK", "application/json", b"{}"));
    ended(&d, "connectrpc", Value::Null, "success", Value::Null);
    let error = br#"{"code":"unavailable","message":"later"}"#;
    let d = call(
        &request,
        &answer("503 Service Unavailable", "application/json", error),
    );
    ended(
        &d,
        "connectrpc",
        json!("unavailable"),
        "failure",
        json!("unavailable"),
    );
    // A proxy's page names no code.
    let d = call(&request, &answer("502 Bad Gateway", "text/html", b"<html>"));
    ended(&d, "connectrpc", Value::Null, "failure", Value::Null);
}

#[test]
fn what_is_no_call_has_no_rpc() {
    let d = call(
        &ask("application/json", "", b"{}"),
        &answer("200 OK", "application/json", b"{}"),
    );
    assert_eq!(
        (&d["rpc"], &d["event"]["outcome"]),
        (&Value::Null, &json!("success"))
    );
}
