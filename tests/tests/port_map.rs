//! The port map: ports of a host come to the sidecar, for clients of other machines and of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpListener},
    thread,
};
use weir_lab::Node;
use weir_tests::{
    many::{First, Ports, Server, Talk, churn},
    peer::{accept, assert_end, connect, converse, listen},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, init, install, wait_for},
};

const PORT: u16 = 8000;
const MAPPED: u16 = 9000;
const MAP: [&str; 2] = ["--port-map", "8000:9000,20880:30880"];

macro_rules! both_families {
    ($($case:ident)*) => {$(
        mod $case {
            use super::*;
            #[test]
            fn v4() {
                on_stage(stringify!($case), Family::V4, super::cases::$case);
            }
            #[test]
            fn v6() {
                on_stage(stringify!($case), Family::V6, super::cases::$case);
            }
        }
    )*};
}

both_families! {
    clients_from_outside_and_of_the_host_come_through
    the_sidecars_own_port_can_be_dialled_too
    without_a_sidecar_nothing_changes
    connections_from_before_and_at_removal_go_on
    forwarded_traffic_is_left_alone
    syn_cookies_are_answered
    checksums_are_right_whoever_makes_them
    ports_are_reused_at_once
    interfaces_on_top_of_others_translate_once
    only_named_interfaces_and_control_groups_are_mapped
}

fn on_stage(name: &str, family: Family, case: impl FnOnce(&Stage)) {
    play(
        name,
        Weight::Light,
        (Mode::Direct, Direction::Inbound, family),
        |stage| {
            let _removed = Removed(&stage.pod);
            case(stage);
        },
    );
}

/// Programs of control groups do not go with the namespace.
struct Removed<'a>(&'a Node);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let removed = init(self.0, "remove", &["--force"]);
        assert!(removed.is_ok() || thread::panicking(), "{removed:?}");
    }
}

/// An application on every address of the node.
fn application(stage: &Stage, port: u16) -> TcpListener {
    listen(
        &stage.pod,
        stage.pick(([0, 0, 0, 0], port).into(), ([0_u16; 8], port).into()),
    )
}

fn loopback(stage: &Stage, port: u16) -> SocketAddr {
    stage.pick(
        ([127, 0, 0, 1], port).into(),
        ([0, 0, 0, 0, 0, 0, 0, 1_u16], port).into(),
    )
}

/// One conversation and an orderly end; gives the client's own address and whom the application saw.
fn visit(client: &Node, address: SocketAddr, application: &TcpListener) -> (SocketAddr, IpAddr) {
    let there = connect(client, address).unwrap();
    assert_eq!(there.peer_addr().unwrap(), address);
    let here = accept(application);
    converse(&there, &here, b"a question");
    converse(&here, &there, b"an answer");
    let ends = (there.local_addr().unwrap(), here.peer_addr().unwrap().ip());
    drop(there);
    assert_end(&here);
    ends
}

fn start(stage: &Stage) -> Sidecar {
    install(&stage.pod, &MAP).unwrap();
    Sidecar::start(&stage.pod, &MAP).unwrap()
}

mod cases {
    use super::*;

    pub fn clients_from_outside_and_of_the_host_come_through(stage: &Stage) {
        let application = application(stage, PORT);
        let mut sidecar = start(stage);
        let (client, seen) = visit(&stage.client, stage.server(PORT), &application);
        assert_ne!(seen, client.ip(), "it comes from the sidecar");
        assert!(!seen.is_loopback(), "no other machine may look like this one");
        let (_, seen) = visit(&stage.pod, loopback(stage, PORT), &application);
        assert!(seen.is_loopback());
        let (client, seen) = visit(&stage.pod, stage.server(PORT), &application);
        assert_eq!(seen, client.ip());
        assert_eq!(sidecar.connections(Direction::Inbound), 3);
        assert_eq!(sidecar.stats()["mode"], "port-map");
        assert!(
            sidecar
                .status("CapPrm")
                .iter()
                .all(|set| set == "0000000000000000")
        );
        // A port that nobody serves.
        let refused = connect(&stage.client, stage.server(20880));
        assert!(refused.is_err() || end_of(refused.unwrap()));
        let said = init(&stage.pod, "check", &MAP).unwrap();
        assert!(said.contains("there for 8000:9000,20880:30880"), "{said}");
        assert_eq!(install(&stage.pod, &MAP).unwrap(), "", "the same again");
        sidecar.assert_well();
    }

    pub fn the_sidecars_own_port_can_be_dialled_too(stage: &Stage) {
        let application = application(stage, PORT);
        let sidecar = start(stage);
        for client in [&stage.client, &stage.pod] {
            visit(client, stage.server(MAPPED), &application);
            visit(client, stage.server(PORT), &application);
        }
        assert_eq!(sidecar.connections(Direction::Inbound), 4);
        // From one and the same port, one after the other and back.
        let fixed = stage.link.a.at(40_000)[usize::from(stage.family == Family::V6)];
        for port in [MAPPED, PORT, MAPPED, PORT, PORT, MAPPED] {
            let there = from(&stage.client, fixed, stage.server(port));
            let here = accept(&application);
            converse(&there, &here, b"a question");
            converse(&here, &there, b"an answer");
            weir_tests::peer::reset(there);
            weir_tests::peer::assert_reset(&here);
        }
    }

    pub fn without_a_sidecar_nothing_changes(stage: &Stage) {
        install(&stage.pod, &MAP).unwrap();
        {
            let application = application(stage, PORT);
            let (client, seen) = visit(&stage.client, stage.server(PORT), &application);
            assert_eq!(seen, client.ip());
            visit(&stage.pod, loopback(stage, PORT), &application);
            let refused = connect(&stage.client, stage.server(MAPPED)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        let _server = Server::short(application(stage, PORT), Talk::PLAIN, First::Server);
        let all = |count| {
            for client in [&stage.client, &stage.pod] {
                let tally = churn(
                    client,
                    stage.server(PORT),
                    count,
                    Ports::Given,
                    Talk::PLAIN,
                    First::Server,
                );
                assert_eq!(tally.succeeded, u64::from(count), "{tally}");
            }
        };
        for _ in 0..3 {
            let mut sidecar = Sidecar::start(&stage.pod, &MAP).unwrap();
            all(200);
            assert_eq!(sidecar.connections(Direction::Inbound), 400);
            thread::scope(|scope| {
                let load = scope.spawn(|| {
                    churn(
                        &stage.client,
                        stage.server(PORT),
                        2_000,
                        Ports::Given,
                        Talk::PLAIN,
                        First::Server,
                    )
                });
                wait_for("some load", || sidecar.connections(Direction::Inbound) > 500);
                sidecar.process.kill().unwrap();
                let tally = load.join().unwrap();
                // 32 were open, and as many may have begun while its listeners closed one after the other.
                assert!(tally.succeeded >= 2_000 - 64, "{tally}");
            });
            drop(sidecar);
            all(200);
        }
    }

    pub fn connections_from_before_and_at_removal_go_on(stage: &Stage) {
        let application = application(stage, PORT);
        let open = |client: &Node| {
            let there = connect(client, stage.server(PORT)).unwrap();
            (there, accept(&application))
        };
        let before = [open(&stage.client), open(&stage.pod)];
        let sidecar = start(stage);
        let through = [open(&stage.client), open(&stage.pod)];
        assert_eq!(sidecar.connections(Direction::Inbound), 2);
        let talk = |pairs: &[(std::net::TcpStream, std::net::TcpStream)]| {
            for (there, here) in pairs {
                converse(there, here, b"a question");
                converse(here, there, b"an answer");
            }
        };
        talk(&before);
        talk(&through);
        let said = init(&stage.pod, "remove", &["--drain", "0s"]).unwrap_or_default();
        talk(&before);
        talk(&through);
        visit(&stage.client, stage.server(PORT), &application);
        visit(&stage.pod, stage.server(PORT), &application);
        assert_eq!(sidecar.connections(Direction::Inbound), 2, "nothing new: {said}");
        talk(&through);
        drop(through);
        init(&stage.pod, "remove", &[]).unwrap();
        talk(&before);
        for side in ["ingress", "egress"] {
            let filters = stage.pod.run({
                let mut command = stage.pod.command("tc");
                command.args(["filter", "show", "dev", "eth0", side]);
                command
            });
            assert_eq!(filters.unwrap().trim(), "");
        }
        assert_eq!(programs_of_clients(&stage.pod), 0);
    }

    pub fn forwarded_traffic_is_left_alone(stage: &Stage) {
        // The pod becomes a router between the client and a server behind it.
        let (behind, link) = stage.beside("behind");
        let family = usize::from(stage.family == Family::V6);
        let flag = ["", "-6 "][family];
        stage.pod.sysctl("ipv4/ip_forward", "1").unwrap();
        stage.pod.sysctl("ipv6/conf/all/forwarding", "1").unwrap();
        let via = |end: &weir_lab::Addresses| end.at(0)[family].ip();
        for (node, to, by) in [
            (&behind, &stage.link.a, &link.b),
            (&stage.client, &link.a, &stage.link.b),
        ] {
            node.ip(&format!("{flag}route replace {} via {}", via(to), via(by)))
                .unwrap();
        }
        let _local = application(stage, PORT);
        let sidecar = start(stage);
        for port in [PORT, MAPPED] {
            let address = link.a.at(port)[family];
            let application = listen(&behind, address);
            let (client, seen) = visit(&stage.client, address, &application);
            assert_eq!(seen, client.ip());
            // The router itself calls another machine's port of the same number.
            let (client, seen) = visit(&stage.pod, address, &application);
            assert_eq!(seen, client.ip());
        }
        assert_eq!(sidecar.connections(Direction::Inbound), 0);
    }

    pub fn syn_cookies_are_answered(stage: &Stage) {
        stage.pod.sysctl("ipv4/tcp_syncookies", "2").unwrap();
        let application = application(stage, PORT);
        let sidecar = start(stage);
        for count in 1..=20 {
            visit(&stage.client, stage.server(PORT), &application);
            assert_eq!(sidecar.connections(Direction::Inbound), count);
        }
        for _ in 0..3 {
            visit(&stage.client, stage.server(MAPPED), &application);
        }
    }

    pub fn checksums_are_right_whoever_makes_them(stage: &Stage) {
        let application = application(stage, PORT);
        let sidecar = start(stage);
        let bytes = vec![b'x'; 1 << 20];
        for offload in ["on", "off"] {
            for node in [&stage.client, &stage.pod] {
                let mut command = node.command("ethtool");
                command.args(["-K", "eth0", "tx", offload, "rx", offload]);
                node.run(command).unwrap();
            }
            for port in [PORT, MAPPED] {
                let mut there = connect(&stage.client, stage.server(port)).unwrap();
                let mut here = accept(&application);
                exchange(&mut there, &mut here, &bytes);
                exchange(&mut here, &mut there, &bytes);
            }
        }
        assert_eq!(sidecar.connections(Direction::Inbound), 4);
        for node in [&stage.client, &stage.pod] {
            assert_eq!(bad_checksums(node), 0, "{}", node.name());
        }
    }

    pub fn ports_are_reused_at_once(stage: &Stage) {
        for first in [First::Client, First::Server] {
            let server = Server::short(application(stage, PORT), Talk::PLAIN, first);
            let sidecar = start(stage);
            for client in [&stage.client, &stage.pod] {
                let tally = churn(
                    client,
                    stage.server(PORT),
                    5_000,
                    Ports::Given,
                    Talk::PLAIN,
                    first,
                );
                assert_eq!((tally.succeeded, tally.stalled), (5_000, 0), "{tally}");
            }
            assert_eq!(sidecar.connections(Direction::Inbound), 10_000);
            drop(server);
        }
    }

    pub fn interfaces_on_top_of_others_translate_once(stage: &Stage) {
        // As on a host of containers: a client behind a bridge whose port is a veth pair's end.
        let (container, link) = stage.beside("container");
        let family = usize::from(stage.family == Family::V6);
        for step in [
            "link add br0 type bridge",
            "link set br0 up",
            "link set eth1 master br0",
        ] {
            stage.pod.ip(step).unwrap();
        }
        let own = link.b.at(PORT)[family];
        for (end, length) in link.b.at(0).map(|end| end.ip()).into_iter().zip([24, 64]) {
            stage
                .pod
                .ip(&format!("addr del {end}/{length} dev eth1"))
                .unwrap();
            let flag = if end.is_ipv6() { "nodad" } else { "" };
            stage
                .pod
                .ip(&format!("addr add {end}/{length} dev br0 {flag}"))
                .unwrap();
        }
        let application = application(stage, PORT);
        let sidecar = start(stage);
        visit(&container, own, &application);
        visit(&container, SocketAddr::new(own.ip(), MAPPED), &application);
        visit(&stage.client, stage.server(PORT), &application);
        assert_eq!(sidecar.connections(Direction::Inbound), 3);
    }

    pub fn only_named_interfaces_and_control_groups_are_mapped(stage: &Stage) {
        let application = application(stage, PORT);
        let flags = [MAP[0], MAP[1], "--interface", "eth7"];
        let said = install(&stage.pod, &flags).unwrap_err().to_string();
        assert!(said.contains("no interface eth7"), "{said}");
        let flags = [MAP[0], MAP[1], "--interface", "eth0", "--cgroup", "none"];
        install(&stage.pod, &flags).unwrap();
        let sidecar = Sidecar::start(&stage.pod, &MAP).unwrap();
        visit(&stage.client, stage.server(PORT), &application);
        visit(&stage.pod, stage.server(PORT), &application);
        assert_eq!(sidecar.connections(Direction::Inbound), 1);
        // The same with other settings, while the sidecar runs.
        install(&stage.pod, &MAP).unwrap();
        visit(&stage.pod, stage.server(PORT), &application);
        assert_eq!(sidecar.connections(Direction::Inbound), 2);
        let said = install(&stage.pod, &["--mode", "redirect"])
            .unwrap_err()
            .to_string();
        assert!(said.contains("run `weir-init remove` first"), "{said}");
        let said = install(&stage.pod, &[MAP[0], MAP[1], "--cgroup", "/nowhere"])
            .unwrap_err()
            .to_string();
        assert!(said.contains("--cgroup none"), "{said}");
        // Nothing of these failures has changed what was in force.
        visit(&stage.pod, stage.server(PORT), &application);
        assert_eq!(sidecar.connections(Direction::Inbound), 3);
    }
}

/// True if the connection ends without a byte.
fn end_of(mut stream: std::net::TcpStream) -> bool {
    use std::io::Read as _;
    matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
}

fn from(node: &Node, source: SocketAddr, address: SocketAddr) -> std::net::TcpStream {
    node.enter(|| {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
        socket.connect(&address.into())?;
        std::io::Result::Ok(socket.into())
    })
    .unwrap()
    .unwrap()
}

fn exchange(from: &mut std::net::TcpStream, to: &mut std::net::TcpStream, bytes: &[u8]) {
    use std::io::Read as _;
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(bytes).unwrap());
        let mut got = vec![0; bytes.len()];
        to.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    });
}

/// Segments that the node has dropped for their checksum.
fn bad_checksums(node: &Node) -> u64 {
    let text = node
        .enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap())
        .unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let names = lines
        .next()
        .unwrap()
        .split(' ')
        .position(|name| name == "InCsumErrors")
        .unwrap();
    lines
        .next()
        .unwrap()
        .split(' ')
        .nth(names)
        .unwrap()
        .parse()
        .unwrap()
}

/// Programs for local clients of a node's namespace that the kernel has.
fn programs_of_clients(node: &Node) -> usize {
    node.enter(|| {
        weir_bpf::Attached::of_namespace(weir_bpf::netns_cookie().unwrap())
            .unwrap()
            .len()
    })
    .unwrap()
}
