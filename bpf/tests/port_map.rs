//! What the port map does to every kind of packet, by BPF_PROG_TEST_RUN in a namespace with real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[allow(dead_code, reason = "shared with the other programs' tests")]
#[path = "verdicts/packet.rs"]
mod packet;

use aya::programs::{TestRun as _, TestRunOptions};
use packet::{ACK, Packet, RST, SYN};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
};
use weir_bpf::{Kind, PortMap, PortMapSettings, Side, map_program, netns_cookie, stop_port_map};
use weir_lab::Lab;

/// TC_ACT_UNSPEC (include/uapi/linux/pkt_cls.h).
const PASS: u32 = u32::MAX;
const ORIGINAL: u16 = 8000;
const MAPPED: u16 = 9000;
const OTHER: u16 = 8001;
/// Packets of a test run are root's.
const ROOT: u32 = 0;
const SOMEBODY: u32 = 1337;

fn inside(name: &str, test: impl FnOnce() + Send) {
    if weir_lab::skip_unless_root(name) {
        return;
    }
    let mut lab = Lab::new("verdicts").unwrap();
    lab.node("host").unwrap().enter(test).unwrap();
}

fn load(proxy_uid: u32) -> PortMap {
    let settings = PortMapSettings {
        proxy_uid,
        own_mark: 0x53a,
        ports: vec![(ORIGINAL, MAPPED), (20880, 30880)],
        group: "none".into(),
        netns: netns_cookie().unwrap(),
    };
    PortMap::load(&settings, false).unwrap()
}

/// The packet as it goes on, whatever the program did to it.
fn run(programs: &mut PortMap, kind: Kind, side: Side, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    let result = programs
        .program(map_program(kind, side).unwrap())
        .unwrap()
        .test_run(TestRunOptions {
            data_in: Some(bytes),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })
        .unwrap();
    assert_eq!(result.return_value, PASS);
    out
}

fn received(programs: &mut PortMap, packet: &Packet) -> Vec<u8> {
    run(programs, Kind::Ethernet, Side::Ingress, &packet.bytes())
}

fn sent(programs: &mut PortMap, packet: &Packet) -> Vec<u8> {
    run(programs, Kind::Ethernet, Side::Egress, &packet.bytes())
}

fn clients() -> [(SocketAddr, SocketAddr); 2] {
    let at = |text: &str| text.parse().unwrap();
    [
        (at("198.18.0.9:40000"), (Ipv4Addr::LOCALHOST, ORIGINAL).into()),
        (
            at("[fd00:198:18::9]:40000"),
            (Ipv6Addr::LOCALHOST, ORIGINAL).into(),
        ),
    ]
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn listen(port: u16) -> [TcpListener; 2] {
    let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
    v6.set_only_v6(true).unwrap();
    v6.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())
        .unwrap();
    v6.listen(16).unwrap();
    [
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap(),
        v6.into(),
    ]
}

#[test]
fn new_connections_come_to_the_sidecars_port_while_it_listens() {
    inside(
        "new_connections_come_to_the_sidecars_port_while_it_listens",
        || {
            let mut programs = load(SOMEBODY);
            let sidecar = listen(MAPPED);
            for (client, server) in clients() {
                let syn = |server| Packet::tcp(client, server, SYN);
                let mapped = syn(with_port(server, MAPPED)).bytes();
                assert_eq!(
                    received(&mut programs, &syn(server)),
                    mapped,
                    "with the right checksum"
                );
                // Without a header of its own an interface's packets begin with that of IP.
                let bare = syn(server).bytes();
                let bare = run(&mut programs, Kind::Bare, Side::Ingress, &bare);
                assert_ne!(bare, mapped);
                let other = syn(with_port(server, OTHER));
                assert_eq!(received(&mut programs, &other), other.bytes());
                // No SYN, no connection, no cookie: somebody else's.
                for flags in [ACK, RST, SYN | ACK] {
                    let stray = Packet::tcp(client, server, flags);
                    assert_eq!(received(&mut programs, &stray), stray.bytes(), "{flags}");
                }
                let datagram = Packet::udp(client, server);
                assert_eq!(received(&mut programs, &datagram), datagram.bytes());
            }
            drop(sidecar);
            for (client, server) in clients() {
                let syn = Packet::tcp(client, server, SYN);
                assert_eq!(received(&mut programs, &syn), syn.bytes(), "nobody listens");
            }
        },
    );
}

#[test]
fn what_is_for_another_machine_passes() {
    inside("what_is_for_another_machine_passes", || {
        for family in ["ipv4", "ipv6"] {
            let forward = format!("/proc/sys/net/{family}/conf/all/forwarding");
            std::fs::write(forward, "1").unwrap();
        }
        for route in ["198.18.7.0/24", "fd00:198:18:7::/64"] {
            let mut ip = Command::new("ip");
            let added = ip.args(["route", "add", route, "dev", "lo"]).status().unwrap();
            assert!(added.success());
        }
        let mut programs = load(SOMEBODY);
        let _sidecar = listen(MAPPED);
        for (client, server) in clients() {
            let elsewhere = match server {
                SocketAddr::V4(_) => "198.18.7.7:8000".parse().unwrap(),
                SocketAddr::V6(_) => "[fd00:198:18:7::7]:8000".parse().unwrap(),
            };
            let syn = Packet::tcp(client, elsewhere, SYN);
            assert_eq!(received(&mut programs, &syn), syn.bytes());
        }
    });
}

#[test]
fn frames_that_a_bridge_carries_between_others_pass() {
    inside("frames_that_a_bridge_carries_between_others_pass", || {
        let mut programs = load(SOMEBODY);
        let _sidecar = listen(MAPPED);
        for (client, server) in clients() {
            let mut frame = Packet::tcp(client, server, SYN).bytes();
            // The hardware address of another machine; lo's own is all zeros.
            frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
            assert_eq!(run(&mut programs, Kind::Ethernet, Side::Ingress, &frame), frame);
        }
    });
}

#[test]
fn answers_of_the_sidecar_come_from_the_port_that_was_asked() {
    inside("answers_of_the_sidecar_come_from_the_port_that_was_asked", || {
        let _sidecar = listen(MAPPED);
        for (client, server) in clients() {
            let answer = |port, flags| Packet::tcp(with_port(server, port), client, flags);
            let mut own = load(ROOT);
            let mapped = sent(&mut own, &answer(MAPPED, ACK));
            assert_eq!(mapped, answer(ORIGINAL, ACK).bytes());
            let from_another = answer(OTHER, ACK);
            assert_eq!(sent(&mut own, &from_another), from_another.bytes());
            let dialled = answer(MAPPED, SYN);
            assert_eq!(
                sent(&mut own, &dialled),
                dialled.bytes(),
                "a connection of its own"
            );
            // Whoever dialled the sidecar's port is answered from there.
            let direct = Packet::tcp(client, with_port(server, MAPPED), SYN);
            assert_eq!(received(&mut own, &direct), direct.bytes());
            let to_direct = answer(MAPPED, SYN | ACK);
            assert_eq!(sent(&mut own, &to_direct), to_direct.bytes());
            // Until the same client port dials the original.
            let syn = Packet::tcp(client, server, SYN);
            assert_eq!(received(&mut own, &syn), direct.bytes());
            // That packet again, as an interface on top of this one sees it.
            assert_eq!(received(&mut own, &direct), direct.bytes());
            assert_eq!(sent(&mut own, &to_direct), answer(ORIGINAL, SYN | ACK).bytes());
        }
    });
}

#[test]
fn connections_go_on_when_nothing_new_is_taken() {
    inside("connections_go_on_when_nothing_new_is_taken", || {
        let mut programs = load(SOMEBODY);
        let sidecar = listen(MAPPED);
        stop_port_map(netns_cookie().unwrap()).unwrap();
        for (listener, (client, server)) in sidecar.iter().zip(clients()) {
            let syn = Packet::tcp(client, server, SYN);
            assert_eq!(received(&mut programs, &syn), syn.bytes(), "nothing new");
            // A connection to the sidecar's port: its packets are those that were mapped, for all that the program can see.
            let to = with_port(server, listener.local_addr().unwrap().port());
            let client = TcpStream::connect(to).unwrap();
            let ack = |to| Packet::tcp(client.local_addr().unwrap(), to, ACK);
            assert_eq!(received(&mut programs, &ack(server)), ack(to).bytes());
        }
    });
}

#[test]
fn options_and_extension_headers_hide_nothing() {
    inside("options_and_extension_headers_hide_nothing", || {
        let mut programs = load(SOMEBODY);
        let _sidecar = listen(MAPPED);
        for (client, server) in clients() {
            let to = |server| Packet {
                options: vec![1; 8],
                extensions: vec![(60, vec![0; 8])],
                ..Packet::tcp(client, server, SYN)
            };
            let mapped = to(with_port(server, MAPPED)).bytes();
            assert_eq!(received(&mut programs, &to(server)), mapped);
        }
    });
}
