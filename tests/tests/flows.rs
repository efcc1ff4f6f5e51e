//! What mode `tap` tells of flows as a whole: `weir.flow` documents, by what was really sent, and by what the kernel itself
//! counted on a line with delay and loss.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};
use weir_lab::{Lab, Node, Quality, binary, skip_unless_root};
use weir_sidecar::tcp_info::TcpInfo;
use weir_tests::{
    peer::{Noise, again, assert_end, assert_reset, connect, listen, pair, receive, reset, send},
    stage::{
        Direction::{Inbound, Outbound},
        Family::{V4, V6},
        Mode::Direct,
        Stage,
    },
    weir::{LIMIT, Sidecar, wait_for},
};

const PORT: u16 = 8080;

/// Runs a case in both directions and families, beside a sidecar that tells of flows every second.
fn everywhere(name: &str, case: impl Fn(&Stage, &Sidecar)) {
    for (direction, family) in [(Inbound, V4), (Inbound, V6), (Outbound, V4), (Outbound, V6)] {
        if skip_unless_root(name) {
            return;
        }
        let stage = Stage::new(Direct, direction, family);
        let mut sidecar = tap(&stage.pod);
        case(&stage, &sidecar);
        assert_eq!(sidecar.metric("weir_capture_losses_total", &["ring_full"]), 0);
        sidecar.assert_well();
    }
}

fn tap(pod: &Node) -> Sidecar {
    Sidecar::start(pod, &["--mode", "tap", "--flows-interval", "1s"]).unwrap()
}

fn number(document: &Value, pointer: &str) -> u64 {
    let value = document.pointer(pointer).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no {pointer} in {document:#}"))
}

/// The documents of the flows to this port, in their order.
fn flows(sidecar: &Sidecar, port: u16) -> Vec<Value> {
    let mut all = sidecar.flows();
    all.retain(|flow| flow["destination"]["port"] == port);
    all.sort_by_key(|flow| number(flow, "/weir/flow/sequence"));
    all
}

/// The last document of the only flow to this port, once it is there, and the sums of bytes and packets of all of its
/// documents.
fn ended(sidecar: &Sidecar, port: u16) -> (Value, [u64; 4]) {
    let last = || {
        flows(sidecar, port)
            .into_iter()
            .find(|flow| flow["weir"]["flow"]["final"] == true)
    };
    wait_for(&format!("the end of the flow to port {port}"), || {
        last().is_some()
    });
    let all = flows(sidecar, port);
    for (n, flow) in all.iter().enumerate() {
        assert_eq!(number(flow, "/weir/flow/sequence"), n as u64, "{all:#?}");
        assert_eq!(flow["weir"]["flow_id"], all[0]["weir"]["flow_id"]);
    }
    (last().unwrap(), sums(&all))
}

fn sums(documents: &[Value]) -> [u64; 4] {
    [
        "/source/bytes",
        "/destination/bytes",
        "/source/packets",
        "/destination/packets",
    ]
    .map(|pointer| documents.iter().map(|flow| number(flow, pointer)).sum())
}

/// What the flow's last document says of itself.
fn totals(flow: &Value) -> [u64; 4] {
    [
        "source/bytes",
        "destination/bytes",
        "source/packets",
        "destination/packets",
    ]
    .map(|name| number(flow, &format!("/weir/flow/{name}")))
}

#[test]
fn bytes_are_those_that_were_sent() {
    everywhere("bytes_are_those_that_were_sent", |stage, sidecar| {
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        let (up, down) = (3_000_017, 5_000_011);
        // Each half is closed for itself, the client's first.
        std::thread::scope(|scope| {
            scope.spawn(|| send(&client, Noise::new(1, up)));
            assert_eq!(receive(&server).bytes, up);
        });
        std::thread::scope(|scope| {
            scope.spawn(|| send(&server, Noise::new(2, down)));
            assert_eq!(receive(&client).bytes, down);
        });
        let [at_client, at_server] = [&client, &server].map(|end| TcpInfo::of(end).unwrap());
        drop((client, server));
        let (flow, sums) = ended(sidecar, PORT);
        assert_eq!(sums[..2], [up, down], "{flow:#}");
        assert_eq!(sums, totals(&flow), "{flow:#}");
        assert_eq!(flow["weir"]["flow"]["end"], "finished");
        assert_eq!(flow["weir"]["flow"]["closed_by"], "source");
        let direction = if stage.direction == Inbound {
            "ingress"
        } else {
            "egress"
        };
        assert_eq!(flow["network"]["direction"], direction);
        assert_eq!(flow["network"]["transport"], "tcp");
        assert_eq!(flow["network"].get("protocol"), None);
        for (side, sender, receiver) in [
            ("source", &at_client, &at_server),
            ("destination", &at_server, &at_client),
        ] {
            let of = |name: &str| number(&flow, &format!("/weir/flow/{side}/{name}"));
            assert_eq!((of("resets"), of("missed_bytes")), (0, 0), "{side}");
            // A machine under load drops packets, and may let one that another processor has overtake those before it. What is
            // sent again within the same ms, and was lost before it came by here, is no more than late.
            let (again, late) = (of("retransmits"), of("out_of_order"));
            let kernel = sender.retransmits.unwrap();
            let reordered = match receiver.out_of_order.unwrap() {
                0 => 0,
                _ => late,
            };
            assert_near(side, again + late, kernel, 2 + reordered);
            assert!(
                again <= kernel + kernel / 10 + 2,
                "{side}: {again}, the kernel says {kernel}"
            );
            let headers = stage.pick(20, 40) + 20;
            assert!(
                of("wire_bytes") >= of("bytes") + of("packets") * headers,
                "{flow:#}"
            );
            assert!(of("rtt") > 0);
        }
        assert!(number(&flow, "/weir/flow/handshake") > 0);
    });
}

#[test]
fn how_a_connection_ends_is_told() {
    everywhere("how_a_connection_ends_is_told", |stage, sidecar| {
        let by_server = listen(stage.callee(), stage.server(PORT));
        let (mut client, server) = pair(stage.caller(), &by_server);
        client.write_all(b"never read").unwrap();
        reset(server);
        assert_reset(&client);
        let by_client = listen(stage.callee(), stage.server(PORT + 1));
        let (client, server) = pair(stage.caller(), &by_client);
        reset(client);
        assert_reset(&server);
        let closes_first = listen(stage.callee(), stage.server(PORT + 2));
        let (client, server) = pair(stage.caller(), &closes_first);
        drop(server);
        assert_end(&client);
        drop(client);
        assert!(connect(stage.caller(), stage.server(PORT + 3)).is_err());
        for (port, end, by, error) in [
            (PORT, "reset", "destination", Some("connection_reset")),
            (PORT + 1, "reset", "source", Some("connection_reset")),
            (PORT + 2, "finished", "destination", None),
            (PORT + 3, "refused", "destination", Some("connection_refused")),
        ] {
            let (flow, sums) = ended(sidecar, port);
            assert_eq!(flow["weir"]["flow"]["end"], end, "{flow:#}");
            assert_eq!(flow["weir"]["flow"]["closed_by"], by, "{flow:#}");
            assert_eq!(flow["error"]["type"].as_str(), error, "{flow:#}");
            assert_eq!(sums[..2], [if port == PORT { 10 } else { 0 }, 0], "{flow:#}");
        }
    });
}

/// An answer about this name to the query 0x0707.
fn answer(address: IpAddr) -> Vec<u8> {
    let (kind, data) = match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (28, v6.octets().to_vec()),
    };
    let head = [7, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    let question = [&b"\x04Shop\x07example\0\0"[..], &[kind, 0, 1]].concat();
    let record = [
        &[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8][..],
        &data,
    ]
    .concat();
    [&head[..], &question, &record].concat()
}

fn query(answer: &[u8]) -> Vec<u8> {
    let mut query = answer[..12 + 14 + 4].to_vec();
    query[2..8].copy_from_slice(&[1, 0, 0, 1, 0, 0]);
    query
}

/// A socket of each node, and the caller's sends where the callee's listens.
fn sockets(stage: &Stage, port: u16) -> (UdpSocket, UdpSocket) {
    let any = stage.pick(
        SocketAddr::from(([0, 0, 0, 0], 0)),
        (Ipv6Addr::UNSPECIFIED, 0).into(),
    );
    let [own, server] = [(stage.caller(), any), (stage.callee(), stage.server(port))].map(|(node, at)| {
        let socket = node.enter(|| UdpSocket::bind(at)).unwrap().unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    });
    own.connect(server.local_addr().unwrap()).unwrap();
    server.connect(own.local_addr().unwrap()).unwrap();
    (own, server)
}

/// Sends a datagram and sees it come.
fn pass(from: &UdpSocket, to: &UdpSocket, bytes: &[u8]) {
    from.send(bytes).unwrap();
    let mut buffer = vec![0; 64 << 10];
    let len = again(|| to.recv(&mut buffer)).unwrap();
    assert_eq!(buffer[..len], *bytes);
}

#[test]
fn datagrams_of_any_port_are_flows() {
    everywhere("datagrams_of_any_port_are_flows", |stage, sidecar| {
        let (own, server) = sockets(stage, 5300);
        for len in [100, 1, 1200] {
            pass(&own, &server, &vec![b'x'; len]);
        }
        pass(&server, &own, b"0123456789");
        // Twice the same is two.
        pass(&server, &own, b"0123456789");
        let seen = || flows(sidecar, 5300);
        wait_for("all of the flow", || sums(&seen())[2..] == [3, 2]);
        let all = seen();
        assert_eq!(sums(&all), [1301, 20, 3, 2], "{all:#?}");
        let flow = all.last().unwrap();
        assert_eq!(totals(flow), sums(&all));
        assert_eq!(flow["network"]["transport"], "udp");
        assert_eq!(flow["weir"]["flow"]["final"], false);
        let wire = number(flow, "/weir/flow/source/wire_bytes");
        assert_eq!(wire, 1301 + 3 * (stage.pick(20, 40) + 8));
        assert!(flow["weir"]["flow"]["source"].get("retransmits").is_none());
        assert!(sidecar.documents().is_empty());
    });
}

#[test]
fn a_destination_has_the_name_by_which_it_was_found() {
    everywhere(
        "a_destination_has_the_name_by_which_it_was_found",
        |stage, sidecar| {
            let (own, resolver) = sockets(stage, 53);
            let answer = answer(stage.server(0).ip());
            pass(&own, &resolver, &query(&answer));
            pass(&resolver, &own, &answer);
            wait_for("the answer's document", || !sidecar.documents().is_empty());
            let listener = listen(stage.callee(), stage.server(PORT));
            let (client, server) = pair(stage.caller(), &listener);
            exchange(&client, &server, "/named");
            drop(client);
            assert_end(&server);
            drop(server);
            let (flow, _) = ended(sidecar, PORT);
            assert_eq!(flow["destination"]["domain"], "shop.example", "{flow:#}");
            assert_eq!(flow["network"]["protocol"], "http");
            wait_for("the resolver's flow", || !flows(sidecar, 53).is_empty());
            let dns = &flows(sidecar, 53)[0];
            assert_eq!(dns["network"]["protocol"], "dns");
            assert_eq!(number(dns, "/source/bytes"), query(&answer).len() as u64);
        },
    );
}

fn exchange(mut client: &TcpStream, mut server: &TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    server.write_all(answer).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
}

#[test]
fn documents_of_intervals_add_up_and_quiet_ones_have_none() {
    everywhere(
        "documents_of_intervals_add_up_and_quiet_ones_have_none",
        |stage, sidecar| {
            let listener = listen(stage.callee(), stage.server(PORT));
            let (mut client, mut server) = pair(stage.caller(), &listener);
            let mut sent = 0;
            for round in 1..=3 {
                let piece = vec![b'x'; 1000 * round];
                client.write_all(&piece).unwrap();
                server.read_exact(&mut vec![0; piece.len()]).unwrap();
                sent += piece.len() as u64;
                wait_for("an interval's document", || {
                    sums(&flows(sidecar, PORT))[0] == sent
                });
            }
            let before = flows(sidecar, PORT);
            assert!(before.len() >= 3, "{before:#?}");
            for flow in &before {
                assert_eq!(flow["weir"]["flow"]["state"], "established");
                assert!(number(flow, "/network/packets") > 0, "{flow:#}");
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert_end(&server);
            drop(server);
            assert_end(&client);
            let (flow, all) = ended(sidecar, PORT);
            assert_eq!(all, totals(&flow));
            assert_eq!(all[..2], [sent, 0]);
            // In their order, and without a gap.
            for pair in flows(sidecar, PORT).windows(2) {
                assert_eq!(pair[0]["event"]["end"], pair[1]["event"]["start"]);
            }
        },
    );
}

/// That these differ by no more than a tenth, and what else they may.
fn assert_near(what: &str, seen: u64, kernel: u64, else_by: u64) {
    println!("{what}: {seen}, the kernel says {kernel}");
    let most = (kernel / 10).max(1) + else_by;
    assert!(
        seen.abs_diff(kernel) <= most,
        "{what}: {seen}, the kernel says {kernel}"
    );
}

#[test]
fn timing_round_trips_and_retransmits_are_the_kernels_own() {
    let name = "timing_round_trips_and_retransmits_are_the_kernels_own";
    for (family, drop_every) in [(V4, 0), (V4, 100), (V6, 40)] {
        if skip_unless_root(name) {
            return;
        }
        let mut lab = Lab::new("flows").unwrap();
        let (peer, pod) = (lab.node("peer").unwrap(), lab.node("pod").unwrap());
        let quality = Quality {
            delay: Duration::from_millis(20),
            drop_every,
        };
        let (link, line) = lab.join_by_line(&peer, &pod, quality).unwrap();
        let sidecar = tap(&pod);
        let server = match family {
            V4 => SocketAddr::from((link.a.v4, PORT)),
            V6 => SocketAddr::from((link.a.v6, PORT)),
        };
        let listener = listen(&peer, server);
        let (mut client, mut taken) = pair(&pod, &listener);
        // Piece by piece, so that nothing waits in this machine: that time the kernel would count, and the tap not see.
        // For the same reason not in a moment in which the machine was busy elsewhere: the kernel's own round trip shows that.
        let piece = vec![b'x'; 40_000];
        let mut buffer = piece.clone();
        let is_calm = |rtt: u64| rtt <= 44_000_000;
        let mut sent = 0;
        for round in 1.. {
            client.write_all(&piece).unwrap();
            taken.read_exact(&mut buffer).unwrap();
            sent += piece.len() as u64;
            let rtt = TcpInfo::of(&client).unwrap().rtt;
            if round >= 50 && (rtt.is_some_and(is_calm) || round == 500) {
                break;
            }
        }
        // All is acknowledged when the kernel has nothing left to send.
        wait_for("the last acknowledgement", || unsent(&pod, server) == 0);
        let kernel = TcpInfo::of(&client).unwrap();
        let last = || flows(&sidecar, PORT).pop();
        wait_for("the flow with all of it", || {
            last().is_some_and(|flow| totals(&flow)[0] == sent && sums(&flows(&sidecar, PORT))[0] == sent)
        });
        let flow = last().unwrap();
        assert_eq!(flow["weir"]["flow"]["final"], false);
        let of = |name: &str| number(&flow, &format!("/weir/flow/source/{name}"));
        println!("{family:?}, every {drop_every}th dropped:");
        assert_near("rtt", of("rtt"), kernel.rtt.unwrap(), 0);
        // (What varies by less is the machine, between the moment that the kernel notes and the one at which packets show.)
        let noise = kernel.rtt.unwrap() / 100;
        assert_near(
            "rtt_variation",
            of("rtt_variation"),
            kernel.rtt_variation.unwrap(),
            noise,
        );
        assert_near("retransmits", of("retransmits"), kernel.retransmits.unwrap(), 0);
        assert_eq!(of("missed_bytes"), 0);
        assert!(drop_every == 0 || of("retransmits") > 0);
        let handshake = number(&flow, "/weir/flow/handshake");
        assert!(handshake >= 40_000_000, "{handshake}");
        drop((client, taken));
        drop(line);
    }
}

/// Bytes that the pod's connection to there has not sent, or that nobody has acknowledged, as `ss` says.
fn unsent(pod: &Node, server: SocketAddr) -> u64 {
    let mut command = pod.command("ss");
    command.args(["-tnH", "state", "established", "dst", &server.to_string()]);
    let text = pod.run(command).unwrap();
    let fields: Vec<_> = text.split_whitespace().collect();
    fields[1].parse().unwrap()
}

#[test]
fn look_ups_of_a_sinks_name_are_the_sidecars_own() {
    if skip_unless_root("look_ups_of_a_sinks_name_are_the_sidecars_own") {
        return;
    }
    let mut lab = Lab::new("flows").unwrap();
    let (peer, pod) = (lab.node("peer").unwrap(), lab.node("pod").unwrap());
    let link = lab.join(&peer, &pod).unwrap();
    let server = SocketAddr::from((link.a.v4, 53));
    let resolver = peer.enter(|| UdpSocket::bind(server)).unwrap().unwrap();
    resolver.set_read_timeout(Some(LIMIT)).unwrap();
    // Of nobody else on this machine: the file that names the resolver is another one for the sidecar alone.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("nameserver {}\n", server.ip())).unwrap();
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut command = pod.command("unshare");
    let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
    command.args(["--mount", "sh", "-c", script]).arg(file.path());
    command.arg(binary("weir-sidecar").unwrap());
    let flags = ["--mode", "tap", "--flows-interval", "1s"];
    let export = ["--export", "elasticsearch:http://sink.weir.test:9200"];
    let sidecar = Sidecar::spawn(&pod, command, &[&flags[..], &export].concat()).unwrap();
    // Nobody is found: it asks again, for both families each time.
    let mut buffer = [0; 512];
    for _ in 0..6 {
        let (len, peer) = again(|| resolver.recv_from(&mut buffer)).unwrap();
        let query = &mut buffer[..len];
        query[2..4].copy_from_slice(&[0x81, 0x83]);
        resolver.send_to(query, peer).unwrap();
    }
    // What another process asks is seen, and that comes after all of this.
    let own = pod.enter(|| UdpSocket::bind((link.b.v4, 0))).unwrap().unwrap();
    own.connect(server).unwrap();
    own.send(&query(&answer(server.ip()))).unwrap();
    let own = own.local_addr().unwrap().port();
    wait_for("the flow of another's query", || {
        sidecar.flows().iter().any(|flow| flow["source"]["port"] == own)
    });
    for flow in sidecar.flows() {
        assert_eq!(flow["source"]["port"], own, "{flow:#}");
    }
    let names = |document: &Value| document["dns"]["question"]["name"] == "sink.weir.test";
    assert!(!sidecar.documents().iter().any(names));
}

#[test]
fn from_a_shell_flows_are_there_where_they_are_asked_for() {
    if skip_unless_root("from_a_shell_flows_are_there_where_they_are_asked_for") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let tap = |flags: &[&str]| {
        let mut command = stage.pod.command(binary("weir").unwrap());
        command.arg("tap").args(flags);
        let process = stage.pod.spawn(command).unwrap();
        wait_for("it looks", || process.output().contains("looking"));
        process
    };
    let mut without = tap(&["--format", "json"]);
    let mut with = tap(&["--format", "json", "--flows", "--flows-interval", "0s"]);
    let mut table = tap(&["--flows"]);
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    exchange(&client, &server, "/shell");
    drop(client);
    assert_end(&server);
    drop(server);
    wait_for("the flow", || with.output().contains("\"weir.flow\""));
    wait_for("the flow's row", || table.output().contains("finished"));
    wait_for("the request", || without.output().contains("/shell"));
    for process in [&mut without, &mut with, &mut table] {
        process.terminate(LIMIT).unwrap();
    }
    assert!(!without.output().contains("\"weir.flow\""));
    assert!(table.output().contains("bytes up"), "{}", table.output());
}
