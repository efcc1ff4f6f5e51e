//! What a relay tells of connections as a whole: `weir.flow` documents, in every mode that relays.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};
use weir_lab::{Lab, Node, Quality, skip_unless_root};
use weir_sidecar::tcp_info::TcpInfo;
use weir_tests::{
    peer::{Noise, again, assert_end, assert_reset, connect, converse, listen, pair, receive, reset, send},
    stage::{
        Direction::{Inbound, Outbound},
        Family::{V4, V6},
        Mode::{self, Direct, Ebpf, Redirected, Tproxy},
        Stage, Weight, play,
    },
    weir::{LIMIT, Sidecar, install, wait_for},
};

const PORT: u16 = 8080;

/// Runs a case in every mode, direction and family.
fn everywhere(name: &str, case: impl Fn(&Stage)) {
    for mode in [Redirected, Tproxy, Ebpf] {
        for (direction, family) in [(Inbound, V4), (Inbound, V6), (Outbound, V4), (Outbound, V6)] {
            play(name, Weight::Light, (mode, direction, family), &case);
        }
    }
}

/// A stage whose sidecar has flags of its own, and what was installed too.
fn stage(mode: Mode, flags: &[&str], init: &[&str]) -> Stage {
    let mut stage = Stage::new(Direct, Outbound, V4);
    let mode_flags = ["--mode", mode.name().unwrap()];
    install(&stage.pod, &[&mode_flags, init].concat()).unwrap();
    stage.sidecar = Some(Sidecar::start(&stage.pod, &[&mode_flags, flags].concat()).unwrap());
    stage
}

/// The flows that have ended, once there are so many.
fn ended(sidecar: &Sidecar, count: usize) -> Vec<Value> {
    let ended = || {
        let mut flows = sidecar.flows();
        flows.retain(|flow| flow["weir"]["flow"]["final"] == true);
        flows
    };
    wait_for(&format!("{count} flows that have ended"), || {
        ended().len() >= count
    });
    let flows = ended();
    assert_eq!(flows.len(), count, "{flows:#?}");
    flows
}

fn number(document: &Value, pointer: &str) -> u64 {
    let value = document.pointer(pointer).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no {pointer} in {document:#}"))
}

#[test]
fn bytes_are_exact_and_the_first_to_close_is_named() {
    const UP: u64 = 3 << 20;
    const DOWN: u64 = 5 << 20;
    everywhere("bytes_are_exact_and_the_first_to_close_is_named", |stage| {
        let listener = listen(stage.callee(), stage.server(PORT));
        for (turn, client_first) in [true, false].into_iter().enumerate() {
            let (client, server) = pair(stage.caller(), &listener);
            let upwards = || {
                let sent = std::thread::scope(|scope| {
                    let sent = scope.spawn(|| send(&client, Noise::new(1, UP)));
                    assert_eq!(receive(&server).bytes, UP);
                    sent.join().unwrap()
                });
                assert_eq!(sent.bytes, UP);
            };
            let downwards = || {
                std::thread::scope(|scope| {
                    scope.spawn(|| send(&server, Noise::new(2, DOWN)));
                    assert_eq!(receive(&client).bytes, DOWN);
                });
            };
            // The other half is open until the first is known to be closed.
            match client_first {
                true => (upwards(), downwards()),
                false => (downwards(), upwards()),
            };
            let peer = client.local_addr().unwrap();
            drop((client, server));
            let flows = ended(stage.sidecar.as_ref().unwrap(), turn + 1);
            let flow = flows
                .iter()
                .find(|flow| flow["source"]["port"] == peer.port())
                .unwrap();
            let first = if client_first { "source" } else { "destination" };
            assert_flow(flow, stage, peer, [UP, DOWN]);
            assert_eq!(flow["weir"]["flow"]["end"], "finished", "{flow:#}");
            assert_eq!(flow["weir"]["flow"]["closed_by"], first, "{flow:#}");
            assert_eq!(flow.get("error"), None);
        }
    });
}

fn assert_flow(flow: &Value, stage: &Stage, peer: SocketAddr, [up, down]: [u64; 2]) {
    let own = match stage.direction {
        Inbound => "ingress",
        Outbound => "egress",
    };
    assert_eq!(flow["network"]["direction"], own);
    assert_eq!(flow["network"]["transport"], "tcp");
    assert_eq!(flow["weir"]["capture"], "relay");
    assert_eq!(flow["weir"]["mode"], stage.mode.name().unwrap());
    assert_eq!(flow["source"]["ip"], peer.ip().to_string());
    assert_eq!(flow["destination"]["ip"], stage.server(PORT).ip().to_string());
    assert_eq!(flow["destination"]["port"], PORT);
    assert_eq!(number(flow, "/source/bytes"), up, "{flow:#}");
    assert_eq!(number(flow, "/destination/bytes"), down, "{flow:#}");
    assert_eq!(number(flow, "/network/bytes"), up + down);
    assert!(number(flow, "/source/packets") > 0 && number(flow, "/destination/packets") > 0);
    let whole = &flow["weir"]["flow"];
    assert!(number(whole, "/handshake") > 0);
    for side in ["source", "destination"] {
        assert!(number(whole, &format!("/{side}/rtt")) > 0, "{flow:#}");
        assert!(number(whole, &format!("/{side}/rtt_variation")) > 0);
        // Two cores may swap packets on a line that is no more than a queue.
        assert!(number(whole, &format!("/{side}/out_of_order")) < number(whole, &format!("/{side}/packets")));
        // What goes over the network from here is the sidecar's to send again; what peers did, it can't know.
        let is_here = (side == "source") == (stage.direction == Outbound);
        assert_eq!(whole[side].get("retransmits").is_some(), is_here, "{flow:#}");
    }
}

#[test]
fn a_reset_is_its_senders() {
    everywhere("a_reset_is_its_senders", |stage| {
        let listener = listen(stage.callee(), stage.server(PORT));
        for by_client in [true, false] {
            let (client, server) = pair(stage.caller(), &listener);
            converse(&client, &server, b"hello");
            match by_client {
                true => (reset(client), assert_reset(&server)),
                false => (reset(server), assert_reset(&client)),
            };
        }
        let flows = ended(stage.sidecar.as_ref().unwrap(), 2);
        let by = |party: &str| {
            let flow = flows
                .iter()
                .find(|flow| flow["weir"]["flow"]["closed_by"] == party);
            let flow = flow.unwrap_or_else(|| panic!("{party}: {flows:#?}"));
            assert_eq!(flow["weir"]["flow"]["end"], "reset");
            assert_eq!(flow["error"]["type"], "connection_reset");
            assert_eq!(number(flow, "/source/bytes"), 5);
            assert_eq!(number(flow, "/destination/bytes"), 0);
        };
        by("source");
        by("destination");
    });
}

#[test]
fn a_connection_that_never_came_to_be_says_why() {
    everywhere("a_connection_that_never_came_to_be_says_why", |stage| {
        // Nobody listens. Inbound, such a connection is not even taken: closed ports stay closed.
        let refused = connect(stage.caller(), stage.server(PORT + 1));
        if let Ok(stream) = &refused {
            assert_reset(stream);
        }
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        converse(&client, &server, b"hello");
        drop((client, server));
        let is_taken = stage.direction != Inbound;
        let flows = ended(stage.sidecar.as_ref().unwrap(), 1 + usize::from(is_taken));
        let refused = flows.iter().find(|flow| flow["destination"]["port"] == PORT + 1);
        assert_eq!(refused.is_some(), is_taken, "{flows:#?}");
        let Some(flow) = refused else { return };
        assert_eq!(flow["weir"]["flow"]["end"], "refused", "{flow:#}");
        assert_eq!(flow["error"]["type"], "connection_refused");
        assert_eq!(flow["weir"]["flow"].get("handshake"), None);
        assert_eq!(flow["weir"]["flow"]["destination"].get("rtt"), None);
        assert_eq!(number(flow, "/destination/packets"), 0);
    });
}

#[test]
fn an_unreachable_destination_answers_nothing() {
    if skip_unless_root("an_unreachable_destination_answers_nothing") {
        return;
    }
    let stage = stage(Redirected, &[], &[]);
    stage.client.sysctl("ipv4/ip_forward", "1").unwrap();
    stage.client.ip("route add unreachable 198.19.0.0/16").unwrap();
    if let Ok(stream) = connect(&stage.pod, "198.19.0.1:80".parse().unwrap()) {
        assert_reset(&stream);
    }
    let flows = ended(stage.sidecar.as_ref().unwrap(), 1);
    assert_eq!(flows[0]["weir"]["flow"]["end"], "unanswered", "{:#}", flows[0]);
    assert_eq!(flows[0]["error"]["type"], "unreachable");
    assert!(flows[0]["error"]["message"].is_string());
}

#[test]
fn what_is_told_while_it_lasts_adds_up_to_the_whole() {
    if skip_unless_root("what_is_told_while_it_lasts_adds_up_to_the_whole") {
        return;
    }
    for mode in [Redirected, Ebpf] {
        let stage = stage(mode, &["--flows-interval", "1s"], &[]);
        let sidecar = stage.sidecar.as_ref().unwrap();
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        for round in 1..=2 {
            converse(&client, &server, &[b'x'; 1000]);
            converse(&server, &client, &[b'y'; 3000]);
            wait_for("the flow is told of", || sidecar.flows().len() == round);
        }
        // While it is quiet nothing is told: the document that comes next is the last.
        converse(&client, &server, b"the end");
        client.shutdown(Shutdown::Both).unwrap();
        assert_end(&server);
        drop((client, server));
        ended(sidecar, 1);
        let mut flows = sidecar.flows();
        flows.sort_by_key(|flow| number(flow, "/weir/flow/sequence"));
        let sequence: Vec<_> = flows.iter().map(|f| number(f, "/weir/flow/sequence")).collect();
        assert_eq!(sequence, (0..flows.len() as u64).collect::<Vec<_>>());
        for (field, total) in [
            ("bytes", [2007, 6000]),
            (
                "packets",
                ["source", "destination"]
                    .map(|side| number(flows.last().unwrap(), &format!("/weir/flow/{side}/packets"))),
            ),
        ] {
            let sum = |side| {
                flows
                    .iter()
                    .map(|f| number(f, &format!("/{side}/{field}")))
                    .sum::<u64>()
            };
            assert_eq!([sum("source"), sum("destination")], total, "{flows:#?}");
        }
        for two in flows.windows(2) {
            assert_eq!(two[0]["event"]["end"], two[1]["event"]["start"]);
            assert_eq!(two[0]["weir"]["flow"]["state"], "established");
            assert_eq!(two[0]["event"]["type"], json!(["connection"]));
            assert_eq!(two[0]["weir"]["flow_id"], two[1]["weir"]["flow_id"]);
        }
    }
}

#[test]
fn a_connection_that_outlives_the_sidecar_or_its_patience_says_so() {
    if skip_unless_root("a_connection_that_outlives_the_sidecar_or_its_patience_says_so") {
        return;
    }
    for (flags, end) in [
        (&["--drain", "0s"][..], "unobserved"),
        (&["--idle-timeout", "1s"], "idle"),
    ] {
        let mut stage = stage(Redirected, flags, &[]);
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        converse(&client, &server, b"hello");
        let mut sidecar = stage.sidecar.take().unwrap();
        if end == "unobserved" {
            sidecar.process.terminate(LIMIT).unwrap();
        }
        let flows = ended(&sidecar, 1);
        assert_eq!(flows[0]["weir"]["flow"]["end"], end, "{:#}", flows[0]);
        assert_eq!(flows[0]["weir"]["flow"].get("closed_by"), None);
        assert_eq!(number(&flows[0], "/source/bytes"), 5);
        assert!(number(&flows[0], "/source/packets") > 0);
        assert_reset(&client);
    }
}

#[test]
fn timing_round_trips_and_repeats_are_the_networks_and_the_kernels() {
    const DELAY: Duration = Duration::from_millis(15);
    const BYTES: u64 = 1 << 20;
    if skip_unless_root("timing_round_trips_and_repeats_are_the_networks_and_the_kernels") {
        return;
    }
    for (direction, near, far) in [
        (Outbound, "source", "destination"),
        (Inbound, "destination", "source"),
    ] {
        let mut lab = Lab::new("flows").unwrap();
        let (outside, pod) = (lab.node("outside").unwrap(), lab.node("pod").unwrap());
        let quality = Quality {
            delay: DELAY,
            drop_every: 100,
        };
        let (link, _line) = lab.join_by_line(&outside, &pod, quality).unwrap();
        install(&pod, &["--mode", "redirect"]).unwrap();
        let sidecar = Sidecar::start(&pod, &["--mode", "redirect"]).unwrap();
        let (caller, callee, server) = match direction {
            Outbound => (&pod, &outside, link.a.at(PORT)[0]),
            Inbound => (&outside, &pod, link.b.at(PORT)[0]),
        };
        let before = repeats(&pod);
        let listener = listen(callee, server);
        let (client, server) = pair(caller, &listener);
        // The pod's side sends, so that what is sent again over the line is the sidecar's.
        let (sender, receiver) = match direction {
            Outbound => (&client, &server),
            Inbound => (&server, &client),
        };
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| send(sender, Noise::new(1, BYTES)));
            assert_eq!(receive(receiver), sent.join().unwrap());
        });
        // Beside the sidecar, the sender is in the pod, and repeats itself now and then on the way there.
        let of_sender = TcpInfo::of(sender).unwrap().retransmits.unwrap();
        drop((client, server));
        let flow = &ended(&sidecar, 1)[0];
        let again = repeats(&pod) - before - of_sender;
        let number = |side: &str, field: &str| number(flow, &format!("/weir/flow/{side}/{field}"));
        let told = number(near, "retransmits");
        assert!(told > 0 && told == again, "{again}: {flow:#}");
        let delay = u64::try_from(DELAY.as_nanos()).unwrap();
        // There and back; the machine may be busy.
        assert!(number(near, "rtt") >= 2 * delay, "{flow:#}");
        assert!(number(far, "rtt") < 2 * delay, "{flow:#}");
        assert_eq!(number(near, "bytes"), BYTES);
        assert_eq!(flow["weir"]["flow"][far].get("retransmits"), None);
    }
}

/// Packets that this node's TCP has sent again.
fn repeats(node: &Node) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let text = node.enter(read).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let [names, values] = [lines.next().unwrap(), lines.next().unwrap()];
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(name, _)| *name == "RetransSegs")
        .unwrap()
        .1
        .parse()
        .unwrap()
}

#[test]
fn the_protocol_is_named_as_its_documents_name_it() {
    everywhere("the_protocol_is_named_as_its_documents_name_it", |stage| {
        let listener = listen(stage.callee(), stage.server(PORT));
        for (request, answer) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", NO_CONTENT),
            ("what is this\0\x01\x02\x03\r\n\r\n", "+what you see\r\n"),
        ] {
            let (client, server) = pair(stage.caller(), &listener);
            exchange(&client, &server, request, answer);
        }
        let flows = ended(stage.sidecar.as_ref().unwrap(), 2);
        let mut protocols: Vec<_> = flows
            .iter()
            .map(|flow| flow["network"]["protocol"].as_str().unwrap_or("none"))
            .collect();
        protocols.sort_unstable();
        assert_eq!(protocols, ["http", "none"], "{flows:#?}");
    });
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn exchange(mut client: &TcpStream, mut server: &TcpStream, request: &str, answer: &str) {
    client.write_all(request.as_bytes()).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    server.write_all(answer.as_bytes()).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
}

#[test]
fn the_destination_has_the_name_it_was_asked_for_by_and_the_question_its_own_flow() {
    for mode in [Redirected, Tproxy, Ebpf] {
        if skip_unless_root("the_destination_has_the_name_it_was_asked_for_by") {
            return;
        }
        let resolver = "198.18.53.53";
        let dns = ["--dns", "--dns-servers", resolver];
        let stage = stage(mode, &dns[1..], &dns);
        stage
            .client
            .ip(&format!("addr add {resolver}/32 dev eth0"))
            .unwrap();
        let at = |node: &Node, address: SocketAddr| node.enter(|| UdpSocket::bind(address)).unwrap().unwrap();
        let server = at(&stage.client, format!("{resolver}:53").parse().unwrap());
        let asks = at(&stage.pod, ([0, 0, 0, 0], 0).into());
        for socket in [&server, &asks] {
            socket.set_read_timeout(Some(LIMIT)).unwrap();
        }
        let std::net::IpAddr::V4(shop) = stage.server(PORT).ip() else {
            panic!()
        };
        let query = message([1, 0], None);
        let answer = message([0x81, 0x80], Some(shop));
        let mut buffer = [0; 512];
        for _ in 0..2 {
            asks.send_to(&query, server.local_addr().unwrap()).unwrap();
            let (_, peer) = again(|| server.recv_from(&mut buffer)).unwrap();
            server.send_to(&answer, peer).unwrap();
            again(|| asks.recv_from(&mut buffer)).unwrap();
        }
        let sidecar = stage.sidecar.as_ref().unwrap();
        wait_for("the answer's document", || !sidecar.documents().is_empty());
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, far) = pair(stage.caller(), &listener);
        converse(&client, &far, b"hello");
        drop((client, far));
        let flows = ended(sidecar, 2);
        let by = |transport: &str| {
            let flow = flows
                .iter()
                .find(|flow| flow["network"]["transport"] == transport);
            flow.unwrap_or_else(|| panic!("{transport}: {flows:#?}"))
        };
        assert_eq!(by("tcp")["destination"]["domain"], "shop.example");
        let question = by("udp");
        assert_eq!(question["weir"]["flow"]["end"], "idle", "{question:#}");
        assert_eq!(question["network"]["protocol"], "dns");
        assert_eq!(question["destination"]["ip"], resolver);
        for (side, message) in [("source", &query), ("destination", &answer)] {
            assert_eq!(number(question, &format!("/{side}/packets")), 2);
            let bytes = 2 * message.len() as u64;
            assert_eq!(number(question, &format!("/{side}/bytes")), bytes);
        }
    }
}

/// A message about the A record of `shop.example`.
fn message(flags: [u8; 2], answer: Option<std::net::Ipv4Addr>) -> Vec<u8> {
    let count = u8::from(answer.is_some());
    let mut message = vec![7, 7, flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0];
    message.extend_from_slice(b"\x04shop\x07example\0\0\x01\0\x01");
    if let Some(address) = answer {
        message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
        message.extend_from_slice(&address.octets());
    }
    message
}

#[test]
fn without_flows_there_are_none() {
    if skip_unless_root("without_flows_there_are_none") {
        return;
    }
    let mut stage = stage(Redirected, &["--flows", "off"], &[]);
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    exchange(&client, &server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", NO_CONTENT);
    drop((client, server));
    let mut sidecar = stage.sidecar.take().unwrap();
    wait_for("the request's document", || !sidecar.documents().is_empty());
    sidecar.process.terminate(LIMIT).unwrap();
    assert_eq!(sidecar.flows(), Vec::<Value>::new());
}
