//! `weir-init install --mode auto` on a live pod: it finds the best mode that works, and nobody notices.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};
use weir_lab::{Node, binary, skip_unless_root};
use weir_tests::{
    peer::{accept, assert_end, connect, converse, listen},
    stage::{Direction, Family, Mode, Stage},
    weir::{Sidecar, init, install},
};

const PORT: u16 = 8080;

/// Who listens in the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    None,
    WithNetRaw,
    WithoutNetRaw,
}

fn start(pod: &Node, proxy: Proxy) -> Option<Sidecar> {
    match proxy {
        Proxy::None => None,
        Proxy::WithNetRaw => Some(Sidecar::start(pod, &[]).unwrap()),
        Proxy::WithoutNetRaw => {
            let mut command = pod.command("setpriv");
            command.args(["--bounding-set", "-net_raw", "--inh-caps", "-all"]);
            command.arg(binary("weir-sidecar").unwrap());
            Some(Sidecar::start_by(pod, command, &[]).unwrap())
        }
    }
}

/// One request after the other until told to stop; gives how many there were.
fn requests(from: &Node, to: &Node, address: SocketAddr, stop: &AtomicBool, done: &AtomicUsize) -> usize {
    let listener = listen(to, address);
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let there = connect(from, address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let here = accept(&listener);
        converse(&there, &here, b"a question");
        converse(&here, &there, b"an answer");
        drop(there);
        assert_end(&here);
        count += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
    count
}

/// What a command that succeeds writes.
fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Installs with `auto` while requests go in and out in both families; gives what it said, and how many requests there were.
fn under_load(stage: &Stage, flags: &[&str]) -> (String, [usize; 2]) {
    let stop = AtomicBool::new(false);
    let (inside, outside) = (stage.link.b.at(PORT), stage.link.a.at(PORT));
    let done: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        let (stop, done) = (&stop, &done);
        let run =
            |i: usize, from, to, address| scope.spawn(move || requests(from, to, address, stop, &done[i]));
        let running = [
            run(0, &stage.client, &stage.pod, inside[0]),
            run(1, &stage.client, &stage.pod, inside[1]),
            run(2, &stage.pod, &stage.client, outside[0]),
            run(3, &stage.pod, &stage.client, outside[1]),
        ];
        // A request of each before, and one after.
        let further = || {
            let before: Vec<_> = done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
            let is_further = |(done, before): (&AtomicUsize, &usize)| done.load(Ordering::Relaxed) > *before;
            while !done.iter().zip(&before).all(is_further) && running.iter().all(|one| !one.is_finished()) {
                thread::yield_now();
            }
        };
        further();
        let mut command = stage.pod.command(binary("weir-init").unwrap());
        command.args(["install", "--mode", "auto"]).args(flags);
        let said = said(command);
        further();
        stop.store(true, Ordering::Relaxed);
        let counts = running.map(|one| one.join().unwrap());
        (said, [counts[0] + counts[1], counts[2] + counts[3]])
    })
}

#[test]
fn installed_again_on_a_live_pod_it_harms_nobody_and_lets_nobody_escape() {
    if skip_unless_root("installed_again_on_a_live_pod_it_harms_nobody_and_lets_nobody_escape") {
        return;
    }
    for proxy in [Proxy::WithNetRaw, Proxy::WithoutNetRaw] {
        for before in ["redirect", "tproxy", "ebpf"] {
            if proxy == Proxy::WithoutNetRaw && before == "tproxy" {
                // Inbound connections hang there before anything is done.
                continue;
            }
            println!("{proxy:?}, {before} in force");
            let stage = Stage::new(Mode::Direct, Direction::Inbound, Family::V4);
            install(&stage.pod, &["--mode", before]).unwrap();
            let sidecar = start(&stage.pod, proxy).unwrap();
            let (said, [inbound, outbound]) = under_load(&stage, &[]);
            let best = match proxy {
                Proxy::WithoutNetRaw => "redirect",
                _ => "ebpf",
            };
            assert!(said.contains(&format!("{best}: works")), "{said}");
            // In mode `ebpf` a sidecar without NET_RAW does not get what goes out, and while both are in force not all
            // that comes in.
            if (proxy, before) != (Proxy::WithoutNetRaw, "ebpf") {
                let seen = |direction| usize::try_from(sidecar.connections(direction)).unwrap();
                assert_eq!(seen(Direction::Inbound), inbound, "{said}");
                assert_eq!(seen(Direction::Outbound), outbound, "{said}");
            }
            init(&stage.pod, "check", &["--mode", best]).unwrap();
            assert_nothing_of_a_trial(&stage.pod);
        }
    }
}

fn assert_nothing_of_a_trial(pod: &Node) {
    let mut shown = String::new();
    for program in ["iptables-save", "ip6tables-save"] {
        shown += &pod.run(pod.command(program)).unwrap();
    }
    shown += &pod.ip("route show table all").unwrap();
    assert!(
        !shown.contains("WEIR_TRIAL") && !shown.contains("metric 87"),
        "{shown}"
    );
}

#[test]
fn a_mode_that_does_not_work_is_tried_without_harm() {
    if skip_unless_root("a_mode_that_does_not_work_is_tried_without_harm") {
        return;
    }
    let stage = Stage::new(Mode::Direct, Direction::Inbound, Family::V4);
    // Tokens of a trial of ebpf and tproxy are lost.
    let block = "iptables -t mangle -I PREROUTING -i lo -p tcp --dport 15003 -j DROP; \
        ip6tables -t mangle -I PREROUTING -i lo -p tcp --dport 15003 -j DROP";
    let mut command = stage.pod.command("sh");
    command.args(["-ec", block]);
    stage.pod.run(command).unwrap();
    install(&stage.pod, &["--mode", "redirect"]).unwrap();
    let sidecar = start(&stage.pod, Proxy::WithNetRaw).unwrap();
    let (said, [inbound, outbound]) = under_load(&stage, &[]);
    for word in ["ebpf: not here", "tproxy: not here", "redirect: works"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let seen = |direction| usize::try_from(sidecar.connections(direction)).unwrap();
    assert_eq!(
        [seen(Direction::Inbound), seen(Direction::Outbound)],
        [inbound, outbound]
    );
    assert_nothing_of_a_trial(&stage.pod);
}

#[test]
fn without_a_sidecar_tproxy_is_only_tried_where_it_will_have_net_raw() {
    if skip_unless_root("without_a_sidecar_tproxy_is_only_tried_where_it_will_have_net_raw") {
        return;
    }
    for (flags, works) in [
        (&[][..], "redirect: works"),
        (&["--sidecar-net-raw"], "tproxy: works"),
    ] {
        let stage = Stage::new(Mode::Direct, Direction::Inbound, Family::V4);
        assert!(start(&stage.pod, Proxy::None).is_none());
        // Without BPF.
        let mut command = stage.pod.command("setpriv");
        command.args(["--bounding-set", "-sys_admin,-bpf,-perfmon", "--inh-caps", "-all"]);
        command.arg(binary("weir-init").unwrap());
        command.args(["install", "--mode", "auto"]).args(flags);
        let said = said(command);
        assert!(said.contains("ebpf: not here") && said.contains(works), "{said}");
        assert_nothing_of_a_trial(&stage.pod);
        init(&stage.pod, "remove", &[]).unwrap();
    }
}
