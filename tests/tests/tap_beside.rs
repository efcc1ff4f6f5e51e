//! A tap beside a relay: what is not redirected is seen, and nothing is seen twice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
};
use tempfile::NamedTempFile;
use weir_lab::{Node, binary, skip_unless_root};
use weir_tests::{
    peer::{again, listen, pair},
    stage::{
        Direction::{Inbound, Outbound},
        Family::V4,
        Mode::{self, Direct, Ebpf, Redirected, Tproxy},
        Stage,
    },
    weir::{LIMIT, Sidecar, install, local, wait_for},
};

const RESOLVER: &str = "198.18.53.53";
const OTHER: &str = "198.18.53.54";

/// What is left alone: a port each way, and all resolvers but one.
const SETTINGS: &str = "
interception:
  exclude_inbound_ports: '8081'
  exclude_outbound_ports: '8081'
  dns: true
  dns_servers: '198.18.53.53'
capture:
  beside: true
decoding:
  protocols: '5300:dns'
";

fn settings(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    // The sidecar reads it as root, before it becomes somebody else.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(file.path(), everybody).unwrap();
    file
}

/// A request and its answer.
fn exchange(mut client: &TcpStream, mut server: &TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    server.write_all(answer).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
}

/// From one node to the other's port, so often on a connection of its own.
fn request(caller: &Node, callee: &Node, server: SocketAddr, path: &str) {
    let listener = listen(callee, server);
    for _ in 0..TIMES {
        let (client, server) = pair(caller, &listener);
        exchange(&client, &server, path);
    }
}

/// How often everything is done: a race that is lost now and then shows.
const TIMES: usize = 20;

fn ask(stage: &Stage, address: &str, port: u16, name: &str) {
    let at = |node: &Node, address: SocketAddr| node.enter(|| UdpSocket::bind(address)).unwrap().unwrap();
    let server = at(&stage.client, format!("{address}:{port}").parse().unwrap());
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    query.extend_from_slice(name.as_bytes());
    query.extend_from_slice(b"\0\0\x01\0\x01");
    let mut buffer = [0; 512];
    for _ in 0..TIMES {
        let client = at(&stage.pod, ([0, 0, 0, 0], 0).into());
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.send_to(&query, server.local_addr().unwrap()).unwrap();
        let (length, peer) = again(|| server.recv_from(&mut buffer)).unwrap();
        buffer[2] |= 0x80;
        server.send_to(&buffer[..length], peer).unwrap();
        again(|| client.recv_from(&mut buffer)).unwrap();
    }
}

/// What was seen, as `source what`, in order.
fn seen(documents: &[Value]) -> Vec<String> {
    let mut all: Vec<_> = documents
        .iter()
        .map(|document| {
            let what = [&document["url"]["path"], &document["dns"]["question"]["name"]];
            let what = what.iter().find_map(|what| what.as_str()).unwrap_or("?");
            format!("{} {what}", document["weir"]["capture"].as_str().unwrap())
        })
        .collect();
    all.sort();
    all
}

fn plays(name: &str, case: impl Fn(&Stage, Mode)) {
    for mode in [Redirected, Tproxy, Ebpf] {
        if skip_unless_root(name) {
            return;
        }
        let stage = Stage::new(Direct, Inbound, V4);
        for address in [RESOLVER, OTHER] {
            stage
                .client
                .ip(&format!("addr add {address}/32 dev eth0"))
                .unwrap();
        }
        case(&stage, mode);
    }
}

#[test]
fn what_is_not_redirected_is_seen_and_nothing_is_seen_twice() {
    plays(
        "what_is_not_redirected_is_seen_and_nothing_is_seen_twice",
        |stage, mode| {
            let file = settings(SETTINGS);
            let flags = [
                "--mode",
                mode.name().unwrap(),
                "--config",
                file.path().to_str().unwrap(),
            ];
            install(&stage.pod, &flags).unwrap();
            let mut sidecar = Sidecar::start(&stage.pod, &flags).unwrap();
            let (client, pod) = (&stage.client, &stage.pod);
            for port in [8080, 8081] {
                request(client, pod, stage.link.b.at(port)[0], &format!("/in/{port}"));
                request(pod, client, stage.link.a.at(port)[0], &format!("/out/{port}"));
            }
            // What the machine says to itself is not redirected.
            request(pod, pod, local(8080), "/itself");
            ask(stage, RESOLVER, 53, "listed");
            ask(stage, OTHER, 53, "other");
            ask(stage, OTHER, 5300, "elsewhere");
            // The sidecar's own endpoints are nobody's.
            sidecar.metrics();

            let mut expected: Vec<_> = [
                "relay /in/8080",
                "relay /out/8080",
                "relay listed",
                "tap /in/8081",
                "tap /itself",
                "tap /out/8081",
                "tap elsewhere",
                // Programs need no list of resolvers.
                if mode == Ebpf { "relay other" } else { "tap other" },
            ]
            .iter()
            .flat_map(|what| std::iter::repeat_n(what.to_string(), TIMES))
            .collect();
            expected.sort();
            wait_for("everything", || sidecar.documents().len() >= expected.len());
            // Nothing more comes once it has ended.
            sidecar.process.terminate(LIMIT).unwrap();
            assert_eq!(seen(&sidecar.documents()), expected, "{}", mode.name().unwrap());
            // Nor are whole connections told of twice.
            let tapped = sidecar.flows();
            let tapped = tapped.iter().filter(|flow| flow["weir"]["capture"] == "tap");
            for flow in tapped.filter(|flow| flow["network"]["transport"] == "tcp") {
                let (port, server) = (&flow["destination"]["port"], &flow["destination"]["ip"]);
                assert!(*port == 8081 || *server == "127.0.0.1", "{flow:#}");
            }
        },
    );
}

#[test]
fn where_only_inbound_traffic_is_redirected_the_dials_are_not_taken_for_calls() {
    plays("where_only_inbound_traffic_is_redirected", |stage, mode| {
        let text = SETTINGS.replace("  dns: true\n", "  include_outbound_cidrs: ''\n");
        let file = settings(&text.replace("  exclude_outbound_ports: '8081'\n", ""));
        let flags = [
            "--mode",
            mode.name().unwrap(),
            "--config",
            file.path().to_str().unwrap(),
        ];
        install(&stage.pod, &flags).unwrap();
        let mut sidecar = Sidecar::start(&stage.pod, &flags).unwrap();
        request(&stage.client, &stage.pod, stage.link.b.at(8080)[0], "/in");
        request(&stage.pod, &stage.client, stage.link.a.at(8080)[0], "/out");
        wait_for("everything", || sidecar.documents().len() >= 2 * TIMES);
        sidecar.process.terminate(LIMIT).unwrap();
        let expected: Vec<_> = ["relay /in", "tap /out"]
            .iter()
            .flat_map(|what| std::iter::repeat_n(what.to_string(), TIMES))
            .collect();
        assert_eq!(seen(&sidecar.documents()), expected, "{}", mode.name().unwrap());
    });
}

#[test]
fn without_the_capability_the_relay_goes_on_and_says_what_is_missing() {
    if skip_unless_root("without_the_capability_the_relay_goes_on_and_says_what_is_missing") {
        return;
    }
    let stage = Stage::new(Direct, Outbound, V4);
    install(&stage.pod, &["--mode", "redirect"]).unwrap();
    let mut command = stage.pod.command("setpriv");
    command.args(["--bounding-set", "-net_raw", "--inh-caps", "-all"]);
    command.arg(binary("weir-sidecar").unwrap());
    let sidecar = Sidecar::start_by(&stage.pod, command, &["--tap-beside"]).unwrap();
    let said = sidecar.process.output();
    for words in [
        "no tap beside the relay, which goes on",
        "give the capability NET_RAW",
    ] {
        assert!(said.contains(words), "{said}");
    }
    request(&stage.pod, &stage.client, stage.link.a.at(8080)[0], "/out");
    wait_for("everything", || sidecar.documents().len() == TIMES);
}
