//! The sidecar from its start to its end: who it runs as, what it keeps, and how it goes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    time::{Duration, Instant},
};
use weir_lab::{Node, binary};
use weir_tests::{
    many::{First, Ports, Server, Talk, churn},
    peer::{Noise, accept, again, assert_reset, connect, converse, listen, pair, receive, send},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{LIMIT, Sidecar, install, local, wait_for},
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
        let tasks = fs::read_dir(format!("/proc/{}/task", sidecar.process.pid())).unwrap();
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
        assert!(threads > 1, "the data threads are looked at too");
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

#[test]
fn open_transfers_complete_after_sigterm() {
    on_stage(
        "open_transfers_complete_after_sigterm",
        Weight::Light,
        &["--drain", "5m"],
        |stage, mut sidecar| {
            let listener = listen(&stage.pod, stage.server(PORT));
            let (client, server) = pair(&stage.client, &listener);
            converse(&client, &server, b"before");
            sidecar.process.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
            let health = || {
                stage
                    .pod
                    .http_get(local(15021), "/healthz/ready")
                    .map_or(0, |(status, _)| status)
            };
            wait_for("an end of readiness", || health() != 200);
            wait_for("no new connections", || {
                connect(&stage.client, stage.server(PORT)).is_err()
            });
            // Resets those of the tries that were still taken.
            drop(listener);
            std::thread::scope(|scope| {
                let up = scope.spawn(|| send(&client, Noise::new(5, 8 << 20)));
                let down = scope.spawn(|| send(&server, Noise::new(6, 8 << 20)));
                let at_client = scope.spawn(|| receive(&client));
                assert_eq!(receive(&server), up.join().unwrap());
                assert_eq!(at_client.join().unwrap(), down.join().unwrap());
            });
            drop((client, server));
            let status = sidecar.process.wait(LIMIT).unwrap();
            assert!(status.success(), "{status}: {}", sidecar.process.output());
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
fn idle_sidecar_ends_at_once_and_well() {
    on_stage(
        "idle_sidecar_ends_at_once_and_well",
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
                assert!(connect(&stage.client, stage.server(PORT)).is_err());
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
