//! The same traffic through the relay and in a capture gives the same documents: `tcpdump` listens at the caller while the
//! sidecar carries, and `weir decode` reads what it wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    thread,
};
use weir_lab::{Node, Process, binary, skip_unless_root};
use weir_tests::{
    peer::{assert_end, assert_reset, listen, pair, reset},
    stage::{Direction, Family, Mode, Stage},
    weir::{LIMIT, wait_for},
};

const PORT: u16 = 8080;
/// More than one segment, however large the kernel makes them.
const LARGE: usize = 1 << 20;

/// Bytes one way, of which any number may be on the way at once.
fn tell(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(move || from.write_all(bytes).unwrap());
        let mut got = vec![0; bytes.len()];
        to.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    });
}

/// Connections of every kind of ending, one after the other.
fn traffic(stage: &Stage) {
    let listener = listen(stage.callee(), stage.server(PORT));
    let large = "x".repeat(LARGE);

    // Kept open, then closed by the client.
    let (client, server) = pair(stage.caller(), &listener);
    tell(
        &client,
        &server,
        b"GET /a?token=secret HTTP/1.1\r\nHost: shop.example\r\nCookie: c\r\n\r\n",
    );
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    tell(&server, &client, (head + &large).as_bytes());
    tell(
        &client,
        &server,
        b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for chunk in ["5\r\nhello\r\n", "0\r\n\r\n"] {
        tell(&client, &server, chunk.as_bytes());
    }
    tell(
        &server,
        &client,
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    tell(
        &client,
        &server,
        b"GET /c HTTP/1.1\r\n\r\nHEAD /d HTTP/1.1\r\n\r\n",
    );
    tell(
        &server,
        &client,
        b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    );
    client.shutdown(Shutdown::Write).unwrap();
    assert_end(&server);
    drop(server);
    assert_end(&client);

    // A body until the end, after the client has ended its half.
    let (client, server) = pair(stage.caller(), &listener);
    tell(
        &client,
        &server,
        format!("PUT /e HTTP/1.0\r\nContent-Length: {LARGE}\r\n\r\n{large}").as_bytes(),
    );
    client.shutdown(Shutdown::Write).unwrap();
    assert_end(&server);
    tell(&server, &client, b"HTTP/1.0 200 OK\r\n\r\nuntil the end");
    drop(server);
    assert_end(&client);

    // Reset by the client in the middle of a response, and by the server instead of one.
    let (client, server) = pair(stage.caller(), &listener);
    tell(&client, &server, b"GET /f HTTP/1.1\r\n\r\n");
    tell(
        &server,
        &client,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    );
    reset(client);
    assert_reset(&server);
    let (client, server) = pair(stage.caller(), &listener);
    tell(&client, &server, b"GET /g HTTP/1.1\r\n\r\n");
    reset(server);
    assert_reset(&client);

    // Closed without an answer; and something that is no HTTP.
    let (client, server) = pair(stage.caller(), &listener);
    tell(&client, &server, b"GET /h HTTP/1.1\r\n\r\n");
    drop(server);
    assert_end(&client);
    let (client, server) = pair(stage.caller(), &listener);
    tell(&server, &client, b"220 ready\r\n");
    tell(&client, &server, b"QUIT\r\n");
    drop((client, server));

    // Once this has been captured, so has all before it.
    let (client, server) = pair(stage.caller(), &listener);
    tell(&client, &server, b"GET /last HTTP/1.1\r\n\r\n");
    tell(&server, &client, b"HTTP/1.1 204 No\r\n\r\n");
}

/// Requests of that traffic.
const REQUESTS: usize = 9;

/// Captures at a node's interface until it is ended.
fn capture(node: &Node, file: &Path) -> Process {
    let mut command = node.command("tcpdump");
    command
        .args([
            "-i",
            "eth0",
            "-U",
            "--immediate-mode",
            "-B",
            "32768",
            "-Z",
            "root",
            "-w",
        ])
        .arg(file)
        .arg("tcp");
    let process = node.spawn(command).unwrap();
    wait_for("tcpdump listens", || {
        process.output().contains("listening on eth0")
    });
    process
}

fn decode(node: &Node, file: &Path) -> Vec<Value> {
    let mut command = node.command(binary("weir").unwrap());
    command.arg("decode").arg(file);
    let text = node.run(command).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What two sources of the same bytes may not differ in: all but time, identity, and how the bytes were seen.
fn essence(documents: &[Value]) -> Vec<Value> {
    let mut all = documents.to_vec();
    for document in &mut all {
        let object = document.as_object_mut().unwrap();
        object.remove("@timestamp").unwrap();
        object.remove("host");
        for (group, fields) in [
            ("event", &["id", "duration"][..]),
            ("network", &["direction"]),
            ("weir", &["capture", "mode", "flow_id", "timing"]),
        ] {
            for field in fields {
                object[group].as_object_mut().unwrap().remove(*field);
            }
        }
    }
    all.sort_by_cached_key(|document| document["url"]["original"].to_string());
    all
}

#[test]
fn relay_and_capture_give_the_same_documents() {
    for family in [Family::V4, Family::V6] {
        if skip_unless_root("relay_and_capture_give_the_same_documents") {
            return;
        }
        let stage = Stage::new(Mode::Redirected, Direction::Inbound, family);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("traffic.pcap");
        let mut tcpdump = capture(stage.caller(), &file);
        traffic(&stage);
        let sidecar = stage.sidecar.as_ref().unwrap();
        wait_for("all documents of the relay", || {
            sidecar.documents().len() >= REQUESTS
        });
        wait_for("all packets in the file", || {
            let answered = |document: &Value| {
                document["url"]["path"] == "/last" && document["http"]["response"]["status_code"] == 204
            };
            decode(&stage.client, &file).iter().any(answered)
        });
        tcpdump.terminate(LIMIT).unwrap();
        assert!(
            tcpdump.output().contains("0 packets dropped by kernel"),
            "{}",
            tcpdump.output()
        );

        let (relayed, captured) = (sidecar.documents(), decode(&stage.client, &file));
        assert_eq!(relayed.len(), REQUESTS);
        let paths: Vec<_> = essence(&relayed)
            .iter()
            .map(|d| d["url"]["path"].to_string())
            .collect();
        assert_eq!(paths.concat(), r#""/a""/b""/c""/d""/e""/f""/g""/h""/last""#);
        for (relayed, captured) in essence(&relayed).iter().zip(essence(&captured)) {
            assert_eq!(*relayed, captured);
        }
        assert_eq!(captured.len(), REQUESTS);
        assert!(
            captured
                .iter()
                .all(|document| document["weir"]["capture"] == "pcap")
        );
        assert_eq!(
            decode(&stage.client, &file),
            captured,
            "decoded again, they differ"
        );
        stage.finish();
    }
}
