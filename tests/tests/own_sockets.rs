//! The sidecar's own connections are never redirected to itself, nor decoded, when it is not known by its user: user 0 with group
//! 1337 and NET_RAW alone, as in a container that may raise no privilege. In every mode, and when the mode changes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};
use weir_lab::{Node, binary};
use weir_tests::{
    peer::{converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, install, wait_for},
};

const PORT: u16 = 8080;
const SINK: u16 = 9200;
/// A query for `weir.test`, type A.
const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04weir\x04test\x00\x00\x01\x00\x01";

fn on_stage(name: &str, case: impl FnOnce(&Stage)) {
    let kind = (Mode::Direct, Direction::Outbound, Family::V4);
    play(name, Weight::Light, kind, case);
}

fn by_setpriv(node: &Node, options: &str) -> Command {
    let mut command = node.command("setpriv");
    command
        .args(options.split(' '))
        .args(["--clear-groups", "--no-new-privs", "--inh-caps", "-all"])
        .arg(binary("weir-sidecar").unwrap());
    command
}

/// Answers each query, for as long as the test runs.
fn resolver(node: &Node, address: SocketAddr) {
    let socket = node.enter(|| UdpSocket::bind(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            query[2] |= 0x80;
            let _ = socket.send_to(&query[..length], client);
        }
    });
}

/// Takes whatever a sink sends, a connection for each request.
fn sink(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || take(stream));
        }
    });
}

fn take(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    stream.read_exact(&mut vec![0; length])?;
    let answer = "{\"errors\":false,\"items\":[]}";
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

/// An application's query, answered.
fn ask(stage: &Stage, resolver: SocketAddr) {
    let answered = stage.pod.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(resolver).unwrap();
        socket.send(QUERY).unwrap();
        socket.recv(&mut [0; 512]).unwrap()
    });
    assert_eq!(answered.unwrap(), QUERY.len());
}

fn descriptors(sidecar: &Sidecar) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", sidecar.process.worker_pid()))
        .unwrap()
        .count()
}

/// A connection and a query of the application's: each is carried once, and nothing of the sidecar's own is.
fn assert_once(stage: &Stage, sidecar: &Sidecar, mode: &str) {
    let before = sidecar.connections(Direction::Outbound);
    let queries = sidecar.metric("weir_dns_queries_total", &[]);
    let listener = listen(&stage.client, stage.server(PORT));
    let (mut client, mut server) = pair(&stage.pod, &listener);
    converse(&client, &server, b"GET /app HTTP/1.1\r\nHost: outside\r\n\r\n");
    converse(&server, &client, b"HTTP/1.1 204 No Content\r\n\r\n");
    let _ = (client.flush(), server.flush());
    ask(stage, stage.server(53));
    let sent = |sidecar: &Sidecar| sidecar.metric("weir_sink_retries_total", &["elasticsearch"]);
    let tried = sent(sidecar);
    // The answer of this server is never the right one: there will be more attempts.
    wait_for("the sink's next attempt", || sent(sidecar) > tried);
    let text = format!("{mode}:\n{}\n{}", sidecar.metrics(), sidecar.process.output());
    assert_eq!(sidecar.connections(Direction::Outbound), before + 1, "{text}");
    assert_eq!(
        sidecar.metric("weir_dns_queries_total", &[]),
        queries + 1,
        "{text}"
    );
    assert_eq!(sidecar.metric("weir_refused_loops_total", &[]), 0, "{text}");
    assert!(descriptors(sidecar) < 200, "{text}");
}

fn assert_every_mode(name: &str, modes: &[&str]) {
    on_stage(name, |stage| {
        let servers = stage.server(53).ip().to_string();
        let dns = ["--dns", "--dns-servers", &servers];
        resolver(&stage.client, stage.server(53));
        sink(listen(&stage.client, stage.server(SINK)));
        let set = |mode: &str| {
            install(&stage.pod, &[&["--mode", mode], &dns[..]].concat()).unwrap();
        };
        set(modes[0]);
        let command = by_setpriv(&stage.pod, "--reuid 0 --regid 1337 --bounding-set -all,+net_raw");
        let elasticsearch = format!("elasticsearch:http://{}", stage.server(SINK));
        let flags = ["--dns-servers", &servers, "--export", &elasticsearch];
        let sidecar = Sidecar::start_by(&stage.pod, command, &flags).unwrap();
        for (turn, mode) in modes.iter().enumerate() {
            if turn > 0 {
                set(mode);
                wait_for("the mode", || sidecar.stats()["mode"] == **mode);
            }
            assert_once(stage, &sidecar, mode);
        }
        wait_for("the documents", || !sidecar.documents().is_empty());
        for document in sidecar.documents().iter().chain(&sidecar.flows()) {
            assert_ne!(document["destination"]["port"], SINK, "{document}");
        }
    });
}

#[test]
fn user_0_with_the_group_is_never_its_own_client_in_mode_ebpf() {
    assert_every_mode(
        "user_0_with_the_group_is_never_its_own_client_in_mode_ebpf",
        &["ebpf"],
    );
}

#[test]
fn user_0_with_the_group_is_never_its_own_client_in_mode_tproxy() {
    assert_every_mode(
        "user_0_with_the_group_is_never_its_own_client_in_mode_tproxy",
        &["tproxy"],
    );
}

#[test]
fn user_0_with_the_group_is_never_its_own_client_when_the_mode_changes() {
    assert_every_mode(
        "user_0_with_the_group_is_never_its_own_client_when_the_mode_changes",
        &["redirect", "ebpf", "tproxy", "redirect"],
    );
}
