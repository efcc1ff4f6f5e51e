//! WebSockets through Weir, with a real client and a real server (Python's `websockets`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use weir_tests::stage::{
    Direction::{Inbound, Outbound},
    Family::{V4, V6},
    Mode::{Ebpf, Redirected},
    Stage, Weight, play,
};
use weir_tests::weir::{LIMIT, wait_for};

const PORT: u16 = 8765;
/// Bytes of the three messages.
const BYTES: u64 = 5 + 70_000 + 5;

/// Python with websockets: `scripts/setup test` installs it in `.cache/websockets`; `WEIR_WEBSOCKETS_PYTHON` names another.
fn python(test: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/websockets/bin/python");
    let python = std::env::var_os("WEIR_WEBSOCKETS_PYTHON").map_or(own, PathBuf::from);
    if python.exists() {
        return Some(python);
    }
    eprintln!(
        "SKIPPED {test}: there is no {} (scripts/setup test)",
        python.display()
    );
    None
}

/// The documents of this kind, once there are so many, in the order in which they began.
fn documents(stage: &Stage, dataset: &str, count: usize) -> Vec<Value> {
    let sidecar = stage.sidecar.as_ref().unwrap();
    let seen = || -> Vec<Value> {
        let all = sidecar.documents().into_iter();
        all.filter(|document| document["event"]["dataset"] == dataset)
            .collect()
    };
    wait_for(&format!("{count} documents"), || seen().len() >= count);
    let mut seen = seen();
    assert_eq!(seen.len(), count);
    seen.sort_by_key(|document| document["@timestamp"].to_string());
    seen
}

fn case(stage: &Stage, python: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/websocket/peer.py");
    let address = stage.server(PORT);
    let peer = |node: &weir_lab::Node, what: &str| {
        let mut command = node.command(python);
        command.arg(&script).arg(what);
        command.args([address.ip().to_string(), PORT.to_string()]);
        command
    };
    let mut server = stage.callee().spawn(peer(stage.callee(), "serve")).unwrap();
    server.wait_ready(address, LIMIT).unwrap();
    let cases = ["plain", "deflate", "fail", "gone"];
    for case in cases {
        let mut client = peer(stage.caller(), "call");
        client.arg(case);
        let said = stage.caller().run(client).unwrap();
        let expected = if case == "gone" {
            ""
        } else {
            "all answers are right"
        };
        assert_eq!(said.trim(), expected, "{case}");
    }
    let seen = documents(stage, "weir.websocket", cases.len());
    let handshakes = documents(stage, "weir.http", cases.len());
    for ((document, handshake), case) in seen.iter().zip(&handshakes).zip(cases) {
        assert_eq!(handshake["http"]["response"]["status_code"], 101);
        assert_eq!(document["weir"]["flow_id"], handshake["weir"]["flow_id"]);
        assert_eq!(document["url"], handshake["url"]);
        assert_eq!(document["url"]["path"], "/room");
        assert!(!document.to_string().contains("c2VjcmV0"), "{document:#}");
        assert_eq!(document["weir"]["anomalies"], json!(null), "{document:#}");
        check(document, case);
    }
}

fn check(document: &Value, case: &str) {
    let websocket = &document["websocket"];
    assert_eq!(websocket["subprotocol"], "lab.v1");
    let asked = if case == "fail" { 4 } else { 3 };
    for (side, messages, text, extra) in [("client", asked, asked - 1, asked == 4), ("server", 3, 2, false)] {
        let sent = &websocket[side];
        assert_eq!(sent["messages"], messages, "{case}: {document:#}");
        assert_eq!(sent["text_messages"], text);
        assert_eq!(sent["binary_messages"], 1);
        assert!(sent["first_message"].as_str() < sent["last_message"].as_str());
        let bytes = sent["bytes"].as_u64().unwrap();
        if case == "deflate" {
            assert_eq!(sent["compressed_messages"], messages);
            assert!((1..1000).contains(&bytes), "{bytes}");
        } else {
            assert_eq!(sent["compressed_messages"], json!(null));
            assert_eq!(bytes, BYTES + if extra { 4 } else { 0 });
            assert_eq!(sent["largest_message"], 70_000);
        }
    }
    assert_eq!(
        (&websocket["client"]["pings"], &websocket["server"]["pongs"]),
        (&json!(1), &json!(1))
    );
    let extension = websocket["extensions"][0].as_str().unwrap_or_default();
    assert_eq!(extension.starts_with("permessage-deflate"), case == "deflate");
    let (close, outcome) = match case {
        "fail" => (
            json!({"by": "server", "code": 1011, "reason": "out of order"}),
            "failure",
        ),
        "gone" => (json!(null), "failure"),
        _ => (json!({"by": "client", "code": 1000, "reason": "done"}), "success"),
    };
    assert_eq!(websocket["close"], close);
    assert_eq!(document["event"]["outcome"], outcome, "{document:#}");
}

#[test]
fn connections_are_counted_message_by_message() {
    let name = "connections_are_counted_message_by_message";
    let Some(python) = python(name) else { return };
    for combination in [
        (Redirected, Inbound, V4),
        (Redirected, Outbound, V6),
        (Ebpf, Inbound, V6),
        (Ebpf, Outbound, V4),
    ] {
        play(name, Weight::Light, combination, |stage| case(stage, &python));
    }
}
