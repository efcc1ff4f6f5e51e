//! What every mode promises, cell by cell: the same cases for all modes and both families. Where modes differ, the case
//! says what each of them does; ARCHITECTURE.md has the same as a table.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};
use weir_config::{SPARE_V4, SPARE_V6};
use weir_lab::{Link, Node};
use weir_tests::{
    peer::{GUARD, accept, again, assert_end, connect, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, init, install, wait_for},
};

const PORT: u16 = 8080;
const CLOSED: u16 = 8081;
const OTHER: u16 = 8082;

macro_rules! matrix {
    ($($case:ident)*) => {$(
        mod $case {
            use super::*;
            matrix!(@ $case redirect Redirected);
            matrix!(@ $case tproxy Tproxy);
            matrix!(@ $case ebpf Ebpf);
        }
    )*};
    (@ $case:ident $module:ident $mode:ident) => {
        mod $module {
            use super::*;
            #[test]
            fn v4() {
                run(Family::V4);
            }
            #[test]
            fn v6() {
                run(Family::V6);
            }
            fn run(family: Family) {
                let name = concat!("matrix::", stringify!($case), "::", stringify!($module));
                let stage = (Mode::Direct, Direction::Inbound, family);
                play(name, Weight::Light, stage, |stage| super::super::cases::$case(stage, Mode::$mode));
            }
        }
    };
}

matrix! {
    inbound
    outbound
    dns_over_udp_and_tcp
    source_address
    closed_port
    call_to_the_own_address
    connections_from_before
    half_closed_connections_outlive_connection_tracking
    sidecar_killed
    other_settings
    removal
}

/// The address of one end of the stage's link.
fn at(stage: &Stage, end: fn(&Link) -> [SocketAddr; 2]) -> SocketAddr {
    end(&stage.link)[usize::from(stage.family == Family::V6)]
}

fn pod(stage: &Stage) -> SocketAddr {
    at(stage, |link| link.b.at(PORT))
}

fn outside(stage: &Stage) -> SocketAddr {
    at(stage, |link| link.a.at(PORT))
}

fn start(stage: &Stage, mode: Mode, flags: &[&str]) -> Sidecar {
    let flags = [&["--mode", mode.name().unwrap()], flags].concat();
    install(&stage.pod, &flags).unwrap();
    Sidecar::start(&stage.pod, &[]).unwrap()
}

/// A conversation and its end; gives whom the server saw.
fn call(from: &Node, to: &Node, address: SocketAddr) -> (SocketAddr, SocketAddr) {
    let listener = listen(to, address);
    let (there, here) = pair(from, &listener);
    assert_eq!(there.peer_addr().unwrap(), address);
    converse(&there, &here, b"a question");
    converse(&here, &there, b"an answer");
    let ends = (there.local_addr().unwrap(), here.peer_addr().unwrap());
    drop(there);
    assert_end(&here);
    ends
}

fn is_spare(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SPARE_V4.contains(&ip),
        IpAddr::V6(ip) => SPARE_V6.contains(&ip),
    }
}

mod cases {
    use super::*;

    pub fn inbound(stage: &Stage, mode: Mode) {
        let mut sidecar = start(stage, mode, &[]);
        call(&stage.client, &stage.pod, pod(stage));
        assert_eq!(sidecar.connections(Direction::Inbound), 1);
        assert_eq!(sidecar.connections(Direction::Outbound), 0);
        sidecar.assert_well();
    }

    pub fn outbound(stage: &Stage, mode: Mode) {
        let mut sidecar = start(stage, mode, &[]);
        let (client, seen) = call(&stage.pod, &stage.client, outside(stage));
        assert_eq!(seen.ip(), client.ip(), "the pod's own address, in every mode");
        assert_eq!(sidecar.connections(Direction::Inbound), 0);
        assert_eq!(sidecar.connections(Direction::Outbound), 1);
        sidecar.assert_well();
    }

    pub fn dns_over_udp_and_tcp(stage: &Stage, mode: Mode) {
        let resolver = SocketAddr::new(outside(stage).ip(), 53);
        let servers = resolver.ip().to_string();
        let flags = ["--dns", "--dns-servers", &servers];
        install(
            &stage.pod,
            &[&["--mode", mode.name().unwrap()], &flags[..]].concat(),
        )
        .unwrap();
        let sidecar = Sidecar::start(&stage.pod, &flags[1..]).unwrap();
        let question =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04weir\x04test\x00\x00\x01\x00\x01";
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x83]); // NXDOMAIN, with recursion
        let server = stage.client.enter(|| UdpSocket::bind(resolver).unwrap()).unwrap();
        let client = stage
            .pod
            .enter(|| UdpSocket::bind((pod(stage).ip(), 0)).unwrap())
            .unwrap();
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(GUARD)).unwrap();
        }
        client.send_to(question, resolver).unwrap();
        let mut buffer = [0; 512];
        let (length, asker) = again(|| server.recv_from(&mut buffer)).unwrap();
        assert_eq!(buffer[..length], question[..]);
        server.send_to(&answer, asker).unwrap();
        let (length, from) = again(|| client.recv_from(&mut buffer)).unwrap();
        assert_eq!((&buffer[..length], from), (&answer[..], resolver));

        let listener = listen(&stage.client, resolver);
        let (there, here) = pair(&stage.pod, &listener);
        for (mut from, mut to, message) in [(&there, &here, &question[..]), (&here, &there, &answer)] {
            let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
            from.write_all(&framed).unwrap();
            let mut got = vec![0; framed.len()];
            to.read_exact(&mut got).unwrap();
            assert_eq!(got, framed);
        }
        wait_for("both documents", || sidecar.documents().len() == 2);
        // Two threads have written them, in whichever order.
        let documents = sidecar.documents();
        for transport in ["udp", "tcp"] {
            let of = |document: &&serde_json::Value| document["network"]["transport"] == transport;
            let document = documents.iter().find(of).expect(transport);
            assert_eq!(document["dns"]["question"]["name"], "weir.test");
            assert_eq!(document["dns"]["response_code"], "NXDOMAIN");
            assert_eq!(document["destination"]["ip"], servers.as_str());
        }
    }

    pub fn source_address(stage: &Stage, mode: Mode) {
        let _sidecar = start(stage, mode, &[]);
        let (client, seen) = call(&stage.client, &stage.pod, pod(stage));
        match mode {
            Mode::Redirected => assert!(is_spare(seen.ip()), "{seen}"),
            _ => assert_eq!(seen.ip(), client.ip()),
        }
    }

    pub fn closed_port(stage: &Stage, mode: Mode) {
        let sidecar = start(stage, mode, &[]);
        let address = SocketAddr::new(pod(stage).ip(), CLOSED);
        let refused = connect(&stage.client, address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(sidecar.connections(Direction::Inbound), 0);
    }

    pub fn call_to_the_own_address(stage: &Stage, mode: Mode) {
        let mut sidecar = start(stage, mode, &[]);
        let (_, seen) = call(&stage.pod, &stage.pod, pod(stage));
        assert!(!seen.ip().is_loopback());
        // It does not leave the pod, so nothing is redirected.
        for direction in [Direction::Inbound, Direction::Outbound] {
            assert_eq!(sidecar.connections(direction), 0, "{direction:?}");
        }
        sidecar.assert_well();
    }

    pub fn connections_from_before(stage: &Stage, mode: Mode) {
        let (inbound, outbound) = (
            listen(&stage.pod, pod(stage)),
            listen(&stage.client, outside(stage)),
        );
        let pairs = [pair(&stage.client, &inbound), pair(&stage.pod, &outbound)];
        let sidecar = start(stage, mode, &[]);
        for (there, here) in &pairs {
            converse(there, here, b"a question");
            converse(here, there, b"an answer");
        }
        for (there, here) in pairs {
            drop(there);
            assert_end(&here);
        }
        assert_eq!(
            sidecar.connections(Direction::Inbound) + sidecar.connections(Direction::Outbound),
            0
        );
    }

    /// Connection tracking forgets a half-closed connection that is silent for a minute; here for two seconds.
    pub fn half_closed_connections_outlive_connection_tracking(stage: &Stage, mode: Mode) {
        install(&stage.pod, &["--mode", mode.name().unwrap()]).unwrap();
        let tracking = "netfilter/nf_conntrack_tcp_timeout_close_wait";
        if let Err(error) = stage.pod.sysctl(tracking, "2") {
            assert_eq!(mode, Mode::Ebpf, "{error}");
        }
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&config, "relay:\n  keepalive: 1s\n").unwrap();
        let path = config.path().to_str().unwrap();
        let sidecar = Sidecar::start(&stage.pod, &["--config", path]).unwrap();
        let (inbound, outbound) = (
            listen(&stage.pod, pod(stage)),
            listen(&stage.client, outside(stage)),
        );
        let pairs = [pair(&stage.client, &inbound), pair(&stage.pod, &outbound)];
        for (there, here) in &pairs {
            converse(there, here, b"a question");
            there.shutdown(std::net::Shutdown::Write).unwrap();
            assert_end(here);
        }
        // The silence itself is what is tried.
        thread::sleep(Duration::from_millis(3500));
        for (there, here) in pairs {
            converse(&here, &there, b"an answer that took its time");
            drop(here);
            assert_end(&there);
        }
        for direction in [Direction::Inbound, Direction::Outbound] {
            assert_eq!(sidecar.connections(direction), 1, "{direction:?}");
        }
    }

    pub fn sidecar_killed(stage: &Stage, mode: Mode) {
        let mut sidecar = start(stage, mode, &[]);
        call(&stage.client, &stage.pod, pod(stage));
        sidecar.process.kill().unwrap();
        drop(sidecar);
        let listener = listen(&stage.pod, pod(stage));
        match mode {
            Mode::Ebpf => {
                let (there, here) = pair(&stage.client, &listener);
                converse(&there, &here, b"directly");
            }
            Mode::Tproxy => {
                let patience = Duration::from_millis(300);
                let waiting = stage
                    .client
                    .enter(|| TcpStream::connect_timeout(&pod(stage), patience));
                assert_eq!(waiting.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
            }
            _ => {
                let refused = connect(&stage.client, pod(stage)).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            }
        }
        // Whoever waits is served once there is another one.
        thread::scope(|scope| {
            let waits =
                scope.spawn(|| (mode == Mode::Tproxy).then(|| connect(&stage.client, pod(stage)).unwrap()));
            let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
            let there = waits.join().unwrap();
            let there = there.unwrap_or_else(|| connect(&stage.client, pod(stage)).unwrap());
            let here = accept(&listener);
            converse(&there, &here, b"at last");
            assert_eq!(sidecar.connections(Direction::Inbound), 1);
        });
    }

    pub fn other_settings(stage: &Stage, mode: Mode) {
        let sidecar = start(stage, mode, &[]);
        let other = SocketAddr::new(pod(stage).ip(), OTHER);
        call(&stage.client, &stage.pod, other);
        assert_eq!(sidecar.connections(Direction::Inbound), 1);
        let (excluded, mode) = (OTHER.to_string(), mode.name().unwrap());
        let flags = ["--mode", mode, "--exclude-inbound-ports", &excluded];
        install(&stage.pod, &flags).unwrap();
        call(&stage.client, &stage.pod, other);
        assert_eq!(sidecar.connections(Direction::Inbound), 1, "it is left alone now");
        call(&stage.client, &stage.pod, pod(stage));
        assert_eq!(sidecar.connections(Direction::Inbound), 2);
        // With the mode named, and without.
        for flags in [&flags[..], &flags[2..]] {
            let said = init(&stage.pod, "check", flags).unwrap();
            assert!(said.contains("was answered by the listener"), "{said}");
        }
    }

    pub fn removal(stage: &Stage, mode: Mode) {
        let before = state(&stage.pod);
        let (inbound, outbound) = (
            listen(&stage.pod, pod(stage)),
            listen(&stage.client, outside(stage)),
        );
        let sidecar = start(stage, mode, &[]);
        let pairs = [pair(&stage.client, &inbound), pair(&stage.pod, &outbound)];
        let carried = || sidecar.connections(Direction::Inbound) + sidecar.connections(Direction::Outbound);
        assert_eq!(carried(), 2);
        init(&stage.pod, "remove", &["--drain", "0s"]).unwrap();
        for (there, here) in &pairs {
            converse(there, here, b"a question");
            converse(here, there, b"an answer");
        }
        for (there, here) in pairs {
            drop(there);
            assert_end(&here);
        }
        for (node, listener) in [(&stage.client, &inbound), (&stage.pod, &outbound)] {
            let (there, here) = pair(node, listener);
            converse(&there, &here, b"directly");
        }
        assert_eq!(carried(), 2, "nothing new");
        init(&stage.pod, "remove", &[]).unwrap();
        assert_eq!(state(&stage.pod), before);
    }
}

/// Everything that an installation changes.
fn state(node: &Node) -> String {
    let mut command = node.command("sh");
    command.args([
        "-c",
        "nft list ruleset; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; tc qdisc show; \
         tc filter show dev eth0 ingress; tc filter show dev lo egress; cat /proc/sys/net/ipv4/conf/lo/accept_local",
    ]);
    let shown = node.run(command).unwrap();
    // Link-local addresses come when they like.
    shown
        .lines()
        .filter(|line| !line.contains("fe80:"))
        .map(|line| format!("{line}\n"))
        .collect()
}
