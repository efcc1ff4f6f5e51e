//! What mode `ebpf` alone promises, and how `auto` finds what works.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "ebpf/edges.rs"]
mod edges;
#[path = "ebpf/others.rs"]
mod others;

use std::{io::ErrorKind, thread};
use weir_lab::{Node, binary};
use weir_tests::{
    kernel,
    many::{First, Ports, Server, Talk, churn},
    peer::{accept, assert_end, connect, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, install, wait_for},
};

const PORT: u16 = 8080;
const CLOSED: u16 = 8081;
/// Every capability that lets a program load eBPF.
const NO_BPF: &str = "-bpf,-perfmon,-sys_admin";
const NO_PERFMON: &str = "-perfmon,-sys_admin";

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
    closed_ports_stay_closed
    nothing_is_tracked
    without_a_sidecar_traffic_goes_straight_on
    held_clients_wait_for_the_sidecar
    other_settings_take_the_place_of_the_old
    without_perfmon_it_works_and_says_what_is_lost
    auto_takes_ebpf_where_it_may_and_tproxy_where_it_may_not
}

mod edge {
    use super::{Family, edges, on_stage};

    both_families! {
        a_connection_that_can_not_be_assigned_reaches_its_server
        a_sidecar_that_takes_no_connection_is_passed_by
        frames_of_a_packet_socket_are_left_alone
        what_a_sidecar_left_in_time_wait_takes_nothing
    }

    mod cases {
        pub use super::edges::*;
    }
}

fn on_stage(name: &str, family: Family, case: impl FnOnce(&Stage)) {
    play(
        name,
        Weight::Light,
        (Mode::Direct, Direction::Inbound, family),
        case,
    );
}

/// `weir-init` without some capabilities: how it ended, and what it wrote.
fn try_without(node: &Node, capabilities: &str, mode: &str) -> (bool, String) {
    let mut command = node.command("setpriv");
    command.args(["--bounding-set", capabilities, "--inh-caps", "-all"]);
    command
        .arg(binary("weir-init").unwrap())
        .args(["install", "--mode"])
        .args(mode.split(' '));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

fn install_without(node: &Node, capabilities: &str, mode: &str) -> String {
    let (done, said) = try_without(node, capabilities, mode);
    assert!(done, "{said}");
    said
}

mod cases {
    use super::*;

    pub fn closed_ports_stay_closed(stage: &Stage) {
        install(&stage.pod, &["--mode", "ebpf"]).unwrap();
        let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
        let refused = connect(&stage.client, stage.server(CLOSED)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // An application that listens elsewhere, on the loopback address, does not open the port either.
        let loopback = stage.pick("127.0.0.1:8081", "[::1]:8081").parse().unwrap();
        let _elsewhere = listen(&stage.pod, loopback);
        let refused = connect(&stage.client, stage.server(CLOSED)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(sidecar.connections(Direction::Inbound), 0);
        stage.assert_serves(PORT);
        assert_eq!(sidecar.connections(Direction::Inbound), 1);
    }

    pub fn nothing_is_tracked(stage: &Stage) {
        install(&stage.pod, &["--mode", "ebpf"]).unwrap();
        let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
        let address = stage.server(PORT);
        let _server = Server::short(listen(&stage.pod, address), Talk::PLAIN, First::Server);
        let tally = churn(
            &stage.client,
            address,
            500,
            Ports::Given,
            Talk::PLAIN,
            First::Server,
        );
        assert_eq!(tally.succeeded, 500, "{tally}");
        assert_eq!(sidecar.connections(Direction::Inbound), 500);
        assert_eq!(stage.pod.tracked_connections(), 0);
    }

    pub fn without_a_sidecar_traffic_goes_straight_on(stage: &Stage) {
        install(&stage.pod, &["--mode", "ebpf"]).unwrap();
        stage.assert_serves(PORT);
        let address = stage.server(PORT);
        let outside = stage.link.a.at(PORT)[usize::from(stage.family == Family::V6)];
        let _server = Server::short(listen(&stage.pod, address), Talk::PLAIN, First::Server);
        let _outside = Server::short(listen(&stage.client, outside), Talk::PLAIN, First::Server);
        let all = |count| {
            for (node, address) in [(&stage.client, address), (&stage.pod, outside)] {
                let tally = churn(node, address, count, Ports::Given, Talk::PLAIN, First::Server);
                assert_eq!(tally.succeeded, u64::from(count), "{tally}");
            }
        };
        for _ in 0..3 {
            let mut sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
            all(200);
            for direction in [Direction::Inbound, Direction::Outbound] {
                assert_eq!(sidecar.connections(direction), 200, "{direction:?}");
            }
            // In the middle of the load: what is being carried breaks, and whatever begins afterwards does not.
            thread::scope(|scope| {
                let load = scope.spawn(|| {
                    churn(
                        &stage.client,
                        address,
                        2_000,
                        Ports::Given,
                        Talk::PLAIN,
                        First::Server,
                    )
                });
                wait_for("some load", || sidecar.connections(Direction::Inbound) > 300);
                sidecar.process.kill().unwrap();
                let tally = load.join().unwrap();
                // 32 were open, and as many may have begun while its listeners closed one after the other.
                assert!(tally.succeeded >= 2_000 - 64, "{tally}");
            });
            drop(sidecar);
            all(200);
        }
    }

    pub fn held_clients_wait_for_the_sidecar(stage: &Stage) {
        install(&stage.pod, &["--mode", "ebpf", "--on-missing-proxy", "hold"]).unwrap();
        let listener = listen(&stage.pod, stage.server(PORT));
        thread::scope(|scope| {
            let first = scope.spawn(|| pair(&stage.client, &listener));
            wait_for("the first packet of a connection to be dropped", || {
                let shown = stage
                    .client
                    .command("ss")
                    .args(["-tnH", "state", "syn-sent"])
                    .output();
                shown.is_ok_and(|output| !output.stdout.is_empty())
            });
            let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
            let (client, server) = first.join().unwrap();
            converse(&client, &server, b"at last");
            assert_eq!(sidecar.connections(Direction::Inbound), 1);
        });
    }

    pub fn other_settings_take_the_place_of_the_old(stage: &Stage) {
        install(&stage.pod, &["--mode", "ebpf"]).unwrap();
        let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
        stage.assert_serves(PORT);
        assert_eq!(sidecar.connections(Direction::Inbound), 1);
        let excluded = PORT.to_string();
        install(
            &stage.pod,
            &["--mode", "ebpf", "--exclude-inbound-ports", &excluded],
        )
        .unwrap();
        stage.assert_serves(PORT);
        assert_eq!(sidecar.connections(Direction::Inbound), 1, "it is left alone now");
        install(&stage.pod, &["--mode", "ebpf", "--exclude-interfaces", "eth0"]).unwrap();
        stage.assert_serves(PORT);
        assert_eq!(sidecar.connections(Direction::Inbound), 1);
        install(&stage.pod, &["--mode", "ebpf"]).unwrap();
        stage.assert_serves(PORT);
        assert_eq!(sidecar.connections(Direction::Inbound), 2);
    }

    pub fn without_perfmon_it_works_and_says_what_is_lost(stage: &Stage) {
        let (done, said) = try_without(&stage.pod, NO_PERFMON, "ebpf");
        if !done && kernel() < (6, 8) {
            assert!(
                said.contains("need CAP_PERFMON") && said.lines().count() == 1,
                "{said}"
            );
            return;
        }
        assert!(
            done && said.contains("without the part that needs CAP_PERFMON"),
            "{said}"
        );
        let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
        stage.assert_serves(PORT);
        assert_eq!(sidecar.connections(Direction::Inbound), 1);
    }

    pub fn auto_takes_ebpf_where_it_may_and_tproxy_where_it_may_not(stage: &Stage) {
        let (done, said) = try_without(&stage.pod, NO_BPF, "ebpf");
        assert!(
            !done && said.contains("CAP_BPF") && said.lines().count() == 1,
            "{said}"
        );
        let said = install_without(&stage.pod, NO_BPF, "auto --sidecar-net-raw");
        assert!(
            said.contains("ebpf: not here") && said.contains("CAP_BPF"),
            "{said}"
        );
        assert!(
            said.contains("tproxy: works") && said.contains("installed, mode tproxy"),
            "{said}"
        );
        let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
        stage.assert_serves(PORT);
        assert_eq!(sidecar.stats()["mode"], "tproxy");
        let said = install_without(&stage.pod, "+all", "auto");
        assert!(
            said.contains("ebpf: works") && said.contains("installed, mode ebpf"),
            "{said}"
        );
        wait_for("the sidecar to learn of it", || sidecar.stats()["mode"] == "ebpf");
        stage.assert_serves(PORT);
        assert_eq!(sidecar.connections(Direction::Inbound), 2);
        drop(sidecar);
        let check = |mode: &str| {
            let mut command = stage.pod.command(binary("weir-init").unwrap());
            command.args(["check", "--json", "--mode", mode]);
            let output = command.output().unwrap();
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
        };
        assert_eq!(check("auto")["ok"], true);
        assert_eq!(check("auto")["mode"], "ebpf");
        assert_eq!(check("redirect")["ok"], false);
    }
}
