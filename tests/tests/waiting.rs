//! Requests that hang are told while they hang, by the relay, a tap and a capture alike; and what a destination does that
//! resets at once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../bench/benches/decode/conversations.rs"]
mod conversations;

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};
use weir_lab::{Node, Process, binary, skip_unless_root};
use weir_tests::{
    peer::{assert_reset, connect, listen, pair, reset},
    stage::{Direction, Family, Mode, Stage},
    weir::{LIMIT, Sidecar, install, wait_for},
};

const PORT: u16 = 8080;
/// The protocols whose requests hang here.
const HANGING: [&str; 4] = ["HTTP-1", "HTTP-2", "gRPC", "Dubbo"];
const HUNG_AFTER: (&str, u64) = ("1s", 1_000_000_000);

fn tell(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).unwrap();
}

/// A stage with a sidecar that soon says of a request that it hangs.
fn stage() -> Stage {
    let mut stage = Stage::new(Mode::Direct, Direction::Inbound, Family::V4);
    install(&stage.pod, &["--mode", "redirect"]).unwrap();
    let flags = ["--mode", "redirect", "--hung-after", HUNG_AFTER.0];
    stage.sidecar = Some(Sidecar::start(&stage.pod, &flags).unwrap());
    stage
}

/// `weir` with this command line, at the caller, which writes documents to a file.
fn weir(node: &Node, line: &str, file: &Path) -> Process {
    let mut command = node.command("sh");
    command
        .args(["-c", &format!(r#"exec "$0" {line} >"$1""#)])
        .arg(binary("weir").unwrap())
        .arg(file)
        .env("WEIR_HUNG_AFTER", HUNG_AFTER.0);
    node.spawn(command).unwrap()
}

fn documents(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn is_waiting(document: &Value) -> bool {
    document["weir"]["state"] == "waiting"
}

/// The documents that told of waiting requests, each with the last one of its request.
fn pairs<'a>(documents: &'a [Value]) -> Vec<(&'a Value, &'a Value)> {
    let waiting = documents.iter().filter(|document| is_waiting(document));
    let pair = |waiting: &'a Value| {
        let last = |document: &&Value| document["event"]["id"] == waiting["weir"]["final_id"];
        Some((waiting, documents.iter().find(last)?))
    };
    waiting.filter_map(pair).collect()
}

/// What a source says of each request, by its client's port: while it waited, and at its end.
fn told(documents: &[Value]) -> BTreeMap<u64, [Value; 2]> {
    let essence = |document: &Value| {
        json!([
            document["event"]["dataset"],
            document["event"]["outcome"],
            document["url"]["original"],
            document["rpc"]["method"],
            document["http"]["response"]["status_code"],
            document["error"]["type"],
        ])
    };
    let told = pairs(documents).into_iter().map(|(waiting, last)| {
        assert_eq!(waiting["event"]["duration"], HUNG_AFTER.1, "{waiting:#}");
        assert!(
            last["event"]["duration"].as_u64().unwrap() > HUNG_AFTER.1,
            "{last:#}"
        );
        (
            waiting["source"]["port"].as_u64().unwrap(),
            [essence(waiting), essence(last)],
        )
    });
    told.collect()
}

#[test]
fn requests_that_hang_are_told_while_they_hang() {
    if skip_unless_root("requests_that_hang_are_told_while_they_hang") {
        return;
    }
    let mut stage = stage();
    let directory = tempfile::tempdir().unwrap();
    let [live, packets, decoded] =
        ["live", "packets.pcap", "decoded"].map(|name| directory.path().join(name));
    let write = format!("tap -i eth0 --format json --write {}", packets.display());
    let mut tap = weir(stage.caller(), &write, &live);
    wait_for("it looks", || tap.output().contains("looking"));
    let listener = listen(stage.callee(), stage.server(PORT));
    let mut open = Vec::new();
    for mut conversation in conversations::all() {
        conversation.number(0);
        if HANGING.contains(&conversation.name) {
            let (client, server) = pair(stage.caller(), &listener);
            tell(&client, &server, &conversation.before[0]);
            tell(&server, &client, &conversation.before[1]);
            tell(&client, &server, &conversation.exchange[0]);
            open.push((client, server, conversation));
        }
    }
    assert_eq!(open.len(), HANGING.len());

    let sidecar = stage.sidecar.as_ref().unwrap();
    for told in [&|| sidecar.documents() as Vec<Value>, &|| documents(&live)] as [&dyn Fn() -> Vec<Value>; 2]
    {
        wait_for("all are told while they hang", || {
            told().iter().filter(|document| is_waiting(document)).count() == HANGING.len()
        });
        assert!(pairs(&told()).is_empty());
        let over = told().iter().filter(|document| !is_waiting(document)).count();
        assert_eq!(
            sidecar.metric("weir_exchanges_total", &[]),
            over as u64,
            "those that hang come again"
        );
    }
    // One of them is answered after all.
    for (place, (client, server, conversation)) in open.into_iter().enumerate() {
        match place {
            0 => tell(&server, &client, &conversation.exchange[1]),
            1 => {
                reset(client);
                assert_reset(&server);
            }
            _ => {
                reset(server);
                assert_reset(&client);
            }
        }
    }
    wait_for("all have ended", || {
        sidecar.documents().len() >= 2 * HANGING.len()
    });
    wait_for("all have ended", || documents(&live).len() >= 2 * HANGING.len());
    tap.terminate(LIMIT).unwrap();
    let relayed = told(&sidecar.documents());
    assert_eq!(relayed.len(), HANGING.len(), "{relayed:#?}");
    assert_eq!(told(&documents(&live)), relayed);
    let mut decode = weir(&stage.client, &format!("decode {}", packets.display()), &decoded);
    decode.wait(LIMIT).unwrap();
    assert_eq!(told(&documents(&decoded)), relayed);
    stage.sidecar.as_mut().unwrap().assert_well();
}

#[test]
fn a_destination_that_resets_at_once_has_reset() {
    const CALLS: usize = 40;
    if skip_unless_root("a_destination_that_resets_at_once_has_reset") {
        return;
    }
    let stage = stage();
    let listener = listen(stage.callee(), stage.server(PORT));
    for _ in 0..CALLS {
        let accepted = std::thread::scope(|scope| {
            scope.spawn(|| reset(listener.accept().unwrap().0));
            connect(stage.caller(), stage.server(PORT))
        });
        if let Ok(client) = accepted {
            assert_reset(&client);
        }
    }
    let sidecar = stage.sidecar.as_ref().unwrap();
    wait_for("all have ended", || sidecar.flows().len() >= CALLS);
    for flow in sidecar.flows() {
        assert_eq!(flow["weir"]["flow"]["end"], "reset", "{flow:#}");
        assert_eq!(flow["weir"]["flow"]["closed_by"], "destination", "{flow:#}");
        assert_eq!(flow["error"]["type"], "connection_reset", "{flow:#}");
    }
    stage.finish();
}
