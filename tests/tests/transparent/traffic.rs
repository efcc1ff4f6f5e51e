//! Whom the application sees, and that no connection suffers for it.

use crate::support::*;
use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};
use weir_tests::{
    many::{First, Ports, Server, Talk, churn, how_many},
    peer::{accept, again, assert_reset, connect, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage},
    weir::{Sidecar, init, wait_for},
};

pub fn application_sees_its_clients_address(stage: &Stage) {
    for _ in 0..3 {
        assert_kept(stage, sidecar(stage));
    }
    let mode = sidecar(stage).stats()["mode"].as_str().unwrap().to_owned();
    let said = init(&stage.pod, "check", &["--mode", &mode]).unwrap();
    assert!(
        said.contains("was answered by the listener on port 15006"),
        "{said}"
    );
}

pub fn server_outside_sees_the_pods_address(stage: &Stage) {
    let (seen, own) = seen(stage);
    assert_eq!(seen, own);
}

pub fn strict_and_loose_reverse_path_filters_do_no_harm(stage: &Stage) {
    for filter in ["0", "1", "2"] {
        let interfaces = stage
            .pod
            .enter(|| {
                let all = fs::read_dir("/proc/sys/net/ipv4/conf").unwrap();
                all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect::<Vec<_>>()
            })
            .unwrap();
        for interface in interfaces {
            stage
                .pod
                .sysctl(&format!("ipv4/conf/{interface}/rp_filter"), filter)
                .unwrap();
        }
        assert_kept(stage, sidecar(stage));
    }
}

pub fn syn_cookies_do_no_harm(stage: &Stage) {
    stage.pod.sysctl("ipv4/tcp_syncookies", "2").unwrap();
    for _ in 0..5 {
        assert_kept(stage, sidecar(stage));
    }
}

fn talk_http(stage: &Stage, count: u32) {
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::HTTP, First::Server);
    let tally = churn(
        &stage.client,
        address,
        count,
        Ports::Given,
        Talk::HTTP,
        First::Server,
    );
    assert_eq!(tally.succeeded, u64::from(count), "{tally}");
}

pub fn documents_carry_the_mode(stage: &Stage) {
    talk_http(stage, 5);
    let sidecar = sidecar(stage);
    wait_for("five documents", || sidecar.documents().len() == 5);
    let mode = sidecar.stats()["mode"].clone();
    let client = stage.link.a.at(0)[usize::from(stage.family == Family::V6)].ip();
    for document in sidecar.documents() {
        assert_eq!(document["weir"]["mode"], mode, "{document}");
        assert_ne!(mode, "unknown");
        assert_eq!(document["source"]["ip"], client.to_string(), "{document}");
    }
}

/// Clients outside may use any port, also those that the sidecar dials from in their name.
pub fn port_that_clients_use_themselves_harms_nobody(stage: &Stage) {
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::PLAIN, First::Client);
    let tally = churn(
        &stage.client,
        address,
        2_000,
        Ports::InTurn(20_000..=32_047),
        Talk::PLAIN,
        First::Client,
    );
    println!("{tally}");
    assert_eq!(tally.succeeded, 2_000, "{tally}");
    assert_eq!(tally.stalled, 0, "{tally}");
    assert!(
        not_kept(sidecar(stage)) > 0,
        "such a client's address is not borrowed"
    );
}

/// A client can't choose whether the application sees it: not by one port that the sidecar would dial from itself, and not
/// by many, as address translation takes them, where the namespace lets programs bind to low ports.
pub fn port_of_a_client_does_not_hide_its_address(stage: &Stage) {
    let listener = listen(&stage.pod, stage.server(PORT));
    let from = |port: u16| {
        let client = stage.client.enter(|| {
            let [v4, v6] = stage.link.a.at(port);
            let source = stage.pick(v4, v6);
            let socket =
                socket2::Socket::new(socket2::Domain::for_address(source), socket2::Type::STREAM, None)
                    .unwrap();
            socket.bind(&source.into()).unwrap();
            socket.connect(&stage.server(PORT).into()).unwrap();
            std::net::TcpStream::from(socket)
        });
        (client.unwrap(), accept(&listener))
    };
    let own = stage.link.a.at(0)[usize::from(stage.family == Family::V6)].ip();
    // All stay open, so that none may share its addresses and ports with another.
    let open: Vec<_> = [20_000, 45_001, 20_001, 45_002].map(from).into_iter().collect();
    for (_, server) in &open {
        assert_eq!(server.peer_addr().unwrap().ip(), own);
    }
    assert_eq!(not_kept(sidecar(stage)), 0);
    let many: Vec<_> = (21_000..21_020).map(from).collect();
    let last = many.last().unwrap().1.peer_addr().unwrap();
    // Low ports are not allowed in this namespace, so that for this client there is none left.
    assert!(is_spare(last.ip()), "{last}");
    for (client, server) in open.iter().chain(&many) {
        converse(client, server, b"undisturbed");
    }
}

/// The same where sockets may bind to any address, and to low ports.
pub fn address_is_kept_where_binding_is_free(stage: &Stage, mode: Mode) {
    stage.pod.sysctl("ipv4/ip_nonlocal_bind", "1").unwrap();
    stage.pod.sysctl("ipv6/ip_nonlocal_bind", "1").unwrap();
    stage.pod.sysctl("ipv4/ip_unprivileged_port_start", "0").unwrap();
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    assert_kept(stage, &sidecar);
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::PLAIN, First::Client);
    let tally = churn(
        &stage.client,
        address,
        200,
        Ports::InTurn(20_000..=32_047),
        Talk::PLAIN,
        First::Client,
    );
    assert_eq!((tally.succeeded, tally.stalled), (200, 0), "{tally}");
    assert_eq!(not_kept(&sidecar), 0, "{}", sidecar.metrics());
}

/// An application that does not keep up is asked once, not twice.
pub fn full_queue_of_the_application_is_not_met_by_a_second_dial(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let address = stage.server(PORT);
    let listener = stage.pod.enter(|| {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(1).unwrap();
        std::net::TcpListener::from(socket)
    });
    let listener = listener.unwrap();
    // One more than the backlog; calls to the own address are left alone.
    let waiting = [(); 2].map(|()| connect(&stage.pod, address).unwrap());
    let client = connect(&stage.client, address).unwrap();
    let dials = || {
        let mut ss = stage.pod.command("ss");
        ss.args(["-Htn", "state", "syn-sent"]);
        stage.pod.run(ss).unwrap().lines().count()
    };
    wait_for("the dial", || dials() == 1);
    // Longer than a second one waits elsewhere.
    thread::sleep(Duration::from_millis(700));
    assert_eq!(dials(), 1);
    for _ in &waiting {
        accept(&listener);
    }
    let server = accept(&listener);
    converse(&client, &server, b"at last");
    assert_eq!(
        server.peer_addr().unwrap().ip(),
        client.local_addr().unwrap().ip()
    );
    assert_eq!(not_kept(&sidecar), 0);
}

/// The server sees the address that the application has chosen.
pub fn outbound_connection_keeps_the_address_that_the_application_chose(stage: &Stage, mode: Mode) {
    let second = stage.pick("198.18.0.22", "fd00:198:18::22");
    let length = stage.pick("24", "64 nodad");
    stage
        .pod
        .ip(&format!("addr add {second}/{length} dev eth0")
            .replace("/64 nodad dev eth0", "/64 dev eth0 nodad"))
        .unwrap();
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let outside = stage.link.a.at(PORT)[usize::from(stage.family == Family::V6)];
    let listener = listen(&stage.client, outside);
    let first = stage.link.b.at(0)[usize::from(stage.family == Family::V6)].ip();
    for own in [second.parse().unwrap(), first] {
        // More than one, so that the sidecar begins to choose ports itself.
        for _ in 0..70 {
            let client = stage.pod.enter(|| {
                let socket =
                    socket2::Socket::new(socket2::Domain::for_address(outside), socket2::Type::STREAM, None)
                        .unwrap();
                socket.bind(&SocketAddr::new(own, 0).into()).unwrap();
                socket.connect(&outside.into()).unwrap();
                std::net::TcpStream::from(socket)
            });
            let (client, server) = (client.unwrap(), accept(&listener));
            assert_eq!(server.peer_addr().unwrap().ip(), own);
            converse(&client, &server, b"hello");
        }
    }
    assert_eq!(not_kept(&sidecar), 0);
    assert_eq!(sidecar.connections(Direction::Outbound), 140);
}

/// The ports that the sidecar listens at are other machines' like any other; its own can't be dialled.
pub fn listeners_ports_of_other_machines_are_reached_and_its_own_are_not(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let family = usize::from(stage.family == Family::V6);
    for port in [15001, 15006, 15053] {
        let outside = stage.link.a.at(port)[family];
        let listener = listen(&stage.client, outside);
        let (client, server) = pair(&stage.pod, &listener);
        converse(&client, &server, b"hello");
    }
    assert_eq!(sidecar.connections(Direction::Outbound), 3);
    for port in [15001, 15006] {
        for ip in [
            stage.link.b.at(0)[family].ip(),
            stage.pick("127.0.0.1", "::1").parse().unwrap(),
        ] {
            if let Ok(client) = connect(&stage.pod, SocketAddr::new(ip, port)) {
                assert_reset(&client);
            }
        }
    }
}

pub fn no_short_connection_of_a_client_fails_when_servers_close_first(stage: &Stage) {
    // More than a client has ports.
    let count = how_many(70_000, 100_000);
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::PLAIN, First::Server);
    let tally = churn(
        &stage.client,
        address,
        count,
        Ports::Given,
        Talk::PLAIN,
        First::Server,
    );
    println!("{tally}; address not kept: {}", not_kept(sidecar(stage)));
    assert_eq!(tally.succeeded, u64::from(count), "{tally}");
    if sidecar(stage).stats()["mode"] == "ebpf" {
        assert_eq!(stage.pod.tracked_connections(), 0);
    }
}

/// Something on the way, such as a rule of somebody else's, may not let the client's address pass over lo.
pub fn dial_that_gets_no_answer_is_made_from_a_spare_address(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let mut block = stage.pod.command(stage.pick("iptables", "ip6tables"));
    let [v4, v6] = stage.link.a.at(0);
    let client = stage.pick(v4, v6).ip().to_string();
    block.args("-w -A INPUT -i lo -p tcp --syn -j DROP -s".split(' '));
    stage
        .pod
        .run({
            block.arg(&client);
            block
        })
        .unwrap();
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
    assert_eq!(
        sidecar.metric("weir_source_not_kept_total", &["reason=\"slow\""]),
        1
    );
}

pub fn connection_without_a_port_for_its_client_is_made_from_a_spare_address(stage: &Stage, mode: Mode) {
    stage
        .pod
        .sysctl("ipv4/ip_local_reserved_ports", "2048-32047")
        .unwrap();
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
    assert_eq!(
        sidecar.metric("weir_source_not_kept_total", &["reason=\"no_port\""]),
        1
    );
}

/// What the sidecar dials for the application, and is the pod itself: inbound, once, whichever of its addresses it is
/// called from.
pub fn own_call_of_the_sidecar_reaches_the_application_once(stage: &Stage, mode: Mode) {
    let second = stage.pick("198.18.77.1", "fd00:198:18:77::1");
    let length = stage.pick("32", "128");
    let dad = stage.pick("", " nodad");
    stage
        .pod
        .ip(&format!("addr add {second}/{length} dev eth0{dad}"))
        .unwrap();
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let listener = listen(&stage.pod, stage.server(PORT));
    let address = stage.server(PORT);
    // Mode ebpf knows only a call that comes from the very address to which it goes; others it leaves alone.
    let sources = match mode {
        Mode::Ebpf => vec![address.ip()],
        _ => vec![address.ip(), second.parse().unwrap()],
    };
    let calls = sources.len() as u64;
    for source in sources {
        let mut call = by_setpriv(&stage.pod, "--reuid 1337 --regid 1337 --clear-groups", "curl");
        let url = format!("http://{address}/");
        call.args(["--silent", "--show-error", "--max-time", "60", "--interface"]);
        call.args([source.to_string(), url]);
        thread::scope(|scope| {
            let call = scope.spawn(|| stage.pod.run(call));
            let mut server = accept(&listener);
            assert!(is_spare(server.peer_addr().unwrap().ip()));
            assert!(again(|| server.read(&mut [0; 1024])).unwrap() > 0);
            server.write_all(Talk::HTTP.answer).unwrap();
            drop(server);
            assert_eq!(call.join().unwrap().unwrap(), "ok");
        });
    }
    assert_eq!(sidecar.connections(Direction::Inbound), calls);
    assert_eq!(
        sidecar.metric("weir_source_not_kept_total", &["reason=\"local_address\""]),
        calls
    );
}
