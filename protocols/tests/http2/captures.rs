//! Captures of real peers, in `../shared/corpus` beside the sources or in the directory that `WEIR_CORPUS` names: what the
//! consumer of `dubbo/dubbo3-triple.pcap` says it called (`.expected.jsonl`).

use crate::pcap::pieces;
use crate::support::*;
use serde_json::{Value, json};
use std::{fs, path::Path, path::PathBuf};
use weir_protocols::{Close, Decoder, Protocol};
use weir_records::Timestamp;

/// The corpus, or why the test is skipped.
fn corpus(test: &str) -> Option<PathBuf> {
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

/// Everything in a capture, seen from its `skip`th piece on.
fn documents(path: &Path, skip: usize) -> Vec<Value> {
    let mut connections: Vec<Observer> = Vec::new();
    for (number, piece) in pieces(path).into_iter().enumerate() {
        while connections.len() <= piece.connection {
            let limits = limits(64);
            connections.push(Observer::of(if skip > 0 {
                Decoder::late(&limits)
            } else {
                Decoder::new(&limits)
            }));
        }
        if number < skip {
            continue;
        }
        let seen = &mut connections[piece.connection];
        seen.now = piece.at;
        let out = &mut |exchange| seen.exchanges.push(exchange);
        seen.decoder
            .data(piece.side, Timestamp(piece.at), &piece.bytes, out);
    }
    let mut documents = Vec::new();
    for mut connection in connections {
        if connection.protocol() == Protocol::Http2 {
            connection.close(Close::Finished);
            documents.extend(connection.documents());
        }
    }
    documents.sort_by_key(|document| document["@timestamp"].to_string());
    documents
}

/// What the consumer called: one line for each document.
fn called(corpus: &Path) -> Vec<Value> {
    let text = fs::read_to_string(corpus.join("dubbo3-triple.expected.jsonl")).unwrap();
    let calls = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    calls
        .flat_map(|call| {
            let times = if call["kind"] == "concurrent3" { 3 } else { 1 };
            vec![call; times]
        })
        .collect()
}

#[test]
fn calls_of_triple_are_those_that_the_consumer_made() {
    let Some(corpus) = corpus("calls_of_triple_are_those_that_the_consumer_made") else {
        return;
    };
    let documents = documents(&corpus.join("dubbo3-triple.pcap"), 0);
    let called = called(&corpus);
    assert_eq!(documents.len(), called.len());
    for (document, call) in documents.iter().zip(&called) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let wire = text(&call["wire"]["method"]);
        let kind = text(&call["kind"]);
        assert_eq!(
            document["rpc"]["method"],
            format!("{}/{wire}", text(&call["service"])),
            "{call}"
        );
        assert_eq!(document["rpc"]["system"]["name"], "grpc");
        let headers = &document["http"]["request"]["headers"];
        for (name, value) in [("tri-service-group", "group"), ("tri-service-version", "version")] {
            assert_eq!(headers[name][0], call[value], "{call}");
        }
        for (name, value) in call["attachments"].as_object().unwrap() {
            let plain = value.as_str().unwrap().is_ascii();
            assert!(!plain || headers[name][0] == *value, "{name}: {document:#}");
        }
        let not_found = kind == "service-not-found";
        let status = if not_found { "UNIMPLEMENTED" } else { "OK" };
        assert_eq!(document["rpc"]["response"]["status_code"], status);
        assert_eq!(
            document["http"]["response"]["status_code"],
            if not_found { 404 } else { 200 }
        );
        // (The provider also says of the call that its consumer gave up that it took too long.)
        let failed = call["exception"] != Value::Null;
        let outcome = if failed { "failure" } else { "success" };
        assert_eq!(document["event"]["outcome"], outcome, "{call} {document:#}");
        let answers = match call["result"].as_array() {
            Some(results) if kind.contains("stream") => results.len(),
            _ => usize::from(!not_found),
        };
        assert_eq!(document["rpc"]["response"]["messages"], answers, "{call}");
        let asked = if kind.contains("bi-stream") { 2 } else { 1 };
        assert_eq!(document["rpc"]["request"]["messages"], asked, "{call}");
        assert_eq!(anomalies(document), [""; 0]);
        let defined_in_java = text(&call["service"]).starts_with("lab.api");
        if !defined_in_java || kind.contains("stream") {
            continue;
        }
        let dubbo = &document["dubbo"];
        let (interface, method) = (&dubbo["interface"], &dubbo["method"]);
        assert_eq!((interface, method), (&call["service"], &call["method"]));
        assert_eq!(
            (&dubbo["group"], &dubbo["service_version"]),
            (&call["group"], &call["version"])
        );
        assert_eq!(dubbo["serialization"], "hessian2");
        assert_eq!(dubbo["generic"] == true, wire == "$invoke");
        let types = dubbo.get("parameter_types").cloned().unwrap_or(json!([]));
        assert_eq!(types, call["paramTypes"], "{document:#}");
        if kind == "concurrent3" {
            continue;
        }
        // How values of every kind are written is tested with Dubbo 2; here, that they arrive.
        if let [Value::String(argument)] = &call["args"].as_array().unwrap()[..] {
            assert_eq!(dubbo["args"], json!([argument]));
        }
        if let Value::String(result) = &call["result"] {
            assert_eq!(dubbo["result"], **result, "{call}");
        }
        if failed && !not_found && kind != "timeout" && !kind.starts_with("generic") {
            assert_eq!(dubbo["exception"], call["exception"]);
            assert_eq!(document["error"]["type"], call["exception"]["class"]);
        }
    }
}

#[test]
fn a_capture_that_begins_late_says_so_and_invents_nothing() {
    let Some(corpus) = corpus("a_capture_that_begins_late_says_so_and_invents_nothing") else {
        return;
    };
    let called = called(&corpus);
    let known: Vec<String> = called
        .iter()
        .map(|call| format!("{}/{}", call["service"], call["wire"]["method"]).replace('"', ""))
        .collect();
    for skip in [20, 51, 102] {
        let documents = documents(&corpus.join("dubbo3-triple.pcap"), skip);
        assert!(documents.len() > 20, "{}", documents.len());
        let mut named = 0;
        for document in &documents {
            assert_eq!(document["weir"]["late_join"], true);
            let rpc = document["rpc"]["method"].as_str();
            let path = document["url"]["path"].as_str().map(|path| &path[1..]);
            for method in rpc.iter().chain(&path) {
                assert!(known.iter().any(|known| known == method), "{method}");
            }
            named += usize::from(path.is_some());
        }
        // A method's path is only unknown where it stands in the part of the table that was not seen.
        assert!(named * 2 > documents.len(), "{named} of {}", documents.len());
    }
}
