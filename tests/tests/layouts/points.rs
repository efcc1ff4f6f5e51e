//! Points of DataKit, read by a parser that is not ours, of requests and queries that a sidecar has carried.

use crate::made::get;
use influxdb_line_protocol::{FieldValue, ParsedLine, parse_lines};
use serde_json::Value;
use std::{collections::BTreeMap, net::SocketAddr, path::Path};
use weir_lab::{Lab, Node, skip_unless_root};
use weir_tests::{
    peer::{converse, listen, pair},
    weir::{LIMIT, Sidecar, install, wait_for},
};

/// What points say in all: documents, bytes that the observed side read, and wrote.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    count: i64,
    read: i64,
    written: i64,
}

impl Sums {
    fn add(&mut self, count: i64, read: usize, written: usize) {
        self.count += count;
        self.read += i64::try_from(read).unwrap();
        self.written += i64::try_from(written).unwrap();
    }
}

/// Direction and path, or response code.
type Key = (String, String);

fn key(direction: &str, what: impl ToString) -> Key {
    (direction.to_owned(), what.to_string())
}

fn tag(line: &ParsedLine<'_>, name: &str) -> String {
    line.tag_value(name).map(ToString::to_string).unwrap_or_default()
}

fn number(line: &ParsedLine<'_>, name: &str) -> i64 {
    match line.field_value(name) {
        Some(FieldValue::I64(number)) => *number,
        other => panic!("{name} is {other:?} in {line}"),
    }
}

/// The sums of requests, of queries, and of connections.
fn read(path: &Path) -> [BTreeMap<Key, Sums>; 3] {
    let text = std::fs::read_to_string(path).unwrap();
    let [mut requests, mut queries, mut connections] = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
    for line in parse_lines(&text) {
        let line = line.unwrap();
        let direction = tag(&line, "direction");
        assert_eq!(tag(&line, "source"), line.series.measurement.as_str());
        assert!(line.timestamp.is_some(), "{line}");
        match line.series.measurement.as_str() {
            "httpflow" => {
                let path = line.field_value("path").unwrap().to_string();
                let sums: &mut Sums = requests.entry((direction, path)).or_default();
                sums.count += number(&line, "count");
                sums.read += number(&line, "bytes_read");
                sums.written += number(&line, "bytes_written");
                assert!(number(&line, "latency") > 0, "{line}");
                assert_eq!(number(&line, "status_code"), 200);
            }
            "dnsflow" => {
                let rcode = number(&line, "rcode").to_string();
                let sums: &mut Sums = queries.entry((direction, rcode)).or_default();
                sums.count += number(&line, "count");
                assert!(number(&line, "latency_max") >= number(&line, "latency"));
            }
            "netflow" => {
                let sums: &mut Sums = connections
                    .entry((direction, tag(&line, "server_port")))
                    .or_default();
                sums.count += number(&line, "tcp_closed");
                sums.read += number(&line, "bytes_read");
                sums.written += number(&line, "bytes_written");
            }
            other => panic!("{other}"),
        }
    }
    [requests, queries, connections]
}

/// Adds what documents say of connections.
fn add_flows(sums: &mut BTreeMap<Key, Sums>, documents: &[Value]) {
    for document in documents {
        let bytes = |side: &str| usize::try_from(document[side]["bytes"].as_u64().unwrap()).unwrap();
        let (client, server) = (bytes("source"), bytes("destination"));
        let closed = matches!(
            document["weir"]["flow"]["end"].as_str(),
            Some("finished" | "reset")
        );
        let (direction, read, written) = match document["network"]["direction"].as_str().unwrap() {
            "ingress" => ("incoming", client, server),
            _ => ("outgoing", server, client),
        };
        let key = key(direction, &document["destination"]["port"]);
        sums.entry(key).or_default().add(i64::from(closed), read, written);
    }
}

/// A query for `shop.test` over TCP, and the answer that there is no such name.
fn query(id: u8) -> [Vec<u8>; 2] {
    let message = |flags: [u8; 2]| {
        let header = [0, id, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0];
        let message = [&header[..], b"\x04shop\x04test\x00\x00\x01\x00\x01"].concat();
        [&[0, message.len() as u8][..], &message].concat()
    };
    [message([1, 0]), message([0x81, 0x83])]
}

/// These exchanges on one connection.
fn talk(caller: &Node, callee: &Node, address: SocketAddr, exchanges: &[[Vec<u8>; 2]]) {
    let listener = listen(callee, address);
    let (client, server) = pair(caller, &listener);
    for [asked, answered] in exchanges {
        converse(&client, &server, asked);
        converse(&server, &client, answered);
    }
}

#[test]
fn points_add_up_to_what_was_sent_also_over_a_restart() {
    if skip_unless_root("points_add_up_to_what_was_sent_also_over_a_restart") {
        return;
    }
    let mut lab = Lab::new("points").unwrap();
    let (outside, pod) = (lab.node("outside").unwrap(), lab.node("pod").unwrap());
    let link = lab.join(&outside, &pod).unwrap();
    let directory = tempfile::tempdir().unwrap();
    // The sidecar is not root for long.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let path = directory.path().join("points");
    install(&pod, &[]).unwrap();
    let export = format!("lines+datakit:{}", path.display());

    let [mut requests, mut queries, mut connections] = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
    for round in 1..3_i32 {
        let mut sidecar = Sidecar::start(&pod, &["--export", &export]).unwrap();
        for family in 0..2 {
            let (inside, beyond) = (link.b.at(8080)[family], link.a.at(9090)[family]);
            let served: Vec<_> = [7, 8, 7, 7].map(get).into();
            talk(&outside, &pod, inside, &served);
            let called: Vec<_> = (0..5 * round).map(|_| get(9)).collect();
            talk(&pod, &outside, beyond, &called);
            talk(&pod, &outside, link.a.at(53)[family], &[query(1), query(2)]);

            for (number, count) in [(7, 3), (8, 1)] {
                let [asked, answered] = get(number);
                let sums: &mut Sums = requests
                    .entry(key("incoming", format!("/items/{number}")))
                    .or_default();
                sums.add(count, 0, 0);
                (0..count).for_each(|_| sums.add(0, asked.len(), answered.len()));
            }
            let sums = requests.entry(key("outgoing", "/items/9")).or_default();
            for [asked, answered] in &called {
                sums.add(1, answered.len(), asked.len());
            }
            let sums: &mut Sums = queries.entry(key("outgoing", 3)).or_default();
            sums.add(2, 0, 0);
        }
        let all = 2 * (4 + 5 * usize::try_from(round).unwrap() + 2);
        wait_for("every exchange has its document", || {
            sidecar.documents().len() == all
        });
        let label = ["layout=\"datakit\""];
        assert_eq!(sidecar.metric("weir_sink_left_out_documents_total", &label), 0);
        sidecar.assert_well();
        // What is open is written at the end.
        assert!(sidecar.process.terminate(LIMIT).unwrap().success());
        add_flows(&mut connections, &sidecar.flows());
        let [of_requests, of_queries, of_connections] = read(&path);
        assert_eq!(
            (&of_requests, &of_queries),
            (&requests, &queries),
            "round {round}"
        );
        assert_eq!(of_connections, connections, "round {round}");
        for (direction, port) in [("incoming", 8080), ("outgoing", 9090)] {
            let mut all = Sums {
                count: 2 * i64::from(round),
                ..Sums::default()
            };
            for (_, sums) in requests.iter().filter(|((way, _), _)| way == direction) {
                (all.read, all.written) = (all.read + sums.read, all.written + sums.written);
            }
            assert_eq!(of_connections[&key(direction, port)], all, "round {round}");
        }
    }
}
