//! Calls of Triple with wrapped arguments.

use crate::support::*;
use serde_json::{Value, json};

/// A field of protobuf that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut field = vec![number << 3 | 2];
    while length >= 128 {
        field.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    field.push(u8::try_from(length).unwrap());
    [field, bytes.to_vec()].concat()
}

pub fn wrapper(values: &[&[u8]], types: &[&str]) -> Vec<u8> {
    let mut message = field(1, b"hessian4");
    values.iter().for_each(|value| message.extend(field(2, value)));
    types
        .iter()
        .for_each(|name| message.extend(field(3, name.as_bytes())));
    message
}

fn exchange(request: &[u8], response: &[u8], trailers: &[(&str, &str)]) -> Value {
    seen(request, response, trailers).document()
}

pub fn seen(request: &[u8], response: &[u8], trailers: &[(&str, &str)]) -> Observer {
    let mut fields = call("/lab.Demo/echo");
    fields.extend([("tri-service-group", "blue"), ("tri-service-version", "2.1.0")]);
    let mut seen = Observer::new();
    seen.client(headers(1, false, &fields));
    for part in message(false, request).chunks(15_000) {
        seen.client(data(1, false, part));
    }
    seen.client(data(1, true, b""));
    let ok = [(":status", "200"), ("content-type", "application/grpc")];
    seen.server(headers(1, false, &ok));
    seen.server(data(1, false, &message(false, response)));
    seen.server(headers(1, true, &[&[("grpc-status", "0")], trailers].concat()));
    seen
}

#[test]
fn arguments_are_unwrapped_and_their_secrets_taken_out() {
    let document = exchange(
        &wrapper(
            &[b"H\x08password\x07hunter2\x02id\x91Z", b"\x02hi"],
            &["java.util.Map", "[Ljava.lang.String;"],
        ),
        &wrapper(&[b"\x93"], &["int"]),
        &[],
    );
    assert_eq!(
        document["dubbo"],
        json!({
            "interface": "lab.Demo", "method": "echo", "group": "blue", "service_version": "2.1.0",
            "parameter_types": ["java.util.Map", "java.lang.String[]"], "serialization": "hessian2",
            "args": [{"password": "<redacted>", "id": 1}, "hi"], "args_text": document["dubbo"]["args_text"],
            "result": 3,
        })
    );
    assert!(!document.to_string().contains("hunter2"), "{document:#}");
}

#[test]
fn what_was_thrown_is_the_error() {
    let thrown = [&b"C\x05lab.X\x91\x0ddetailMessage"[..], b"`\x02no"].concat();
    let document = exchange(
        &wrapper(&[], &[]),
        &wrapper(&[&thrown], &["lab.X"]),
        &[("tri-exception-code", "3")],
    );
    assert_eq!(
        document["dubbo"]["exception"],
        json!({"class": "lab.X", "message": "no"})
    );
    assert_eq!(document["error"], json!({"type": "lab.X", "message": "no"}));
    assert_eq!(document["event"]["outcome"], "failure");
}

#[test]
fn a_generic_call_names_its_method() {
    let request = wrapper(
        &[b"\x04real", b"\x71\x07[string\x03int", b"\x79\x95"],
        &["java.lang.String", "[Ljava.lang.String;", "[Ljava.lang.Object;"],
    );
    let document = exchange(&request, &wrapper(&[b""], &["void"]), &[]);
    let dubbo = &document["dubbo"];
    assert_eq!(
        (&dubbo["method"], &dubbo["generic"]),
        (&json!("real"), &json!(true))
    );
    assert_eq!(
        (&dubbo["parameter_types"], &dubbo["args"]),
        (&json!(["int"]), &json!([5]))
    );
    assert_eq!(dubbo["result"], Value::Null);
    assert_eq!(document["rpc"]["method"], "lab.Demo/echo");
}

#[test]
fn messages_of_protobuf_are_left_alone() {
    let document = exchange(&field(1, b"somebody"), b"\x08\x01", &[]);
    assert_eq!(document["dubbo"], Value::Null);
    assert_eq!(anomalies(&document), [""; 0]);
}

#[test]
fn a_broken_or_long_argument_is_said_to_be() {
    let document = exchange(&wrapper(&[b"H\x01a"], &["java.util.Map"]), b"", &[]);
    assert_eq!(
        anomalies(&document),
        ["malformed_request: an argument ends too early"]
    );
    let long = [
        &b"B\xff\xff"[..],
        &[7; 65535],
        b"B\xff\xff",
        &[7; 65535],
        b"B\xff\xff",
        &[7; 65535],
        b"\x20",
    ]
    .concat();
    let long = wrapper(&[&long], &["[B"]);
    let document = exchange(&long, b"", &[]);
    assert_eq!(anomalies(&document), [""; 0]);
    assert_eq!(document["weir"]["truncated"], true);
    assert!(
        document["weir"]["original_sizes"]["dubbo.args"]
            .as_u64()
            .is_some(),
        "{document:#}"
    );
    assert_eq!(document["rpc"]["request"]["bytes"], long.len());
}
