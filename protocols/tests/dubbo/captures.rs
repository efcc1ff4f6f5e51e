//! Captures of real peers, in `../shared/corpus` beside the sources or in the directory that `WEIR_CORPUS` names:
//! `dubbo/*.pcap`, and beside each what another decoder reads in its frames (`.frames.jsonl`), or what its consumer says it
//! called (`.expected.jsonl`).

use crate::pcap::pieces;
use crate::support::*;
use serde_json::{Map, Value, json};
use std::{fs, path::Path, path::PathBuf};
use weir_config::Records;
use weir_protocols::{Close, Protocol};
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

/// Everything in a capture, with nothing cut.
fn documents(path: &Path) -> Vec<Value> {
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
    let wide = Records {
        max_value: 200_000,
        max_values: 100_000,
        ..Records::default()
    };
    let mut documents = Vec::new();
    for (client, mut connection) in connections {
        assert_eq!(connection.protocol(), Protocol::Dubbo);
        connection.close(Close::Finished);
        for mut document in connection.documents_under(&wide) {
            document["source"]["port"] = client.into();
            documents.push(document);
        }
    }
    for document in &documents {
        assert_eq!(anomalies(document), [""; 0], "{document:#}");
        assert_eq!(document["weir"]["truncated"], Value::Null, "{document:#}");
    }
    documents
}

/// A value in the words of another decoder: no types, long bytes as hexadecimal digits.
fn plain(value: &Value) -> Value {
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
    let mut waiting: Vec<&Value> = documents.iter().collect();
    waiting.sort_by_key(|document| document["@timestamp"].to_string());
    let mut compared = 0;
    for line in expected.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let times = if call["kind"] == "concurrent3" { 3 } else { 1 };
        for number in 0..times {
            let of_call = |d: &&Value| {
                d["dubbo"]["method"] == call["method"] && d["dubbo"]["interface"] == call["service"]
            };
            let at = waiting
                .iter()
                .position(of_call)
                .unwrap_or_else(|| panic!("no document for {line}"));
            let document = waiting.remove(at);
            assert_eq!(document["dubbo"]["serialization"], serialization);
            if times == 1 {
                compare(document, &call);
            } else {
                assert_eq!(document["dubbo"]["args"], json!([format!("c{number}")]));
            }
            compared += 1;
        }
    }
    // What is left are the calls back to the consumer.
    assert_eq!(compared, 44);
    assert_eq!(
        summary(&waiting.iter().map(|d| (*d).clone()).collect::<Vec<_>>()).len(),
        2,
        "{waiting:#?}"
    );
    for document in waiting {
        assert_eq!(document["dubbo"]["callback"], true, "{document:#}");
        assert_eq!(document["event"]["outcome"], "success", "{document:#}");
    }
}

fn compare(document: &Value, call: &Value) {
    let dubbo = &document["dubbo"];
    let twoway = call["wire"]["twoWay"] == true;
    assert_eq!(dubbo["oneway"] == true, !twoway, "{call}");
    assert_eq!(
        dubbo["generic"] == true,
        call["wire"]["method"] == "$invoke",
        "{call}"
    );
    assert_eq!(dubbo["group"], call["group"], "{call}");
    if !call["version"].is_null() {
        assert_eq!(dubbo["service_version"], call["version"], "{call}");
    }
    let types = dubbo.get("parameter_types").cloned().unwrap_or(json!([]));
    assert_eq!(types, call["paramTypes"], "{call}");
    if call["kind"] != "callback" {
        same(&dubbo["args"], &call["args"], document);
    }
    for (key, value) in call["attachments"].as_object().unwrap() {
        assert_eq!(&dubbo["attachments"][key], value, "{call}");
    }
    let failed = !call["exception"].is_null() && call["wire"].get("lateResponse").is_none();
    if !failed {
        let outcome = if twoway { "success" } else { "unknown" };
        assert_eq!(document["event"]["outcome"], outcome, "{document:#}");
        if twoway && call["kind"] != "callback" && call["kind"] != "timeout" {
            same(&dubbo["result"], &call["result"], document);
        }
        return;
    }
    assert_eq!(document["event"]["outcome"], "failure", "{document:#}");
    if call["exception"].get("rpcCode").is_some() {
        // The consumer's own exception for a status that is not OK.
        assert!(dubbo["status"] == 70 || dubbo["status"] == 40, "{document:#}");
        assert_ne!(document["rpc"]["response"]["status_code"], "OK");
        assert!(
            document["error"]["message"].as_str().unwrap().len() > 20,
            "{document:#}"
        );
    } else {
        assert_eq!(
            (&dubbo["status"], &document["rpc"]["response"]["status_code"]),
            (&json!(20), &json!("OK"))
        );
        assert_eq!(
            dubbo["exception"]["class"], call["exception"]["class"],
            "{document:#}"
        );
        assert_eq!(document["error"]["type"], call["exception"]["class"]);
        let message = dubbo["exception"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(call["exception"]["message"].as_str().unwrap()),
            "{document:#}"
        );
    }
}

/// Whether a value is what the consumer says of it.
fn same(seen: &Value, said: &Value, document: &Value) {
    let fail = || -> ! { panic!("{seen:#} is not {said:#} in {document:#}") };
    match said {
        Value::Array(items) => {
            let list = seen.as_array().unwrap_or_else(|| fail());
            assert_eq!(list.len(), items.len(), "{seen:#} {said:#}");
            for (seen, said) in list.iter().zip(items) {
                same(seen, said, document);
            }
        }
        Value::Object(object) => {
            let only = object.iter().next().filter(|_| object.len() == 1);
            match only.map(|(key, value)| (key.as_str(), value)) {
                Some(("@bytes", bytes)) => {
                    assert_eq!(seen["size"], bytes["len"], "{seen:#}");
                    let encoded = seen["@binary"].as_str().unwrap().trim_end_matches('=').len() as u64;
                    assert_eq!(encoded * 3 / 4, bytes["len"].as_u64().unwrap(), "{seen:#}");
                }
                Some(("@string", string)) => {
                    let text = seen.as_str().unwrap_or_else(|| fail());
                    assert_eq!(text.len() as u64, string["utf8Len"].as_u64().unwrap());
                    assert_eq!(
                        text.encode_utf16().count() as u64,
                        string["utf16Len"].as_u64().unwrap()
                    );
                    assert!(text.starts_with(string["head"].as_str().unwrap()));
                }
                Some(("@dateMs", milliseconds)) => {
                    let since = humantime(seen.as_str().unwrap_or_else(|| fail()));
                    assert_eq!(since, milliseconds.as_i64().unwrap(), "{seen}");
                }
                Some(("@decimal", digits)) => {
                    assert_eq!(*seen, json!({"@type": "java.math.BigDecimal", "value": digits}));
                }
                Some(("@enum", name)) => {
                    // Fastjson 2 sends the position where the class is known, and no class.
                    let (class, name) = name.as_str().unwrap().rsplit_once('.').unwrap();
                    let seen = seen["@ref"]
                        .as_str()
                        .map_or(seen, |pointer| document.pointer(pointer).unwrap());
                    let hessian = json!({"@type": class, "name": name});
                    let fastjson = json!({"@type": class, "value": name});
                    assert!(
                        *seen == hessian || *seen == fastjson || seen.is_u64(),
                        "{seen} {name}"
                    );
                }
                Some(("@ref", _)) => {
                    let pointer = seen["@ref"].as_str().unwrap_or_else(|| fail());
                    assert!(
                        document.pointer(pointer).is_some_and(Value::is_object),
                        "{pointer} {document:#}"
                    );
                }
                _ => {
                    let found = match seen["@ref"].as_str() {
                        Some(pointer) => document.pointer(pointer).unwrap_or_else(|| fail()),
                        None => seen,
                    };
                    if let (Some(class), Some(told)) = (object.get("@class"), found.get("@type")) {
                        assert_eq!(told, class);
                    }
                    for (key, said) in object.iter().filter(|(key, _)| *key != "@class") {
                        // Fastjson 2 leaves out what is as it is by default.
                        if found.get(key).is_some() || *said != false && *said != 0 {
                            same(&found[key], said, document);
                        }
                    }
                }
            }
        }
        Value::Number(number) if number.is_f64() => {
            assert_eq!(seen.as_f64(), number.as_f64(), "{seen} {said}");
        }
        _ => assert_eq!(seen, said),
    }
}

/// Milliseconds since 1970 of a date of this century or late in the last.
fn humantime(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = |year: i64| i64::from(year % 4 == 0);
    let before: i64 = (1970..year).map(|year| 365 + leap(year)).sum();
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = before + lengths[..usize::try_from(month - 1).unwrap()].iter().sum::<i64>() + day - 1;
    (((days * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23)
}
