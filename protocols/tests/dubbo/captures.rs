//! Captures of real peers, in `../shared/corpus` beside the sources or in the directory that `WEIR_CORPUS` names:
//! `dubbo/*.pcap`, and beside each what another decoder reads in its frames (`.frames.jsonl`), or what its consumer says it
//! called (`.expected.jsonl`).

use crate::expected::{self, check};
use crate::pcap::pieces;
use crate::support::*;
use serde_json::{Map, Value, json};
use std::{fs, path::Path, path::PathBuf};
use weir_config::Records;
use weir_protocols::{Close, Protocol};
use weir_records::Timestamp;

/// The corpus, or why the test is skipped.
pub fn corpus(test: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let corpus = std::env::var_os("WEIR_CORPUS")
        .map_or(beside, PathBuf::from)
        .join("dubbo");
    if corpus.is_dir() {
        return Some(corpus);
    }
    eprintln!("SKIPPED {test}: there is no {}", corpus.display());
    None
}

/// The connections in a capture, each with its client's port.
pub fn seen(path: &Path) -> Vec<(u16, Observer)> {
    let mut connections: Vec<(u16, Observer)> = Vec::new();
    for piece in pieces(path) {
        while connections.len() <= piece.connection {
            connections.push((piece.client, Observer::new()));
        }
        let (_, seen) = &mut connections[piece.connection];
        seen.now = piece.at;
        let out = &mut |exchange| seen.exchanges.push(exchange);
        seen.decoder
            .data(piece.side, Timestamp(piece.at), &piece.bytes, out);
    }
    for (_, connection) in &mut connections {
        assert_eq!(connection.protocol(), Protocol::Dubbo);
        connection.close(Close::Finished);
    }
    connections
}

/// Bounds that nothing in the captures exceeds.
pub fn wide() -> Records {
    Records {
        max_value: 200_000,
        max_header_value: 200_000,
        max_values: 100_000,
        ..Records::default()
    }
}

/// Everything in a capture, with nothing cut.
fn documents(path: &Path) -> Vec<Value> {
    let mut documents = Vec::new();
    for (client, connection) in seen(path) {
        for mut document in connection.documents_under(&wide()) {
            document["source"]["port"] = client.into();
            documents.push(document);
        }
    }
    for document in &documents {
        assert_eq!(anomalies(document), expected::anomalies(document), "{document:#}");
        assert_eq!(document["weir"]["truncated"], Value::Null, "{document:#}");
    }
    documents
}

/// A value in the words of another decoder: no types, long bytes as hexadecimal digits.
pub fn plain(value: &Value) -> Value {
    match value {
        Value::Object(object) if object.contains_key("@ref") => "<ref>".into(),
        Value::Object(object) => {
            let plain = |(key, value): (&String, &Value)| (key.clone(), plain(value));
            object
                .iter()
                .filter(|(key, _)| *key != "@type")
                .map(plain)
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(list) => list.iter().map(plain).collect(),
        other => other.clone(),
    }
}

#[test]
fn frames_mean_what_another_decoder_reads_in_them() {
    let Some(corpus) = corpus("frames_mean_what_another_decoder_reads_in_them") else {
        return;
    };
    let mut compared = 0;
    for name in [
        "dubbo26_nodejs_java",
        "dubbo26_python_java",
        "dubbo2_npm_loopback",
    ] {
        let documents = documents(&corpus.join(name).with_extension("pcap"));
        let frames = fs::read_to_string(corpus.join(format!("{name}.frames.jsonl"))).unwrap();
        let mut events = 0;
        for line in frames.lines() {
            let frame: Value = serde_json::from_str(line).unwrap();
            if frame["event"] == true {
                events += 1;
                continue;
            }
            let client = if frame["request"] == true {
                &frame["src"]
            } else {
                &frame["dst"]
            };
            let of_frame =
                |d: &&Value| d["dubbo"]["request_id"] == frame["id"] && d["source"]["port"] == *client;
            let document = documents
                .iter()
                .find(of_frame)
                .unwrap_or_else(|| panic!("no document for {line}"));
            let dubbo = &document["dubbo"];
            assert_eq!(dubbo["serialization"], "hessian2");
            let length = frame["len"].as_u64().unwrap() + 16;
            compared += 1;
            if frame["request"] == true {
                assert_eq!(document["source"]["bytes"], length, "{line}");
                assert_eq!(dubbo["oneway"] == true, frame["twoway"] == false, "{line}");
                assert_eq!(dubbo["protocol_version"], frame["dubbo"], "{line}");
                assert_eq!(
                    dubbo.get("path").unwrap_or(&dubbo["interface"]),
                    &frame["path"],
                    "{line}"
                );
                assert_eq!(dubbo["service_version"], frame["version"], "{line}");
                assert_eq!(dubbo["method"], frame["method"], "{line}");
                assert_eq!(plain(&dubbo["args"]), frame["args"], "{line}");
                assert_eq!(dubbo["attachments"], frame["attachments"], "{line}");
            } else {
                assert_eq!(document["destination"]["bytes"], length, "{line}");
                assert_eq!(dubbo["status"], frame["status"], "{line}");
                if let Some(value) = frame
                    .get("value")
                    .filter(|_| frame["rtype"] != 0 && frame["rtype"] != 3)
                {
                    assert_eq!(plain(&dubbo["result"]), *value, "{line}");
                }
                let attachments = frame.get("attachments").cloned().unwrap_or_default();
                assert_eq!(
                    dubbo.get("response_attachments").cloned().unwrap_or_default(),
                    attachments,
                    "{line}"
                );
            }
        }
        let counted: u64 = documents
            .iter()
            .filter_map(|d| d["weir"]["dubbo"]["events"].as_u64())
            .sum();
        assert!(counted <= events, "{counted} {events}");
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn single_calls_are_named_as_others_name_them() {
    let Some(corpus) = corpus("single_calls_are_named_as_others_name_them") else {
        return;
    };
    let hessian = &documents(&corpus.join("dubbo_hessian2.pcap"))[0];
    assert_eq!(hessian["rpc"]["method"], "my.demo.service.UserService/login");
    assert_eq!(hessian["dubbo"]["request_id"], 22872);
    assert_eq!(
        (&hessian["source"]["bytes"], &hessian["destination"]["bytes"]),
        (&json!(264), &json!(207))
    );
    assert_eq!(hessian["dubbo"]["status"], 20);
    let traced = &documents(&corpus.join("dubbo-sw8.pcap"))[0];
    assert_eq!(traced["rpc"]["method"], "my.demo.service.ItemService/findItem");
    assert_eq!(traced["dubbo"]["request_id"], 102_499);
    assert_eq!(traced["source"]["bytes"], 481);
    assert_eq!(traced["error"]["type"], "no_response");
    assert!(traced["dubbo"]["attachments"]["sw8"].is_string());
}

#[test]
fn calls_of_java_over_hessian2_mean_what_the_consumer_says() {
    let Some(corpus) = corpus("calls_of_java_over_hessian2_mean_what_the_consumer_says") else {
        return;
    };
    calls(&corpus, "dubbo27-hessian2", "hessian2");
}

#[test]
fn calls_of_java_over_fastjson2_mean_what_the_consumer_says() {
    let Some(corpus) = corpus("calls_of_java_over_fastjson2_mean_what_the_consumer_says") else {
        return;
    };
    calls(&corpus, "dubbo3-fastjson2", "fastjson2");
}

fn calls(corpus: &Path, name: &str, serialization: &str) {
    let documents = documents(&corpus.join(name).with_extension("pcap"));
    let expected = fs::read_to_string(corpus.join(format!("{name}.expected.jsonl"))).unwrap();
    check(&documents, &expected, serialization);
}
