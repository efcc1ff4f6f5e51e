//! Installation, removal and changes of mode, with traffic that goes on.

use crate::support::*;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use weir_lab::binary;
use weir_tests::{
    many::{First, Ports, Server, Talk, churn},
    peer::{accept, connect, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, init, install, wait_for},
};

pub fn mode_is_learned_from_a_later_installation(stage: &Stage, mode: Mode) {
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    assert_eq!(sidecar.stats()["mode"], "unknown");
    assert_capabilities(&sidecar, NET_RAW);
    set_up(stage, mode);
    let name = mode.name().unwrap();
    wait_for("the mode to be learned", || sidecar.stats()["mode"] == name);
    assert_kept(stage, &sidecar);
    install(&stage.pod, &["--mode", "redirect"]).unwrap();
    wait_for("the other mode to be learned", || {
        sidecar.stats()["mode"] == "redirect"
    });
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
}

pub fn connections_from_before_go_on(stage: &Stage, mode: Mode) {
    let listener = listen(&stage.pod, stage.server(PORT));
    let [one, other] = [(); 2].map(|()| pair(&stage.client, &listener));
    let speak = || {
        converse(&one.0, &one.1, b"client speaks");
        converse(&one.1, &one.0, b"server answers");
        converse(&other.1, &other.0, b"server speaks");
        converse(&other.0, &other.1, b"client answers");
    };
    speak();
    set_up(stage, mode);
    speak();
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    speak();
    let new = pair(&stage.client, &listener);
    converse(&new.0, &new.1, b"hello");
    assert_eq!(
        sidecar.connections(Direction::Inbound),
        1,
        "the old ones went on by themselves"
    );
    speak();
    init(&stage.pod, "remove", &[]).unwrap();
    speak();
    drop(sidecar);
    speak();
}

pub fn change_of_mode_under_load_loses_nothing(stage: &Stage, mode: Mode) {
    const CHANGES: usize = 10;
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::HTTP, First::Server);
    let stop = AtomicBool::new(false);
    let mut total = 0;
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut succeeded = 0;
            while !stop.load(Ordering::Relaxed) {
                let tally = churn(
                    &stage.client,
                    address,
                    200,
                    Ports::Given,
                    Talk::HTTP,
                    First::Server,
                );
                if tally.succeeded != 200 {
                    stop.store(true, Ordering::Relaxed);
                }
                assert_eq!(tally.succeeded, 200, "{tally}");
                succeeded += tally.succeeded;
            }
            succeeded
        });
        for next in ["redirect", mode.name().unwrap()].iter().cycle().take(CHANGES) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            install(&stage.pod, &["--mode", next]).unwrap();
            // Some connections in each mode.
            let before = sidecar.connections(Direction::Inbound);
            wait_for("more connections", || {
                stop.load(Ordering::Relaxed) || sidecar.connections(Direction::Inbound) > before + 100
            });
        }
        stop.store(true, Ordering::Relaxed);
        total = load.join().unwrap();
    });
    let seen = sidecar.connections(Direction::Inbound);
    println!("{total} connections during {CHANGES} changes, {seen} relayed");
    assert!(seen >= total, "{} escaped", total - seen);
}

pub fn removal_leaves_nothing(stage: &Stage, mode: Mode) {
    let state = || {
        let mut command = stage.pod.command("sh");
        let script = "iptables-save; ip6tables-save; ip rule; ip -6 rule; ip route show table all; \
            ip -6 route show table all; nft list ruleset; tc qdisc show; tc filter show dev eth0 ingress; \
            tc filter show dev lo egress; cat /proc/sys/net/ipv4/conf/*/accept_local";
        command.args(["-c", &format!("({script}) 2>/dev/null")]);
        let shown = stage.pod.run(command).unwrap();
        // Link-local addresses come when they like.
        let lasting = shown.lines().filter(|line| !line.contains("fe80:"));
        lasting.map(|line| format!("{line}\n")).collect::<String>()
    };
    let before = state();
    set_up(stage, mode);
    let installed = state();
    assert!(installed.contains("fwmark 0x539 lookup 133"), "{installed}");
    let again = {
        let mut command = stage.pod.command(binary("weir-init").unwrap());
        command.args(["install", "--mode", mode.name().unwrap()]);
        command.output().unwrap()
    };
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("nothing to do"), "{said}");
    init(&stage.pod, "check", &["--mode", mode.name().unwrap()]).unwrap();
    init(&stage.pod, "remove", &[]).unwrap();
    assert_eq!(state(), before);
}

/// TPROXY alone: nobody else waits for a sidecar unless asked to.
#[test]
fn tproxy_connection_waits_for_a_sidecar_that_is_yet_to_come() {
    play(
        "tproxy_connection_waits_for_a_sidecar_that_is_yet_to_come",
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            set_up(stage, Mode::Tproxy);
            let listener = listen(&stage.pod, stage.server(PORT));
            thread::scope(|scope| {
                let client = scope.spawn(|| connect(&stage.client, stage.server(PORT)).unwrap());
                // Its first packet has been dropped.
                wait_for("a dropped packet", || {
                    let mut shown = stage.pod.command("iptables-save");
                    shown.args(["-c", "-t", "mangle"]);
                    let shown = stage.pod.run(shown).unwrap();
                    shown
                        .lines()
                        .any(|line| line.contains("-j TPROXY") && !line.starts_with("[0:0]"))
                });
                let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
                let client = client.join().unwrap();
                converse(&client, &accept(&listener), b"at last");
                assert_eq!(sidecar.connections(Direction::Inbound), 1);
            });
        },
    );
}
