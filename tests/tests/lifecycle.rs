//! The sidecar from its start to its end: who it runs as, what it keeps, and how it goes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "lifecycle/worker.rs"]
mod worker;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use weir_lab::{Node, binary};
use weir_tests::{
    many::{First, Ports, Server, Talk, churn},
    peer::{Noise, accept, again, assert_reset, connect, converse, listen, pair, receive, send},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{LIMIT, Sidecar, init, install, local, wait_for},
};

const PORT: u16 = 8080;

/// A stage on which Weir is redirecting, with the sidecar that the test wants.
fn on_stage(name: &str, weight: Weight, flags: &[&str], test: impl FnOnce(&Stage, Sidecar)) {
    play(
        name,
        weight,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            install(&stage.pod, &[]).unwrap();
            test(stage, Sidecar::start(&stage.pod, flags).unwrap());
        },
    );
}

#[test]
fn sidecar_started_by_root_runs_as_its_own_user_without_any_capability() {
    let name = "sidecar_started_by_root_runs_as_its_own_user_without_any_capability";
    on_stage(name, Weight::Light, &[], |_, sidecar| {
        let (parent, worker) = (sidecar.process.pid(), sidecar.process.worker_pid());
        assert_ne!(parent, worker, "a parent keeps the sockets");
        let tasks = [parent, worker]
            .into_iter()
            .flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).unwrap());
        let mut threads = 0;
        for task in tasks {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line.unwrap_or_else(|| panic!("no {key} in {status}"))
                    .split_whitespace()
                    .collect::<Vec<_>>()
            };
            assert_eq!(field("Uid:"), ["1337"; 4]);
            assert_eq!(field("Gid:"), ["1337"; 4]);
            assert_eq!(field("Groups:"), [""; 0]);
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
                assert_eq!(field(set), ["0000000000000000"], "{set}");
            }
            assert_eq!(field("NoNewPrivs:"), ["1"]);
            threads += 1;
        }
        assert!(threads > 2, "the data threads are looked at too");
    });
}

#[test]
fn limit_of_open_files_is_raised() {
    play(
        "limit_of_open_files_is_raised",
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            let mut command = stage.pod.command("prlimit");
            command
                .arg("--nofile=256:8192")
                .arg(binary("weir-sidecar").unwrap())
                .args(["--export", "none"]);
            let mut process = stage.pod.spawn(command).unwrap();
            process.wait_http(local(15021), "/healthz/ready", LIMIT).unwrap();
            let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
            let line = limits
                .lines()
                .find(|line| line.starts_with("Max open files"))
                .unwrap();
            let soft: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
            assert!(soft >= 8192, "{line}");
        },
    );
}

#[test]
fn many_short_connections_leave_nothing_behind() {
    /// What the allocator may keep back of what is no longer in use; 42 bytes a connection at the usual length.
    const GROWTH: u64 = 4 << 20;
    const BATCH: u32 = 20_000;
    let count = std::env::var("WEIR_SOAK").map_or(100_000, |n| n.parse().expect("WEIR_SOAK is a number"));
    on_stage(
        "many_short_connections_leave_nothing_behind",
        Weight::Heavy,
        &[],
        |stage, sidecar| {
            let address = stage.server(PORT);
            let _server = Server::short(listen(&stage.pod, address), Talk::HTTP, First::Server);
            let batch = |count| {
                wait_for_tracking_room(&stage.pod);
                let (node, given) = (&stage.client, Ports::Given);
                let tally = churn(node, address, count, given, Talk::HTTP, First::Server);
                wait_for("the end of all connections", || {
                    sidecar.metric("weir_connections_active", &[]) == 0
                });
                tally
            };
            let mut all = batch(BATCH);
            wait_for("the warm-up's descriptors to be closed", || {
                sidecar.usage().descriptors < 100
            });
            let before = sidecar.usage();
            let mut left = count;
            while left > 0 {
                all.add(batch(left.min(BATCH)));
                left -= left.min(BATCH);
            }
            wait_for("all descriptors to be closed", || {
                sidecar.usage().descriptors <= before.descriptors
            });
            let after = sidecar.usage();
            println!("{all}; before {before:?}, after {after:?}");
            assert!(
                after.rss < before.rss + GROWTH,
                "before {before:?}, after {after:?}"
            );
            let total = u64::from(BATCH + count);
            assert_eq!(all.succeeded, total, "{all}");
            wait_for("all exchanges to be decoded", || {
                sidecar.metric("weir_exchanges_total", &[]) == total
            });
        },
    );
}

/// Waits until the kernel's table of connections is at most half full. A redirect by NAT enters every connection, and
/// keeps it for two minutes after its end; a full table drops packets, which is another matter than a leak.
fn wait_for_tracking_room(node: &Node) {
    const LIMIT: Duration = Duration::from_secs(150);
    let read = |name: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).unwrap();
        text.trim().parse().unwrap()
    };
    node.enter(|| {
        let start = Instant::now();
        while read("nf_conntrack_count") > read("nf_conntrack_max") / 2 {
            assert!(start.elapsed() < LIMIT, "the table of connections stays full");
            std::thread::sleep(Duration::from_millis(100));
        }
    })
    .unwrap();
}

fn readiness(stage: &Stage) -> (u16, String) {
    let answer = stage.pod.http_get(local(15021), "/healthz/ready");
    answer.unwrap_or_default()
}

#[test]
fn the_network_works_on_after_sigterm_until_the_application_has_stopped() {
    on_stage(
        "the_network_works_on_after_sigterm_until_the_application_has_stopped",
        Weight::Light,
        &["--drain", "5m"],
        |stage, mut sidecar| {
            let listener = listen(&stage.pod, stage.server(PORT));
            let (client, server) = pair(&stage.client, &listener);
            converse(&client, &server, b"before");
            sidecar.process.signal(Signal::SIGTERM).unwrap();
            wait_for("an end of readiness", || readiness(stage).0 == 503);
            // New connections are served, in and out.
            for _ in 0..20 {
                let (client, server) = pair(&stage.client, &listener);
                converse(&client, &server, b"in");
            }
            let outside = listen(&stage.client, stage.link.a.at(PORT)[0]);
            let (caller, callee) = pair(&stage.pod, &outside);
            converse(&caller, &callee, b"out");
            assert!(sidecar.connections(Direction::Outbound) > 0, "relayed as before");
            std::thread::scope(|scope| {
                let up = scope.spawn(|| send(&client, Noise::new(5, 8 << 20)));
                let down = scope.spawn(|| send(&server, Noise::new(6, 8 << 20)));
                let at_client = scope.spawn(|| receive(&client));
                assert_eq!(receive(&server), up.join().unwrap());
                assert_eq!(at_client.join().unwrap(), down.join().unwrap());
            });
            // The application stops listening, and later closes its last connection.
            drop((listener, client, server));
            converse(&caller, &callee, b"still there");
            assert_eq!(sidecar.process.try_wait().unwrap(), None);
            drop((caller, callee, outside));
            let status = sidecar.process.wait(LIMIT).unwrap();
            assert!(status.success(), "{status}: {}", sidecar.process.output());
        },
    );
}

#[test]
fn a_second_signal_ends_the_sidecar_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        on_stage(
            "a_second_signal_ends_the_sidecar_at_once",
            Weight::Light,
            &["--drain", "1h"],
            |stage, mut sidecar| {
                let listener = listen(&stage.pod, stage.server(PORT));
                let (client, server) = pair(&stage.client, &listener);
                converse(&client, &server, b"before");
                sidecar.process.signal(Signal::SIGTERM).unwrap();
                wait_for("the drain", || sidecar.process.output().contains("draining"));
                sidecar.process.signal(second).unwrap();
                let status = sidecar.process.wait(LIMIT).unwrap();
                assert!(status.success(), "{status}: {}", sidecar.process.output());
                assert_reset(&client);
                assert_reset(&server);
            },
        );
    }
}

#[test]
fn a_signal_for_the_worker_alone_drains_too() {
    on_stage(
        "a_signal_for_the_worker_alone_drains_too",
        Weight::Light,
        &["--drain", "1h"],
        |_, mut sidecar| {
            signal(sidecar.process.worker_pid(), Signal::SIGTERM);
            let status = sidecar.process.wait(LIMIT).unwrap();
            assert!(status.success(), "{status}: {}", sidecar.process.output());
        },
    );
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// A stage in one of the modes that redirect.
fn in_mode(name: &str, mode: Mode, test: impl FnOnce(&Stage, &mut Sidecar)) {
    play(
        name,
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            let mode = mode.name().unwrap();
            install(&stage.pod, &["--mode", mode]).unwrap();
            let flags = ["--mode", mode, "--drain", "30s"];
            test(stage, &mut Sidecar::start(&stage.pod, &flags).unwrap());
        },
    );
}

#[test]
fn a_sink_that_cannot_be_opened_costs_documents_and_no_traffic() {
    let missing = "/nonexistent/weir/x";
    for (sink, said) in [
        (format!("sqlite:{missing}.db"), "sqlite"),
        (format!("ndjson:{missing}.ndjson"), "ndjson"),
        (
            "elasticsearch:http://no-such-name.invalid:9200".to_owned(),
            "elasticsearch",
        ),
    ] {
        on_stage(
            "a_sink_that_cannot_be_opened_costs_documents_and_no_traffic",
            Weight::Light,
            &["--export", &sink],
            |stage, mut sidecar| {
                let listener = listen(&stage.pod, stage.server(PORT));
                let (client, server) = pair(&stage.client, &listener);
                converse(&client, &server, b"served");
                drop((client, server));
                let label = format!("target=\"{}", sink.split_once(':').unwrap().1);
                wait_for("the word of it", || {
                    sidecar.metric("weir_sink_failing", &[&label]) == 1
                });
                assert!(sidecar.process.output().contains("the sink fails"), "{said}");
                let stats = sidecar.stats();
                let sinks = stats["sinks"].as_array().unwrap();
                assert!(
                    sinks
                        .iter()
                        .any(|it| it["sink"] == said && it["failing"].is_string()),
                    "{stats}"
                );
                sidecar.assert_well();
            },
        );
    }
}

#[test]
fn a_taken_endpoint_port_is_no_reason_to_leave_the_traffic_alone() {
    play(
        "a_taken_endpoint_port_is_no_reason_to_leave_the_traffic_alone",
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            install(&stage.pod, &[]).unwrap();
            let _taken = listen(&stage.pod, stage.link.b.at(15020)[0]);
            let _sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
            assert!(
                readiness(stage).1.starts_with("degraded: "),
                "{:?}",
                readiness(stage)
            );
            stage.assert_serves(PORT);
        },
    );
}

#[test]
fn a_sidecar_that_looks_becomes_a_relay_when_an_installation_comes() {
    for mode in ["redirect", "tproxy", "ebpf"] {
        play(
            "a_sidecar_that_looks_becomes_a_relay_when_an_installation_comes",
            Weight::Light,
            (Mode::Direct, Direction::Inbound, Family::V4),
            |stage| {
                let mut sidecar = Sidecar::start(&stage.pod, &["--mode", "auto"]).unwrap();
                assert_eq!(sidecar.stats()["mode"], "tap");
                install(&stage.pod, &["--mode", mode]).unwrap();
                wait_for("the relay", || {
                    stage
                        .pod
                        .http_get(local(15000), "/stats")
                        .is_ok_and(|(_, text)| text.contains(&format!("\"mode\": \"{mode}\"")))
                });
                wait_for("readiness", || readiness(stage).0 == 200);
                stage.assert_serves(PORT);
                assert_eq!(sidecar.connections(Direction::Inbound), 1);
                assert_eq!(
                    sidecar.metric("weir_restarts_total", &["reason=\"mode_changed\""]),
                    1
                );
                sidecar.assert_well();
            },
        );
    }
}

#[test]
fn a_tap_beside_an_installation_that_refuses_is_not_ready() {
    play(
        "a_tap_beside_an_installation_that_refuses_is_not_ready",
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            let _sidecar = Sidecar::start(&stage.pod, &["--mode", "tap"]).unwrap();
            install(&stage.pod, &["--mode", "redirect"]).unwrap();
            wait_for("an end of readiness", || {
                let (status, said) = readiness(stage);
                status == 503 && said.contains("nobody relays")
            });
            init(&stage.pod, "remove", &["--drain", "0s"]).unwrap();
            wait_for("readiness", || readiness(stage).0 == 200);
        },
    );
}

#[test]
fn a_sidecar_that_may_not_fail_stays_and_says_that_it_is_degraded() {
    play(
        "a_sidecar_that_may_not_fail_stays_and_says_that_it_is_degraded",
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            let without_net_raw = || {
                let mut command = stage.pod.command("setpriv");
                command
                    .args(["--bounding-set", "-net_raw", "--inh-caps", "-all"])
                    .arg(binary("weir-sidecar").unwrap());
                command
            };
            let flags = ["--mode", "tap", "--on-failure"];
            let mut failing =
                Sidecar::spawn(&stage.pod, without_net_raw(), &[&flags[..], &["fail"]].concat()).unwrap();
            assert_eq!(failing.process.wait(LIMIT).unwrap().code(), Some(1));
            let flags = [&flags[..], &["degrade"]].concat();
            let mut staying = Sidecar::start_by(&stage.pod, without_net_raw(), &flags).unwrap();
            let (status, said) = readiness(stage);
            assert!(
                status == 200 && said.starts_with("degraded: ") && said.contains("NET_RAW"),
                "{said}"
            );
            assert_eq!(staying.metric("weir_degraded", &["reason=\"not_working\""]), 1);
            assert!(staying.process.terminate(LIMIT).unwrap().success());
            // A port that is taken is tried again.
            let taken = listen(&stage.pod, stage.link.b.at(15006)[0]);
            let waiting = ["--mode", "redirect", "--on-failure", "degrade"];
            let sidecar = Sidecar::start(&stage.pod, &waiting).unwrap();
            assert!(readiness(stage).1.contains("15006"), "{:?}", readiness(stage));
            drop(taken);
            wait_for("another try", || readiness(stage) == (200, "ready\n".to_owned()));
            drop(sidecar);
        },
    );
}

#[test]
fn connections_that_outlast_the_drain_period_are_reset() {
    let name = "connections_that_outlast_the_drain_period_are_reset";
    on_stage(name, Weight::Light, &["--drain", "1s"], |stage, mut sidecar| {
        let listener = listen(&stage.pod, stage.server(PORT));
        let (client, server) = pair(&stage.client, &listener);
        converse(&client, &server, b"before");
        let asked = Instant::now();
        let status = sidecar.process.terminate(LIMIT).unwrap();
        assert!(
            asked.elapsed() >= Duration::from_secs(1),
            "it did not wait for the connection"
        );
        assert!(status.success(), "{status}: {}", sidecar.process.output());
        assert_reset(&client);
        assert_reset(&server);
    });
}

#[test]
fn idle_sidecar_ends_soon_and_well() {
    on_stage(
        "idle_sidecar_ends_soon_and_well",
        Weight::Light,
        &["--drain", "1h"],
        |_, mut sidecar| {
            let status = sidecar.process.terminate(LIMIT).unwrap();
            assert!(status.success(), "{status}: {}", sidecar.process.output());
        },
    );
}

#[test]
fn documents_of_the_last_moment_are_written_before_the_end() {
    let name = "documents_of_the_last_moment_are_written_before_the_end";
    on_stage(name, Weight::Light, &[], |stage, mut sidecar| {
        let address = stage.server(PORT);
        let _server = Server::short(listen(&stage.pod, address), Talk::HTTP, First::Server);
        let tally = churn(
            &stage.client,
            address,
            500,
            Ports::Given,
            Talk::HTTP,
            First::Server,
        );
        assert_eq!(tally.succeeded, 500, "{tally}");
        assert!(sidecar.process.terminate(LIMIT).unwrap().success());
        let documents = sidecar.documents();
        assert_eq!(documents.len(), 500);
        for document in &documents {
            assert_eq!(document["url"]["path"], "/churn", "{document}");
            assert_eq!(document["http"]["response"]["status_code"], 200, "{document}");
        }
        let ids: BTreeSet<_> = documents
            .iter()
            .map(|document| document["event"]["id"].to_string())
            .collect();
        assert_eq!(ids.len(), 500, "each has its own id");
    });
}

#[test]
fn killed_sidecar_that_is_started_again_serves_again() {
    on_stage(
        "killed_sidecar_that_is_started_again_serves_again",
        Weight::Light,
        &[],
        |stage, mut sidecar| {
            let listener = listen(&stage.pod, stage.server(PORT));
            for _ in 0..3 {
                let (client, server) = pair(&stage.client, &listener);
                converse(&client, &server, b"hello");
                sidecar.process.kill().unwrap();
                // Nobody waits for ever for what is gone.
                assert!(again(|| (&client).read(&mut [0; 1])).map_or(true, |n| n == 0));
                assert!(again(|| (&server).read(&mut [0; 1])).map_or(true, |n| n == 0));
                wait_for("the worker's end", || {
                    connect(&stage.client, stage.server(PORT)).is_err()
                });
                sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
            }
            let (client, server) = pair(&stage.client, &listener);
            converse(&client, &server, b"hello again");
            sidecar.assert_well();
        },
    );
}

#[test]
fn second_sidecar_in_a_namespace_says_so_and_harms_nobody() {
    let name = "second_sidecar_in_a_namespace_says_so_and_harms_nobody";
    on_stage(name, Weight::Light, &[], |stage, mut sidecar| {
        let mut second = stage
            .pod
            .spawn(stage.pod.command(binary("weir-sidecar").unwrap()))
            .unwrap();
        let status = second.wait(LIMIT).unwrap();
        assert_eq!(status.code(), Some(1), "{}", second.output());
        assert!(
            second.output().contains("1500") || second.output().contains("1502"),
            "{}",
            second.output()
        );
        let listener = listen(&stage.pod, stage.server(PORT));
        for _ in 0..20 {
            let client = connect(&stage.client, stage.server(PORT)).unwrap();
            converse(&client, &accept(&listener), b"hello");
        }
        sidecar.assert_well();
    });
}
