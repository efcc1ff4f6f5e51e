//! Every mode on interfaces other than plain Ethernet: frames longer than 1500 bytes, overlays, bridges, tunnels whose packets
//! have no header before that of IP.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
};
use weir_lab::Node;
use weir_tests::{
    peer::{listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, install, wait_for},
};

const PORT: u16 = 8080;
/// Where the tunnel's datagrams go.
const TUNNEL: u16 = 7777;

macro_rules! everywhere {
    ($($case:ident)*) => {$(
        mod $case {
            use super::*;
            everywhere!(@ $case redirect Redirected);
            everywhere!(@ $case tproxy Tproxy);
            everywhere!(@ $case ebpf Ebpf);
        }
    )*};
    (@ $case:ident $module:ident $mode:ident) => {
        mod $module {
            use super::*;
            #[test]
            fn v4() {
                run(concat!(stringify!($case), "::", stringify!($module)), Family::V4);
            }
            #[test]
            fn v6() {
                run(concat!(stringify!($case), "::", stringify!($module)), Family::V6);
            }
            fn run(name: &str, family: Family) {
                let stage = (Mode::Direct, Direction::Inbound, family);
                play(name, Weight::Light, stage, |stage| super::super::cases::$case(stage, Mode::$mode));
            }
        }
    };
}

everywhere! {
    frames_of_nine_thousand_bytes
    overlay
    macvlan
    bridge
    tunnel
}

/// Both ends' addresses on the interface that a case has made: the client's and the pod's.
fn addresses(stage: &Stage) -> [String; 2] {
    ["1", "2"].map(|host| stage.pick(format!("198.18.77.{host}"), format!("fd00:198:18:77::{host}")))
}

fn with_address(node: &Node, interface: &str, address: &str) {
    let (length, flag) = if address.contains(':') {
        (64, "nodad")
    } else {
        (24, "")
    };
    node.ip(&format!("addr add {address}/{length} dev {interface} {flag}"))
        .unwrap();
    node.ip(&format!("link set {interface} up")).unwrap();
}

mod cases {
    use super::*;

    pub fn frames_of_nine_thousand_bytes(stage: &Stage, mode: Mode) {
        for node in [&stage.client, &stage.pod] {
            node.ip("link set eth0 mtu 9000").unwrap();
        }
        let [client, pod] =
            [stage.link.a, stage.link.b].map(|end| end.at(PORT)[usize::from(stage.family == Family::V6)]);
        let frames = || received_bytes_and_packets(&stage.pod);
        let before = frames();
        carry_both_ways(stage, mode, client, pod);
        let (bytes, packets) = (frames().0 - before.0, frames().1 - before.1);
        assert!(bytes / packets > 1500, "{bytes} bytes in {packets} packets");
    }

    pub fn overlay(stage: &Stage, mode: Mode) {
        let addresses = addresses(stage);
        let family = usize::from(stage.family == Family::V6);
        let outer = [stage.link.a, stage.link.b].map(|end| end.at(0)[family].ip());
        for (i, node) in [&stage.client, &stage.pod].into_iter().enumerate() {
            let (local, remote) = (outer[i], outer[1 - i]);
            node.ip(&format!(
                "link add vx7 type vxlan id 7 local {local} remote {remote} dstport 4789 dev eth0"
            ))
            .unwrap();
            with_address(node, "vx7", &addresses[i]);
        }
        through(stage, mode, &addresses);
    }

    pub fn macvlan(stage: &Stage, mode: Mode) {
        let addresses = addresses(stage);
        for (node, address) in [&stage.client, &stage.pod].into_iter().zip(&addresses) {
            node.ip("link add link eth0 name mac7 type macvlan mode bridge")
                .unwrap();
            with_address(node, "mac7", address);
        }
        through(stage, mode, &addresses);
    }

    pub fn bridge(stage: &Stage, mode: Mode) {
        let addresses = addresses(stage);
        stage.pod.ip("link add br0 type bridge").unwrap();
        stage.pod.ip("link set eth0 master br0").unwrap();
        for (node, interface, address) in [
            (&stage.client, "eth0", &addresses[0]),
            (&stage.pod, "br0", &addresses[1]),
        ] {
            with_address(node, interface, address);
        }
        if mode == Mode::Tproxy {
            let seen_by_iptables =
                ["ip", "ip6"].map(|family| format!("bridge/bridge-nf-call-{family}tables"));
            let set = |value| {
                seen_by_iptables
                    .iter()
                    .for_each(|name| stage.pod.sysctl(name, value).unwrap())
            };
            set("1");
            let said = install(&stage.pod, &["--mode", "tproxy"])
                .unwrap_err()
                .to_string();
            assert!(
                said.contains("br0") && said.contains("bridge-nf-call-iptables"),
                "{said}"
            );
            set("0");
        }
        through(stage, mode, &addresses);
    }

    pub fn tunnel(stage: &Stage, mode: Mode) {
        let addresses = addresses(stage);
        let outer = [stage.link.a.v4, stage.link.b.v4];
        let mut ends = Vec::new();
        for (i, node) in [&stage.client, &stage.pod].into_iter().enumerate() {
            let mut socat = node.command("socat");
            socat.arg(format!(
                "UDP4-DATAGRAM:{}:{TUNNEL},bind={}:{TUNNEL}",
                outer[1 - i],
                outer[i]
            ));
            socat.arg("TUN,tun-name=tun7,iff-no-pi,iff-up");
            ends.push(node.spawn(socat).unwrap());
            wait_for("the tunnel", || node.ip("link show dev tun7").is_ok());
            with_address(node, "tun7", &addresses[i]);
        }
        through(stage, mode, &addresses);
    }
}

fn through(stage: &Stage, mode: Mode, addresses: &[String; 2]) {
    let [client, pod] = [0, 1].map(|i| SocketAddr::new(addresses[i].parse().unwrap(), PORT));
    carry_both_ways(stage, mode, client, pod);
}

/// A mebibyte each way, on a connection that the client opens and on one that the pod opens.
fn carry_both_ways(stage: &Stage, mode: Mode, client: SocketAddr, pod: SocketAddr) {
    install(&stage.pod, &["--mode", mode.name().unwrap()]).unwrap();
    let mut sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    for (from, to, address) in [
        (&stage.client, &stage.pod, pod),
        (&stage.pod, &stage.client, client),
    ] {
        let listener = listen(to, address);
        let (mut there, mut here) = pair(from, &listener);
        assert_eq!(there.peer_addr().unwrap(), address);
        exchange(&mut there, &mut here);
        exchange(&mut here, &mut there);
    }
    for direction in [Direction::Inbound, Direction::Outbound] {
        assert_eq!(sidecar.connections(direction), 1, "{direction:?}");
    }
    sidecar.assert_well();
}

fn exchange(from: &mut TcpStream, to: &mut TcpStream) {
    let bytes = vec![b'w'; 1 << 20];
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(&bytes).unwrap());
        let mut got = vec![0; bytes.len()];
        to.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    });
}

/// What eth0 has received.
fn received_bytes_and_packets(node: &Node) -> (u64, u64) {
    let text = node
        .enter(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap())
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"))
        .unwrap();
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}
