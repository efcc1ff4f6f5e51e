//! Mode `tap`: nothing is redirected, and every request is seen. What every mode has in common is tested with the others;
//! here is what only looking has for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
};
use weir_lab::{Lab, Node, Process, binary, skip_unless_root};
use weir_tests::{
    peer::{again, assert_end, connect, listen, pair},
    stage::{
        Direction::{Inbound, Outbound},
        Family::{V4, V6},
        Mode::Tap,
        Stage, Weight, play,
    },
    weir::{LIMIT, Sidecar, local, wait_for},
};

const PORT: u16 = 8080;

/// Runs a case in both directions.
fn in_both_directions(name: &str, case: impl Fn(&Stage)) {
    for (direction, family) in [(Inbound, V4), (Inbound, V6), (Outbound, V4), (Outbound, V6)] {
        play(name, Weight::Light, (Tap, direction, family), &case);
    }
}

/// A request and its answer.
fn exchange(mut client: &TcpStream, mut server: &TcpStream, path: &str, body: &[u8]) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = [head.as_bytes(), body].concat();
    std::thread::scope(|scope| {
        scope.spawn(|| server.write_all(&answer).unwrap());
        let mut got = vec![0; answer.len()];
        client.read_exact(&mut got).unwrap();
        assert!(got == answer);
    });
}

/// The documents by path, once that of this path is there.
fn documents(sidecar: &Sidecar, last: &str) -> Vec<Value> {
    let seen = || {
        let mut all = sidecar.documents();
        all.sort_by_key(|document| document["url"]["path"].to_string());
        all
    };
    wait_for(&format!("the document of {last}"), || {
        seen().iter().any(|document| document["url"]["path"] == last)
    });
    seen()
}

#[test]
fn the_sidecars_own_endpoints_are_not_seen_and_what_goes_over_loopback_is_seen_once() {
    in_both_directions("the_sidecars_own_endpoints_are_not_seen", |stage| {
        let sidecar = stage.sidecar.as_ref().unwrap();
        assert!(sidecar.stats()["capture"]["packets"].is_u64());
        let own = listen(&stage.pod, local(PORT));
        let (client, server) = pair(&stage.pod, &own);
        exchange(&client, &server, "/a", b"itself");
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        exchange(&client, &server, "/b", b"others");
        documents(sidecar, "/a");
        let documents = documents(sidecar, "/b");
        let paths: Vec<_> = documents.iter().map(|d| d["url"]["path"].to_string()).collect();
        assert_eq!(paths, [r#""/a""#, r#""/b""#]);
        let direction = match stage.direction {
            Inbound => "ingress",
            Outbound => "egress",
        };
        for (document, direction) in documents.iter().zip(["egress", direction]) {
            assert_eq!(document["network"]["direction"], direction, "{document:#}");
            assert_eq!(document["weir"]["capture"], "tap");
            assert_eq!(document["weir"].get("late_join"), None);
        }
        assert_eq!(sidecar.metric("weir_capture_losses_total", &[]), 0);
    });
}

#[test]
fn a_connection_from_before_is_joined_and_marked() {
    for family in [V4, V6] {
        if skip_unless_root("a_connection_from_before_is_joined_and_marked") {
            return;
        }
        let stage = Stage::new(weir_tests::stage::Mode::Direct, Inbound, family);
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        exchange(&client, &server, "/before", b"unseen");
        let mut sidecar = Sidecar::start(&stage.pod, &["--mode", "tap"]).unwrap();
        exchange(&client, &server, "/late", b"seen");
        let documents = documents(&sidecar, "/late");
        assert_eq!(documents.len(), 1);
        assert_eq!(documents[0]["weir"]["late_join"], true, "{:#}", documents[0]);
        assert_eq!(documents[0]["network"]["direction"], "ingress");
        assert_eq!(documents[0]["http"]["response"]["body"]["bytes"], 4);
        // The sidecar's end is nobody else's.
        sidecar.process.terminate(LIMIT).unwrap();
        exchange(&client, &server, "/after", b"unseen");
        drop(client);
        assert_end(&server);
    }
}

#[test]
fn an_interface_that_comes_later_is_seen_too() {
    play(
        "an_interface_that_comes_later_is_seen_too",
        Weight::Light,
        (Tap, Inbound, V4),
        |stage| {
            let (node, link) = stage.beside("later");
            let listener = listen(&stage.pod, link.b.at(PORT)[0]);
            let (client, server) = pair(&node, &listener);
            exchange(&client, &server, "/later", b"");
            let documents = documents(stage.sidecar.as_ref().unwrap(), "/later");
            assert_eq!(documents[0]["source"]["ip"], link.a.v4.to_string());
        },
    );
}

#[test]
fn without_the_capability_left_nothing_can_be_opened_any_more() {
    play(
        "without_the_capability_left_nothing_can_be_opened_any_more",
        Weight::Light,
        (Tap, Inbound, V4),
        |stage| {
            let sidecar = stage.sidecar.as_ref().unwrap();
            for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                for value in sidecar.status(field) {
                    assert_eq!(value, "0000000000000000", "{field}");
                }
            }
            assert!(
                sidecar
                    .status("Uid")
                    .iter()
                    .all(|uid| uid == "1337 1337 1337 1337")
            );
            let listener = listen(&stage.pod, stage.server(PORT));
            let (client, server) = pair(&stage.client, &listener);
            exchange(&client, &server, "/", b"");
            documents(sidecar, "/");
        },
    );
}

/// `weir tap` in the pod.
fn from_a_shell(stage: &Stage, flags: &[&str]) -> Process {
    let mut command = stage.pod.command(binary("weir").unwrap());
    command.args(["tap", "--format", "json"]).args(flags);
    let process = stage.pod.spawn(command).unwrap();
    wait_for("it looks", || process.output().contains("looking"));
    process
}

/// What it has printed.
fn printed(process: &Process) -> Vec<Value> {
    let output = process.output();
    let lines = output.lines();
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn from_a_shell_interfaces_ports_and_lengths_can_be_chosen() {
    for family in [V4, V6] {
        if skip_unless_root("from_a_shell_interfaces_ports_and_lengths_can_be_chosen") {
            return;
        }
        let stage = Stage::new(weir_tests::stage::Mode::Direct, Inbound, family);
        let mut ports = from_a_shell(&stage, &["--port", "8081", "-i", "eth+"]);
        let mut short = from_a_shell(&stage, &["--snaplen", "200B"]);
        let body = vec![b'x'; 1 << 20];
        let own = listen(&stage.pod, local(8081));
        let (client, server) = pair(&stage.pod, &own);
        exchange(&client, &server, "/loopback", b"");
        for port in [8080, 8081] {
            let listener = listen(stage.callee(), stage.server(port));
            let (client, server) = pair(stage.caller(), &listener);
            exchange(&client, &server, &format!("/{port}"), &body);
            exchange(&client, &server, &format!("/{port}/again"), b"short");
        }
        wait_for("what was chosen", || printed(&ports).len() >= 2);
        wait_for("everything", || printed(&short).len() >= 5);
        for process in [&mut ports, &mut short] {
            process.terminate(LIMIT).unwrap();
        }
        let paths = |all: &[Value]| -> Vec<String> {
            let mut paths: Vec<_> = all.iter().map(|d| d["url"]["path"].to_string()).collect();
            paths.sort();
            paths
        };
        assert_eq!(paths(&printed(&ports)), [r#""/8081""#, r#""/8081/again""#]);
        let all = printed(&short);
        assert_eq!(all.len(), 5, "{:?}", paths(&all));
        for document in &all {
            // What was not kept of a body is counted all the same.
            let bytes = match document["url"]["path"].as_str().unwrap() {
                "/8080" | "/8081" => body.len(),
                "/loopback" => 0,
                _ => 5,
            };
            assert_eq!(
                document["http"]["response"]["body"]["bytes"], bytes as u64,
                "{document:#}"
            );
        }
        assert!(
            short
                .output()
                .contains("packets were not captured whole (snaplen)"),
            "{}",
            short.output()
        );
    }
}

#[test]
fn what_can_not_be_had_is_said() {
    if skip_unless_root("what_can_not_be_had_is_said") {
        return;
    }
    let mut lab = Lab::new("tap").unwrap();
    let node = lab.node("pod").unwrap();
    for (program, flags, said) in [
        (
            "weir",
            &["tap", "-i", "nosuch"][..],
            "there is no interface nosuch; there are lo",
        ),
        (
            "weir-sidecar",
            &["--mode", "tap", "--decode", "off"],
            "leave decoding on",
        ),
        ("weir-init", &["install", "--mode", "tap"], "nothing to install"),
        ("weir-init", &["check", "--mode", "tap"], "nothing to install"),
    ] {
        let mut command = node.command(binary(program).unwrap());
        let output = command.args(flags).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{program} {flags:?}");
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn auto_taps_where_nothing_is_installed_and_relays_where_something_is() {
    for installed in [false, true] {
        if skip_unless_root("auto_taps_where_nothing_is_installed_and_relays_where_something_is") {
            return;
        }
        let stage = Stage::new(weir_tests::stage::Mode::Direct, Inbound, V4);
        if installed {
            weir_tests::weir::install(&stage.pod, &["--mode", "auto"]).unwrap();
        }
        let sidecar = Sidecar::start(&stage.pod, &["--mode", "auto"]).unwrap();
        let listener = listen(&stage.pod, stage.server(PORT));
        let client = connect(&stage.client, stage.server(PORT)).unwrap();
        let server = weir_tests::peer::accept(&listener);
        exchange(&client, &server, "/", b"");
        let documents = documents(&sidecar, "/");
        let expected = if installed { "relay" } else { "tap" };
        assert_eq!(documents[0]["weir"]["capture"], expected);
    }
}

fn bind(node: &Node, at: SocketAddr) -> UdpSocket {
    node.enter(|| UdpSocket::bind(at)).unwrap().unwrap()
}

/// The address in an answer.
const RECORD: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x12\0\x09";

/// A datagram in an Ethernet frame in VXLAN, from host to host and port to port of 198.19.0.0/24.
fn vxlan(from: (u8, u16), to: (u8, u16), message: &[u8]) -> Vec<u8> {
    let length = |head: usize| ((head + message.len()) as u16).to_be_bytes();
    let words = [from.1.to_be_bytes(), to.1.to_be_bytes(), length(8), [0; 2]].concat();
    let address = |host: u8| [198, 19, 0, host];
    let ip = [
        &[0x45, 0][..],
        &length(28),
        &[0, 0, 0, 0, 64, 17, 0, 0],
        &address(from.0),
        &address(to.0),
    ];
    let head = [&[8, 0, 0, 0, 0, 0, 77, 0][..], &[2; 12], &[8, 0]];
    [&head.concat(), &ip.concat(), &words, message].concat()
}

#[test]
fn what_passes_in_a_tunnel_is_seen_where_the_tunnel_does_not_end() {
    for family in [V4, V6] {
        if skip_unless_root("what_passes_in_a_tunnel_is_seen") {
            return;
        }
        let stage = Stage::new(weir_tests::stage::Mode::Direct, Inbound, family);
        let mut tap = from_a_shell(&stage, &[]);
        let any = stage.pick(
            SocketAddr::from(([0, 0, 0, 0], 0)),
            (Ipv6Addr::UNSPECIFIED, 0).into(),
        );
        let (end, client) = (
            bind(stage.callee(), stage.server(4789)),
            bind(stage.caller(), any),
        );
        let (asker, resolver) = ((1, 40000), (2, 53));
        let query = vxlan(asker, resolver, &dns([1, 0], b""));
        let answer = vxlan(resolver, asker, &dns([0x81, 0x80], RECORD));
        for datagram in [&query, &answer] {
            client.send_to(datagram, end.local_addr().unwrap()).unwrap();
        }
        wait_for("the query's document", || !printed(&tap).is_empty());
        tap.terminate(LIMIT).unwrap();
        let documents = printed(&tap);
        assert_eq!(documents.len(), 1);
        assert_eq!(documents[0]["source"]["ip"], "198.19.0.1");
        assert_eq!(documents[0]["dns"]["answers"][0]["data"], "198.18.0.9");
        assert_eq!(documents[0]["weir"]["tunnel"], serde_json::json!(["vxlan"]));
    }
}

/// A message about the A record of `shop.example`.
fn dns(flags: [u8; 2], answers: &[u8]) -> Vec<u8> {
    let count = u8::from(!answers.is_empty());
    let head = [7, 7, flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0];
    [&head[..], b"\x04shop\x07example\0\0\x01\0\x01", answers].concat()
}

#[test]
fn queries_over_udp_are_seen_at_any_port_and_other_datagrams_are_not() {
    in_both_directions("queries_over_udp_are_seen_at_any_port", |stage| {
        let server = stage.server(53);
        let own = stage.pick(
            SocketAddr::from(([0, 0, 0, 0], 0)),
            (Ipv6Addr::UNSPECIFIED, 0).into(),
        );
        let (resolver, other) = (
            bind(stage.callee(), server),
            bind(stage.callee(), stage.server(5300)),
        );
        let client = bind(stage.caller(), own);
        for socket in [&resolver, &other, &client] {
            socket.set_read_timeout(Some(LIMIT)).unwrap();
        }
        let query = dns([1, 0], b"");
        let answer = dns([0x81, 0x80], RECORD);
        let mut buffer = [0; 512];
        client
            .send_to(b"neither of them", other.local_addr().unwrap())
            .unwrap();
        again(|| other.recv_from(&mut buffer)).unwrap();
        for socket in [&other, &resolver] {
            client.send_to(&query, socket.local_addr().unwrap()).unwrap();
            let (_, peer) = again(|| socket.recv_from(&mut buffer)).unwrap();
            socket.send_to(&answer, peer).unwrap();
            again(|| client.recv_from(&mut buffer)).unwrap();
        }
        let sidecar = stage.sidecar.as_ref().unwrap();
        wait_for("the queries' documents", || sidecar.documents().len() >= 2);
        let mut ports = Vec::new();
        for document in sidecar.documents() {
            assert_eq!(document["event"]["dataset"], "weir.dns", "{document:#}");
            assert_eq!(document["dns"]["question"]["name"], "shop.example");
            assert_eq!(document["dns"]["answers"][0]["data"], "198.18.0.9");
            assert_eq!(document["destination"]["ip"], server.ip().to_string());
            ports.push(document["destination"]["port"].as_u64().unwrap());
        }
        ports.sort_unstable();
        assert_eq!(ports, [53, 5300]);
        // What is no message is left out by the kernel, and so not even counted.
        assert_eq!(sidecar.stats()["capture"]["losses"]["other_datagrams"], 0);
        // There is no connection that `finish` could look for.
        exchange_once(stage);
    });
}

/// One connection with one request.
fn exchange_once(stage: &Stage) {
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    exchange(&client, &server, "/once", b"");
    documents(stage.sidecar.as_ref().unwrap(), "/once");
}

/// Tries to connect to a neighbour's address, whose frames come to the pod although they are for another machine.
fn send_to_a_neighbour(stage: &Stage) {
    let neighbour = "198.18.77.9";
    let client = &stage.client;
    client
        .ip(&format!("route replace {neighbour}/32 dev eth0"))
        .unwrap();
    client
        .ip(&format!(
            "neigh replace {neighbour} lladdr 02:00:00:00:77:09 dev eth0 nud permanent"
        ))
        .unwrap();
    client
        .enter(|| {
            let address: SocketAddr = format!("{neighbour}:80").parse().unwrap();
            // Nobody answers.
            TcpStream::connect_timeout(&address, std::time::Duration::from_millis(100)).unwrap_err();
        })
        .unwrap();
}

#[test]
fn frames_for_other_machines_are_left_out_unless_the_interface_is_to_take_them() {
    let name = "frames_for_other_machines_are_left_out_unless_the_interface_is_to_take_them";
    play(name, Weight::Light, (Tap, Inbound, V4), |stage| {
        let sidecar = stage.sidecar.as_ref().unwrap();
        let seen = || sidecar.metric("weir_capture_connections_total", &[]);
        let request = |path: &str| {
            let listener = listen(&stage.pod, stage.server(PORT));
            let (client, server) = pair(&stage.client, &listener);
            exchange(&client, &server, path, b"");
            documents(sidecar, path);
        };
        request("/before");
        let before = seen();
        send_to_a_neighbour(stage);
        request("/after");
        assert_eq!(seen(), before + 1, "{}", sidecar.metrics());
        stage.pod.ip("link set eth0 promisc on").unwrap();
        wait_for("the neighbour's frames", || {
            send_to_a_neighbour(stage);
            seen() > before + 1
        });
    });
}

#[test]
fn two_sidecars_that_look_in_one_namespace_each_see_everything() {
    const REQUESTS: usize = 20;
    if skip_unless_root("two_sidecars_that_look_in_one_namespace_each_see_everything") {
        return;
    }
    let stage = Stage::new(weir_tests::stage::Mode::Direct, Inbound, V4);
    // As in containers, each is the first process of its own.
    let command = || {
        let mut command = stage.pod.command("unshare");
        command
            .args(["--pid", "--fork", "--kill-child"])
            .arg(binary("weir-sidecar").unwrap());
        command
    };
    let flags = ["--mode", "tap", "--threads", "2"];
    let none = ["--admin-port", "0", "--health-port", "0", "--metrics-port", "0"];
    let second = Sidecar::spawn(&stage.pod, command(), &[&flags[..], &none].concat()).unwrap();
    wait_for("the second", || second.process.output().contains("started"));
    let first = Sidecar::start_by(&stage.pod, command(), &flags).unwrap();
    for turn in 0..REQUESTS {
        let listener = listen(&stage.pod, stage.server(PORT + u16::try_from(turn).unwrap()));
        let (client, server) = pair(&stage.client, &listener);
        exchange(&client, &server, &format!("/{turn}"), b"");
    }
    let of_requests = |sidecar: &Sidecar| {
        let mut all = sidecar.documents();
        all.retain(|document| document["url"]["domain"] == "shop.example");
        all.len()
    };
    for sidecar in [&first, &second] {
        wait_for("every request", || of_requests(sidecar) >= REQUESTS);
        assert_eq!(of_requests(sidecar), REQUESTS);
    }
}
