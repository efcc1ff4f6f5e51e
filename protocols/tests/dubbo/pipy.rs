//! Calls in layout `pipy`.

use crate::captures::{corpus, seen};
use crate::support::*;
use serde_json::{Value, json};
use std::fs;
use weir_config::Records;
use weir_protocols::Exchange;
use weir_records::{Policy, pipy};

/// An exchange in that layout, if it has a place there.
fn laid_out(exchange: &Exchange, records: &Records) -> Option<String> {
    let document = exchange.document(&flow(), &Policy::new(records));
    let shape = pipy::shape(&document)?;
    assert_eq!(shape.index().name(), "dubbo");
    Some(serde_json::to_string(&shape).unwrap())
}

/// The only exchange.
fn one(seen: &Observer) -> Option<Value> {
    let [exchange] = &seen.exchanges[..] else {
        panic!("{}", seen.exchanges.len())
    };
    let text = laid_out(exchange, &Records::default())?;
    Some(serde_json::from_str(&text).unwrap())
}

fn raw(shape: &Value) -> Value {
    serde_json::from_str(shape["raw"].as_str().unwrap()).unwrap()
}

/// A call with these arguments, answered by this body.
fn called(descriptor: &str, args: &[u8], answer: &[u8]) -> Value {
    let mut seen = Observer::new();
    let attachments = [("group", "blue"), ("token", "t0p")];
    let asked = body("m", descriptor, args, &attachments);
    seen.client(frame(REQUEST | TWO_WAY | HESSIAN2, 0, 7, &asked));
    seen.server(frame(HESSIAN2, 20, 7, answer));
    one(&seen).unwrap()
}

#[test]
fn a_call_is_told_field_by_field() {
    let mut seen = Observer::new();
    seen.client(request(-5, "hello"));
    seen.server(response(-5, "hello back"));
    assert_eq!(
        laid_out(&seen.exchanges[0], &Records::default()).unwrap(),
        concat!(
            r#"{"time":1,"dubboVer":"2.0.2","interface":"lab.Demo","ver":"1.0.0","method":"echo","args":["hello"],"#,
            r#""raw":"[\"2.0.2\",\"lab.Demo\",\"1.0.0\",\"echo\",\"Ljava/lang/String;\",\"hello\",{\"group\":\"blue\"}]"}"#
        )
    );
}

#[test]
fn arguments_of_every_type_are_told_without_their_secrets() {
    // An int, a long beyond 2^53, a list of more than 7, an object with a password, null.
    let args = [
        &b"\x97L\x7f\xff\xff\xff\xff\xff\xff\xffX\x98"[..],
        &[0x91; 8],
        b"C",
        &s("x.Login"),
        b"\x92",
        &s("name"),
        &s("password"),
        b"\x60",
        &s("bob"),
        &s("hunter2"),
        b"N",
    ]
    .concat();
    let descriptor = "IJ[ILx/Login;Ljava/lang/Object;";
    let shape = called(descriptor, &args, b"\x92");
    let login = r#"{"@type":"x.Login","name":"bob","password":"<redacted>"}"#;
    assert_eq!(
        shape["args"],
        json!([7, i64::MAX, "[1,1,1,1,1,1,1,1]", login, null])
    );
    assert_eq!(
        raw(&shape),
        json!([
            "2.0.2", "lab.Demo", "1.0.0", "m", descriptor, 7, i64::MAX, [1, 1, 1, 1, 1, 1, 1, 1],
            {"@type": "x.Login", "name": "bob", "password": "<redacted>"}, null,
            {"group": "blue", "token": "<redacted>"}
        ])
    );
    let text = shape.to_string();
    assert!(!text.contains("hunter2") && !text.contains("t0p"), "{text}");
}

#[test]
fn how_a_call_ended_is_no_part_of_it() {
    let thrown = [
        &b"\x90C"[..],
        &s("x.Broken"),
        b"\x91",
        &s("detailMessage"),
        b"\x60",
        &s("no"),
    ]
    .concat();
    let args = s("a");
    let descriptor = "Ljava/lang/String;";
    assert_eq!(
        called(descriptor, &args, &thrown),
        called(descriptor, &args, b"\x92")
    );
}

#[test]
fn a_generic_call_is_that_of_its_method() {
    let args = [
        s("greet"),
        b"\x71\x07[string".to_vec(),
        s("int"),
        b"\x71\x07[object\x97".to_vec(),
    ]
    .concat();
    let generic = "Ljava/lang/String;[Ljava/lang/String;[Ljava/lang/Object;";
    let mut seen = Observer::new();
    seen.client(frame(
        REQUEST | TWO_WAY | HESSIAN2,
        0,
        7,
        &body("$invoke", generic, &args, &[]),
    ));
    seen.server(frame(HESSIAN2, 20, 7, b"\x92"));
    let shape = one(&seen).unwrap();
    assert_eq!((&shape["method"], &shape["args"]), (&json!("greet"), &json!([7])));
    assert_eq!(
        raw(&shape),
        json!(["2.0.2", "lab.Demo", "1.0.0", "greet", "I", 7, {}])
    );
}

#[test]
fn what_names_no_call_has_no_place() {
    // An answer whose request was not seen, and a request in a form that is not read.
    let mut late = Observer::late();
    late.server(response(3, "x"));
    late.end(weir_protocols::Side::Server);
    late.close(weir_protocols::Close::Finished);
    assert_eq!(one(&late), None);
    let mut kryo = Observer::new();
    kryo.client(frame(REQUEST | TWO_WAY | 8, 0, 1, b"whatever it means"));
    kryo.server(frame(8, 20, 1, b"nobody knows"));
    assert_eq!(one(&kryo), None);
}

#[test]
fn without_arguments_there_is_the_call_alone() {
    let mut seen = Observer::new();
    seen.client(request(1, "hello"));
    seen.server(response(1, "hello back"));
    let settings = Records {
        arguments: false,
        ..Records::default()
    };
    let shape = laid_out(&seen.exchanges[0], &settings).unwrap();
    let shape: Value = serde_json::from_str(&shape).unwrap();
    assert_eq!(shape["args"], json!([]));
    let called = json!(["2.0.2", "lab.Demo", "1.0.0", "echo", "Ljava/lang/String;", {}]);
    assert_eq!(raw(&shape), called);
}

#[test]
fn raw_is_what_another_decoder_reads() {
    let Some(corpus) = corpus("raw_is_what_another_decoder_reads") else {
        return;
    };
    let mut compared = 0;
    for name in [
        "dubbo26_nodejs_java",
        "dubbo26_python_java",
        "dubbo2_npm_loopback",
    ] {
        let wide = crate::captures::wide();
        let exchanges = seen(&corpus.join(name).with_extension("pcap"))
            .into_iter()
            .flat_map(|(_, connection)| connection.exchanges);
        let mut found: Vec<_> = exchanges
            .map(|exchange| {
                let shape = laid_out(&exchange, &wide).unwrap();
                crate::captures::plain(&raw(&serde_json::from_str(&shape).unwrap()))
            })
            .map(|call| call.to_string())
            .collect();
        let frames = fs::read_to_string(corpus.join(format!("{name}.frames.jsonl"))).unwrap();
        let mut expected = Vec::new();
        for line in frames.lines() {
            let frame: Value = serde_json::from_str(line).unwrap();
            if frame["event"] == true || frame["request"] == false {
                continue;
            }
            let head = ["dubbo", "path", "version", "method", "desc"].map(|part| frame[part].clone());
            let args = frame["args"].as_array().unwrap().iter().cloned();
            let call: Vec<_> = head
                .into_iter()
                .chain(args)
                .chain([frame["attachments"].clone()])
                .collect();
            expected.push(Value::from(call).to_string());
        }
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
        compared += found.len();
    }
    assert!(compared > 15, "{compared}");
}
