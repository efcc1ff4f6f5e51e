//! The same traffic through the relay, in a capture and from a tap gives the same documents: `tcpdump` and `weir tap` listen
//! at the caller while the sidecar carries, and `weir decode` reads what tcpdump wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../bench/benches/decode/conversations.rs"]
mod conversations;

use conversations::Kind;
use serde_json::Value;
use std::{
    collections::BTreeMap,
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
fn endings(stage: &Stage) {
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
}

/// A connection of every protocol, with three exchanges each where there may be several.
fn all_protocols(stage: &Stage) {
    for mut conversation in conversations::all() {
        println!("{} is spoken", conversation.name);
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        let [asked, answered] = &conversation.before;
        tell(&client, &server, asked);
        tell(&server, &client, answered);
        let exchanges = if conversation.kind == Kind::Connection {
            1
        } else {
            3
        };
        for number in 0..exchanges {
            conversation.number(number);
            let [asked, answered] = conversation.exchange.each_ref().map(|bytes| {
                // A message of DNS has its length before it on a connection.
                let datagram = conversation.kind == Kind::Datagrams;
                let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                [&length[..if datagram { 2 } else { 0 }], bytes].concat()
            });
            tell(&client, &server, &asked);
            tell(&server, &client, &answered);
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_end(&server);
        drop(server);
        assert_end(&client);
    }
}

/// Once this has been captured, so has all before it.
fn last(stage: &Stage) {
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    tell(&client, &server, b"GET /last HTTP/1.1\r\n\r\n");
    tell(&server, &client, b"HTTP/1.1 204 No\r\n\r\n");
}

/// Documents of all that, by kind.
const SEEN: [(&str, usize); 5] = [
    ("weir.dns", 3),
    ("weir.dubbo dubbo", 3),
    ("weir.http grpc", 8),
    ("weir.http", 16),
    ("weir.tls", 1),
];

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

/// Looks at a node's interface until it is ended, and writes documents to a file.
fn look(node: &Node, file: &Path) -> Process {
    let mut command = node.command("sh");
    command
        .args(["-c", r#"exec "$0" tap -i eth0 --format json >"$1""#])
        .arg(binary("weir").unwrap())
        .arg(file);
    let process = node.spawn(command).unwrap();
    wait_for("it looks", || process.output().contains("looking"));
    process
}

fn documents(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn decode(node: &Node, file: &Path) -> Vec<Value> {
    let mut command = node.command(binary("weir").unwrap());
    command.arg("decode").arg(file);
    documents(&node.run(command).unwrap())
}

/// What two sources of the same bytes may not differ in: all but time, identity, and how the bytes were seen. The sidecar
/// calls from a port of its own.
fn essence(documents: &[Value], direction: Direction) -> Vec<Value> {
    let mut all = documents.to_vec();
    for document in &mut all {
        document.as_object_mut().unwrap().remove("@timestamp").unwrap();
        for (group, fields) in [
            ("", &["host"][..]),
            ("/event", &["id", "duration", "end"]),
            ("/network", &["direction"]),
            ("/weir", &["capture", "mode", "flow_id", "timing"]),
            ("/rpc/request", &["first_message", "last_message"]),
            ("/rpc/response", &["first_message", "last_message"]),
            (
                "/source",
                match direction {
                    Direction::Inbound => &[],
                    Direction::Outbound => &["port"],
                },
            ),
        ] {
            if let Some(Value::Object(group)) = document.pointer_mut(group) {
                fields.iter().for_each(|field| drop(group.remove(*field)));
            }
        }
    }
    all.sort_by_cached_key(Value::to_string);
    all
}

/// How many documents there are of each kind.
fn kinds(documents: &[Value]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for document in documents {
        let rpc = document["rpc"]["system"]["name"].as_str().unwrap_or_default();
        let kind = format!("{} {rpc}", document["event"]["dataset"].as_str().unwrap());
        *kinds.entry(kind.trim_end().to_owned()).or_default() += 1;
    }
    kinds
}

#[test]
fn relay_capture_and_tap_give_the_same_documents() {
    for (direction, family) in [
        (Direction::Inbound, Family::V4),
        (Direction::Inbound, Family::V6),
        (Direction::Outbound, Family::V4),
        (Direction::Outbound, Family::V6),
    ] {
        if skip_unless_root("relay_capture_and_tap_give_the_same_documents") {
            return;
        }
        let mut stage = Stage::new(Mode::Redirected, direction, family);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("traffic.pcap");
        let mut tcpdump = capture(stage.caller(), &file);
        let live = directory.path().join("live.ndjson");
        let mut tap = look(stage.caller(), &live);
        endings(&stage);
        all_protocols(&stage);
        last(&stage);
        wait_for("all packets in the file", || {
            let answered = |document: &Value| {
                document["url"]["path"] == "/last" && document["http"]["response"]["status_code"] == 204
            };
            decode(&stage.client, &file).iter().any(answered)
        });
        tcpdump.terminate(LIMIT).unwrap();
        let said = tcpdump.output();
        assert!(said.contains("0 packets dropped by kernel"), "{said}");
        tap.terminate(LIMIT).unwrap();
        let said = tap.output();
        assert!(!said.contains("for want of room"), "{said}");
        // It writes all of its documents before it ends.
        let mut sidecar = stage.sidecar.take().unwrap();
        sidecar.assert_well();
        assert!(sidecar.connections(direction) > 0, "nothing was redirected");
        sidecar.process.terminate(LIMIT).unwrap();

        let (relayed, captured) = (sidecar.documents(), decode(&stage.client, &file));
        let seen_live = documents(&std::fs::read_to_string(&live).unwrap());
        let seen = SEEN.map(|(kind, count)| (kind.to_owned(), count));
        assert_eq!(kinds(&relayed), BTreeMap::from(seen), "{direction:?} {family:?}");
        let [one, other, third] =
            [&relayed, &captured, &seen_live].map(|documents| essence(documents, direction));
        assert_eq!((one.len(), one.len()), (other.len(), third.len()));
        for (relayed, (captured, live)) in one.iter().zip(other.iter().zip(&third)) {
            assert_eq!(relayed, captured, "{direction:?} {family:?}");
            assert_eq!(captured, live, "{direction:?} {family:?}");
        }
        let of = |source: &str, documents: &[Value]| documents.iter().all(|d| d["weir"]["capture"] == source);
        assert!(of("relay", &relayed) && of("pcap", &captured) && of("tap", &seen_live));
        assert_eq!(
            decode(&stage.client, &file),
            captured,
            "decoded again, they differ"
        );
    }
}
