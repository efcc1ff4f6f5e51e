//! What is counted of every kind of packet, by BPF_PROG_TEST_RUN.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[allow(dead_code, reason = "shared with the other programs' tests")]
#[path = "verdicts/packet.rs"]
mod packet;

use aya::programs::{
    TcAttachType, TestRun as _, TestRunOptions,
    tc::{NlOptions, TcAttachOptions},
};
use packet::{ACK, Packet, SYN};
use std::{collections::BTreeMap, net::SocketAddr};
use weir_bpf::{Count, Counted, PortMap, PortMapSettings, PortSet, SOURCES_PROGRAM, Sender, Sources};
use weir_lab::{Lab, skip_unless_root};

/// TC_ACT_UNSPEC (include/uapi/linux/pkt_cls.h).
const PASS: u32 = u32::MAX;
const PORT: u16 = 8080;
const ETHERNET: u64 = 14;

fn run(sources: &mut Sources, packet: &Packet) {
    let bytes = packet.bytes();
    let mut out = vec![0; bytes.len()];
    let options = TestRunOptions {
        data_in: Some(&bytes),
        data_out: Some(&mut out),
        ..TestRunOptions::new()
    };
    let result = sources.program().unwrap().test_run(options).unwrap();
    assert_eq!(result.return_value, PASS, "others' programs have their turn");
    assert_eq!(out, bytes, "nothing is done to the packet");
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Pairs of client and server of both families.
fn pairs(port: u16) -> [(SocketAddr, SocketAddr); 2] {
    [
        (
            at("198.18.0.9:40000"),
            SocketAddr::new("198.18.0.1".parse().unwrap(), port),
        ),
        (
            at("[fd00:198:18::9]:40000"),
            SocketAddr::new("fd00:198:18::1".parse().unwrap(), port),
        ),
    ]
}

fn senders(counted: &Counted) -> BTreeMap<Sender, Count> {
    counted.senders.iter().copied().collect()
}

fn ip_len(packet: &Packet) -> u64 {
    packet.bytes().len() as u64 - ETHERNET
}

#[test]
fn packets_and_bytes_are_counted_by_address_and_protocol_one_interval_at_a_time() {
    if skip_unless_root("packets_and_bytes_are_counted_by_address_and_protocol_one_interval_at_a_time") {
        return;
    }
    let mut sources = Sources::load(Some(&PortSet::of(&[PORT]))).unwrap();
    // Both sets of counters, each used again.
    for round in 1..=4 {
        let mut expected = BTreeMap::<Sender, Count>::new();
        for (client, server) in pairs(PORT) {
            let plain = [Packet::tcp(client, server, SYN), Packet::udp(client, server)];
            let with_headers = Packet {
                options: vec![1; 8],
                extensions: vec![(60, vec![0; 8])],
                ..Packet::tcp(client, server, ACK)
            };
            for packet in plain.iter().chain([&with_headers]) {
                for _ in 0..round {
                    run(&mut sources, packet);
                    let sender = Sender {
                        ip: client.ip(),
                        protocol: packet.protocol,
                    };
                    *expected.entry(sender).or_default() += Count {
                        packets: 1,
                        bytes: ip_len(packet),
                    };
                }
            }
            // Of another port, from this port, of another protocol, of a VLAN.
            let elsewhere = SocketAddr::new(server.ip(), PORT + 1);
            run(&mut sources, &Packet::tcp(client, elsewhere, SYN));
            run(&mut sources, &Packet::tcp(server, client, ACK));
            let other = Packet {
                protocol: 132,
                ..Packet::udp(client, server)
            };
            run(&mut sources, &other);
            let tagged = Packet {
                vlan: Some(5),
                ..Packet::tcp(client, server, SYN)
            };
            run(&mut sources, &tagged);
        }
        let counted = sources.take().unwrap();
        assert_eq!(senders(&counted), expected, "round {round}");
        let mut total = Count::default();
        expected.values().for_each(|count| total += *count);
        assert_eq!((counted.total, counted.fragments), (total, 0));
    }
    assert_eq!(sources.take().unwrap(), Counted::default(), "and then nothing");
}

#[test]
fn without_ports_every_packet_counts_and_fragments_too() {
    if skip_unless_root("without_ports_every_packet_counts_and_fragments_too") {
        return;
    }
    let (client, server) = pairs(PORT)[0];
    let later = Packet {
        fragment: 0x0010,
        ..Packet::udp(client, server)
    };
    let first = Packet {
        fragment: 0x2000,
        ..Packet::udp(client, server)
    };
    for (ports, packets, fragments) in [(None, 3, 0), (Some(PortSet::of(&[PORT])), 1, 1)] {
        let mut sources = Sources::load(ports.as_ref()).unwrap();
        run(&mut sources, &later);
        run(&mut sources, &first);
        run(&mut sources, &Packet::tcp(server, client, ACK));
        let counted = sources.take().unwrap();
        assert_eq!((counted.total.packets, counted.fragments), (packets, fragments));
    }
}

#[test]
fn senders_that_find_no_room_are_in_the_total() {
    if skip_unless_root("senders_that_find_no_room_are_in_the_total") {
        return;
    }
    let mut sources = Sources::load(None).unwrap();
    let (_, server) = pairs(PORT)[0];
    let many = 40_000_u32;
    for n in 0..many {
        let ip = std::net::Ipv4Addr::from_bits(0xc612_0000 + n);
        run(&mut sources, &Packet::udp((ip, 1).into(), server));
    }
    let counted = sources.take().unwrap();
    assert_eq!(counted.total.packets, u64::from(many));
    let room = counted.senders.len();
    assert!((1000..=16384).contains(&room), "{room}");
    assert!(counted.senders.iter().all(|(_, count)| count.packets == 1));
}

/// A program that is no business of ours.
const OTHER: &str = "weir_map_in";

/// It, on lo.
fn somebody_elses() -> PortMap {
    let settings = PortMapSettings {
        proxy_uid: 1337,
        own_mark: 0x53a,
        ports: vec![(1, 2)],
        group: "none".into(),
        // No socket is looked up, so that any number will do, and the kernels that have none too.
        netns: 0,
    };
    let mut other = PortMap::load(&settings, false).unwrap();
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: 7,
        ..NlOptions::default()
    });
    let program = other.program(OTHER).unwrap();
    program
        .attach_with_options("lo", TcAttachType::Ingress, options)
        .unwrap();
    other
}

fn tc(node: &weir_lab::Node, device: &str) -> String {
    let mut command = node.command("tc");
    command.args(["filter", "show", "dev", device, "ingress"]);
    node.run(command).unwrap()
}

#[test]
fn a_filter_that_was_left_is_replaced_and_others_stay() {
    if skip_unless_root("a_filter_that_was_left_is_replaced_and_others_stay") {
        return;
    }
    let mut lab = Lab::new("sources").unwrap();
    let node = lab.node("pod").unwrap();
    node.enter(|| {
        let mut left = Sources::load(None).unwrap();
        left.attach_filter("lo").unwrap();
        // As if it had been killed.
        std::mem::forget(left);
        let other = somebody_elses();
        let mut next = Sources::load(None).unwrap();
        next.attach_filter("lo").unwrap();
        let shown = tc(&node, "lo");
        let ours = shown.matches(&format!("name {SOURCES_PROGRAM}")).count();
        assert_eq!(ours, 1, "{shown}");
        drop(next);
        let shown = tc(&node, "lo");
        assert!(
            !shown.contains(SOURCES_PROGRAM) && shown.contains(OTHER),
            "{shown}"
        );
        drop(other);
    })
    .unwrap();
}
