//! What the redirect takes, what it leaves alone, and what was there before it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use weir_lab::Node;
use weir_tests::{
    many::{First, Ports, Server, Talk, churn},
    peer::{accept, assert_end, assert_reset, connect, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, init, install, wait_for},
};

const PORT: u16 = 8080;

macro_rules! both_families {
    ($($mode:ident $direction:ident $case:ident;)*) => {$(
        mod $case {
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
                play(stringify!($case), Weight::Light, (Mode::$mode, Direction::$direction, family), super::$case);
            }
        }
    )*};
}

mod redirected {
    use super::*;

    both_families! {
        Redirected Inbound application_that_calls_its_own_address_is_served_and_never_seen_twice;
        Redirected Inbound loopback_is_left_alone;
        Redirected Inbound server_in_the_pod_never_sees_a_loopback_client;
        Redirected Outbound server_outside_sees_the_pods_own_address;
        Redirected Inbound direct_dial_of_a_sidecar_port_is_refused_and_counted;
        Direct Inbound connections_from_before_survive_install_and_remove;
        Direct Outbound connections_of_the_pod_from_before_survive_install_and_remove;
        Direct Inbound connections_after_remove_go_straight_to_the_server;
    }
}

mod tproxy {
    use super::*;

    both_families! {
        Tproxy Inbound application_that_calls_its_own_address_is_served_and_never_seen_twice;
        Tproxy Inbound loopback_is_left_alone;
        Tproxy Inbound server_in_the_pod_never_sees_a_loopback_client;
        Tproxy Outbound server_outside_sees_the_pods_own_address;
        Tproxy Inbound direct_dial_of_a_sidecar_port_is_refused_and_counted;
    }
}

fn sidecar(stage: &Stage) -> &Sidecar {
    stage.sidecar.as_ref().unwrap()
}

fn application_that_calls_its_own_address_is_served_and_never_seen_twice(stage: &Stage) {
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::HTTP, First::Server);
    let seen =
        || sidecar(stage).connections(Direction::Inbound) + sidecar(stage).connections(Direction::Outbound);
    let call = |caller| {
        let tally = churn(caller, address, 20, Ports::Given, Talk::HTTP, First::Server);
        assert_eq!(tally.succeeded, 20, "{tally}");
    };
    // Others' calls are seen once each; its own, like Istio's, may be left alone.
    call(&stage.client);
    assert_eq!(seen(), 20);
    call(&stage.pod);
    assert!(seen() <= 40, "{}", seen());
}

fn loopback_is_left_alone(stage: &Stage) {
    // Something redirected, so that the counters are known to count.
    stage.assert_serves(PORT);
    let before = sidecar(stage).connections(Direction::Inbound);
    let loopback: SocketAddr = stage.pick(
        (Ipv4Addr::LOCALHOST, PORT).into(),
        (Ipv6Addr::LOCALHOST, PORT).into(),
    );
    let listener = listen(&stage.pod, loopback);
    let (client, server) = pair(&stage.pod, &listener);
    converse(&client, &server, b"just us");
    assert!(server.peer_addr().unwrap().ip().is_loopback());
    assert_eq!(sidecar(stage).connections(Direction::Inbound), before);
    assert_eq!(sidecar(stage).connections(Direction::Outbound), 0);
}

/// An IPv6 link-local address means nothing without its interface, which no redirect keeps.
#[test]
fn link_local_addresses_are_left_alone() {
    for (mode, direction, name) in [
        (Direction::Inbound, "link_local_inbound"),
        (Direction::Outbound, "link_local_outbound"),
    ]
    .into_iter()
    .flat_map(|(direction, name)| [Mode::Redirected, Mode::Tproxy].map(|mode| (mode, direction, name)))
    {
        play(name, Weight::Light, (mode, direction, Family::V6), |stage| {
            // Something redirected beside it.
            stage.assert_serves(PORT);
            let (_, address) = link_local(stage.callee());
            let (interface, _) = link_local(stage.caller());
            let listener = listen(stage.callee(), (Ipv6Addr::UNSPECIFIED, PORT).into());
            let to = SocketAddrV6::new(address, PORT, 0, interface);
            let client = connect(stage.caller(), to.into()).unwrap();
            let server = accept(&listener);
            converse(&client, &server, b"hello, neighbour");
        });
    }
}

/// The index of a node's first interface with a link-local address, and that address.
fn link_local(node: &Node) -> (u32, Ipv6Addr) {
    let shown = node.ip("-6 -o addr show scope link").unwrap();
    let mut words = shown.split_whitespace();
    let index = words.next().unwrap().trim_end_matches(':').parse().unwrap();
    let network = words.find(|word| word.starts_with("fe80:")).unwrap();
    (index, network.split('/').next().unwrap().parse().unwrap())
}

/// Applications trust loopback.
fn server_in_the_pod_never_sees_a_loopback_client(stage: &Stage) {
    let listener = listen(&stage.pod, stage.server(PORT));
    for caller in [&stage.client, &stage.pod] {
        let (client, server) = pair(caller, &listener);
        converse(&client, &server, b"who am I?");
        let peer = server.peer_addr().unwrap();
        assert!(!peer.ip().is_loopback(), "{peer}");
    }
}

fn server_outside_sees_the_pods_own_address(stage: &Stage) {
    let listener = listen(&stage.client, stage.server(PORT));
    let (client, server) = pair(&stage.pod, &listener);
    converse(&client, &server, b"who am I?");
    assert_eq!(
        server.peer_addr().unwrap().ip(),
        client.local_addr().unwrap().ip()
    );
}

fn direct_dial_of_a_sidecar_port_is_refused_and_counted(stage: &Stage) {
    let loops = || sidecar(stage).metric("weir_refused_loops_total", &[]);
    let mut expected = loops();
    for port in [15001, 15006] {
        for caller in [&stage.client, &stage.pod] {
            assert_refused(caller, stage.server(port));
            expected += 1;
            wait_for(&format!("{expected} refusals"), || loops() >= expected);
        }
        let loopback = stage.pick(
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        );
        assert_refused(&stage.pod, loopback);
        expected += 1;
        wait_for(&format!("{expected} refusals"), || loops() >= expected);
    }
    // Each was refused once: nothing goes in circles.
    assert_eq!(loops(), expected);
    stage.assert_serves(PORT);
}

fn assert_refused(caller: &Node, address: SocketAddr) {
    // A connection that is reset before it was looked at fails to connect.
    if let Ok(stream) = connect(caller, address) {
        assert_reset(&stream);
    }
}

fn connections_from_before_survive_install_and_remove(stage: &Stage) {
    survive(stage);
}

fn connections_of_the_pod_from_before_survive_install_and_remove(stage: &Stage) {
    survive(stage);
}

/// Whichever side speaks first after each change: for connection tracking that packet is the first of all.
fn survive(stage: &Stage) {
    let listener = listen(stage.callee(), stage.server(PORT));
    let [one, other] = [(); 2].map(|()| pair(stage.caller(), &listener));
    let speak = || {
        converse(&one.0, &one.1, b"client speaks");
        converse(&one.1, &one.0, b"server answers");
        converse(&other.1, &other.0, b"server speaks");
        converse(&other.0, &other.1, b"client answers");
    };
    speak();
    install(&stage.pod, &[]).unwrap();
    speak();
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    speak();
    let new = pair(stage.caller(), &listener);
    converse(&new.0, &new.1, b"hello");
    assert_eq!(
        sidecar.connections(stage.direction),
        1,
        "the old ones went on by themselves"
    );
    init(&stage.pod, "remove", &[]).unwrap();
    speak();
    drop(sidecar);
    speak();
    for (client, server) in [one, other] {
        drop(client);
        assert_end(&server);
    }
}

fn connections_after_remove_go_straight_to_the_server(stage: &Stage) {
    install(&stage.pod, &[]).unwrap();
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let listener = listen(&stage.pod, stage.server(PORT));
    let (client, server) = pair(&stage.client, &listener);
    converse(&client, &server, b"hello");
    assert_ne!(server.peer_addr().unwrap(), client.local_addr().unwrap());
    init(&stage.pod, "remove", &[]).unwrap();
    let (client, server) = pair(&stage.client, &listener);
    converse(&client, &server, b"hello");
    assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
    assert_eq!(sidecar.connections(Direction::Inbound), 1);
}
