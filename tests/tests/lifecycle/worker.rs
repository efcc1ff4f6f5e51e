//! The worker process that carries the traffic: its crashes, its parent, and what is short on the machine.

use super::*;

#[test]
fn no_new_connection_fails_when_the_worker_is_killed() {
    /// Opened at once just after the worker is gone.
    const MANY: usize = 300;
    for mode in [Mode::Redirected, Mode::Tproxy, Mode::Ebpf] {
        in_mode(
            "no_new_connection_fails_when_the_worker_is_killed",
            mode,
            |stage, sidecar| {
                let _server = Server::echo(listen(&stage.pod, stage.server(PORT)));
                let talk = |client: &TcpStream| {
                    let mut client = client;
                    client.write_all(b"hello").unwrap();
                    let mut answer = [0; 5];
                    again(|| client.read_exact(&mut answer)).unwrap();
                    assert_eq!(&answer, b"hello");
                };
                for (round, number) in [Signal::SIGKILL, Signal::SIGABRT].into_iter().enumerate() {
                    let open = connect(&stage.client, stage.server(PORT)).unwrap();
                    talk(&open);
                    let killed = sidecar.process.worker_pid();
                    signal(killed, number);
                    let clients: Vec<_> = (0..MANY)
                        .map(|_| connect(&stage.client, stage.server(PORT)).unwrap())
                        .collect();
                    // Those that were accepted by the worker before it was gone are lost with it, as `open` is.
                    let lost = again(|| (&open).read(&mut [0; 1]));
                    assert!(lost.map_or(true, |n| n == 0));
                    let served = clients.iter().filter(|client| {
                        let mut client: &TcpStream = client;
                        let mut answer = [0; 5];
                        client.write_all(b"hello").is_ok() && again(|| client.read_exact(&mut answer)).is_ok()
                    });
                    let served = served.count();
                    println!("{mode:?}, {number}: {served} of {MANY} served");
                    assert!(
                        served + 20 >= MANY,
                        "{served} of {MANY}: {}",
                        sidecar.process.output()
                    );
                    talk(&connect(&stage.client, stage.server(PORT)).unwrap());
                    assert_ne!(sidecar.process.worker_pid(), killed);
                    wait_for("readiness", || readiness(stage).0 == 200);
                    assert_eq!(sidecar.metric("weir_restarts_total", &[]), round as u64 + 1);
                }
                assert_eq!(sidecar.metric("weir_restarts_total", &["reason=\"killed\""]), 1);
                assert_eq!(sidecar.metric("weir_restarts_total", &["reason=\"crashed\""]), 1);
            },
        );
    }
}

#[test]
fn a_worker_that_cannot_be_started_now_is_started_later() {
    in_mode(
        "a_worker_that_cannot_be_started_now_is_started_later",
        Mode::Redirected,
        |stage, sidecar| {
            let listener = listen(&stage.pod, stage.server(PORT));
            let parent = sidecar.process.pid();
            let allow_processes = |limit: u32| {
                // The sidecar's own user may set this, and root only with a further capability.
                let mut command = stage.pod.command("setpriv");
                command
                    .args(["--reuid=1337", "--regid=1337", "--clear-groups", "prlimit"])
                    .arg(format!("--pid={parent}"))
                    .arg(format!("--nproc={limit}:"));
                stage.pod.run(command).unwrap();
            };
            // Of the whole user, so that one is the parent itself.
            allow_processes(1);
            signal(sidecar.process.worker_pid(), Signal::SIGKILL);
            wait_for("a start that the system refuses", || {
                sidecar
                    .process
                    .output()
                    .contains("cannot start another worker yet")
            });
            allow_processes(4096);
            let (client, server) = pair(&stage.client, &listener);
            converse(&client, &server, b"served");
        },
    );
}

#[test]
fn a_worker_does_not_outlive_its_parent() {
    on_stage(
        "a_worker_does_not_outlive_its_parent",
        Weight::Light,
        &[],
        |_, mut sidecar| {
            let worker = sidecar.process.worker_pid();
            sidecar.process.kill().unwrap();
            wait_for("the worker's end", || {
                !std::path::Path::new(&format!("/proc/{worker}")).exists()
            });
        },
    );
}

#[test]
fn a_worker_that_is_killed_while_it_drains_is_replaced_by_one_that_drains() {
    in_mode(
        "a_worker_that_is_killed_while_it_drains_is_replaced_by_one_that_drains",
        Mode::Redirected,
        |stage, sidecar| {
            let listener = listen(&stage.pod, stage.server(PORT));
            sidecar.process.signal(Signal::SIGTERM).unwrap();
            wait_for("the drain", || sidecar.process.output().contains("draining"));
            let killed = sidecar.process.worker_pid();
            signal(killed, Signal::SIGKILL);
            wait_for("another worker", || {
                ![killed, sidecar.process.pid()].contains(&sidecar.process.worker_pid())
            });
            let (client, server) = pair(&stage.client, &listener);
            converse(&client, &server, b"served");
            assert_eq!(readiness(stage).0, 503);
            drop((listener, client, server));
            let status = sidecar.process.wait(LIMIT).unwrap();
            assert!(status.success(), "{status}: {}", sidecar.process.output());
        },
    );
}

#[test]
fn a_signal_while_no_worker_runs_ends_the_sidecar_too() {
    in_mode(
        "a_signal_while_no_worker_runs_ends_the_sidecar_too",
        Mode::Redirected,
        |_, sidecar| {
            signal(sidecar.process.worker_pid(), Signal::SIGKILL);
            sidecar.process.signal(Signal::SIGTERM).unwrap();
            let status = sidecar.process.wait(LIMIT).unwrap();
            assert!(status.success(), "{status}: {}", sidecar.process.output());
        },
    );
}

#[test]
fn a_worker_that_crashes_again_and_again_ends_up_relaying_only() {
    in_mode(
        "a_worker_that_crashes_again_and_again_ends_up_relaying_only",
        Mode::Ebpf,
        |stage, sidecar| {
            for crash in 1..=3 {
                wait_for("a worker that is ready", || readiness(stage).0 == 200);
                signal(sidecar.process.worker_pid(), Signal::SIGABRT);
                wait_for("its replacement", || {
                    sidecar.process.output().matches("\"started\"").count()
                        + sidecar.process.output().matches(" started ").count()
                        > crash
                });
            }
            wait_for("the word of it", || {
                let (status, said) = readiness(stage);
                status == 200 && said.starts_with("degraded: relay only")
            });
            assert_eq!(sidecar.metric("weir_degraded", &["reason=\"relay_only\""]), 1);
            assert!(sidecar.stats()["degraded"]["relay_only"].is_string());
            let listener = listen(&stage.pod, stage.server(PORT));
            let (client, server) = pair(&stage.client, &listener);
            converse(&client, &server, b"relayed");
            assert_eq!(sidecar.connections(Direction::Inbound), 1);
        },
    );
}

/// A user whose processes are this test's alone, since the bound is on all of a user's threads.
fn with_threads(name: &str, most: u32, uid: &str, test: impl FnOnce(&Stage, Sidecar)) {
    play(
        name,
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            install(&stage.pod, &["--proxy-uid", uid]).unwrap();
            let mut command = stage.pod.command("prlimit");
            command
                .arg(format!("--nproc={most}:{most}"))
                .arg(binary("weir-sidecar").unwrap());
            let flags = ["--proxy-uid", uid, "--threads", "2"];
            test(stage, Sidecar::start_by(&stage.pod, command, &flags).unwrap());
        },
    );
}

#[test]
fn where_threads_are_short_the_relay_comes_first() {
    let name = "where_threads_are_short_the_relay_comes_first";
    // A parent, a worker, and after them: one data thread; both; both and the sink's.
    for (most, reason, failing) in [(3, Some("data_thread"), 1), (4, None, 1), (5, None, 0)] {
        with_threads(name, most, &(64_000 + most).to_string(), |stage, mut sidecar| {
            let listener = listen(&stage.pod, stage.server(PORT));
            for _ in 0..40 {
                let (client, server) = pair(&stage.client, &listener);
                converse(&client, &server, b"served");
            }
            assert_eq!(sidecar.connections(Direction::Inbound), 40);
            assert_eq!(sidecar.metric("weir_sink_failing", &[]), failing, "{most}");
            let degraded = sidecar.stats()["degraded"]
                .as_object()
                .unwrap()
                .keys()
                .next()
                .cloned();
            assert_eq!(degraded.as_deref(), reason, "{most}");
            sidecar.assert_well();
        });
    }
}

/// A control group with a bound of memory, removed when dropped.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    /// Nothing where this process may not make one.
    fn new(name: &str) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let places = own.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            match controllers {
                "" => Some(format!("/sys/fs/cgroup{path}/{name}")),
                "memory" => Some(format!("/sys/fs/cgroup/memory{path}/{name}")),
                _ => None,
            }
        });
        places
            .map(|path| Self(path.into()))
            .find(|group| fs::create_dir(&group.0).is_ok() && group.limit().exists())
    }

    fn limit(&self) -> std::path::PathBuf {
        let files = ["memory.limit_in_bytes", "memory.max"].map(|name| self.0.join(name));
        let [first, second] = files;
        if first.exists() { first } else { second }
    }

    fn bound(&self, bytes: u64) {
        fs::write(self.limit(), bytes.to_string()).unwrap();
        // Version 1 counts swap apart; there may be none.
        let _ = fs::write(self.0.join("memory.swap.max"), "0");
    }

    fn used(&self) -> u64 {
        let files = ["memory.usage_in_bytes", "memory.current"].map(|name| self.0.join(name));
        let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
        text.unwrap().trim().parse().unwrap()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_worker_that_is_killed_for_want_of_memory_is_replaced() {
    let name = "a_worker_that_is_killed_for_want_of_memory_is_replaced";
    let Some(group) = MemoryGroup::new(&format!("weir-lifecycle-{}", std::process::id())) else {
        eprintln!("SKIPPED {name}: no control group of memory can be made here");
        return;
    };
    play(
        name,
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            install(&stage.pod, &[]).unwrap();
            let mut command = stage.pod.command("sh");
            command
                .args(["-c", "echo $$ > \"$0\"; exec \"$@\""])
                .arg(group.0.join("cgroup.procs"))
                .arg(binary("weir-sidecar").unwrap());
            let mut sidecar = Sidecar::start_by(&stage.pod, command, &[]).unwrap();
            let listener = listen(&stage.pod, stage.server(PORT));
            let (parent, first) = (sidecar.process.pid(), sidecar.process.worker_pid());
            group.bound(group.used() + (3 << 20));
            // Each connection has its decoder keep what it has of a head.
            let head = [&b"GET / HTTP/1.1\r\nx: "[..], &[b'x'; 60_000]].concat();
            let mut open = Vec::new();
            while sidecar.process.worker_pid() == first && open.len() < 2_000 {
                if let Ok(mut client) = connect(&stage.client, stage.server(PORT)) {
                    let _ = client.write_all(&head);
                    open.push(client);
                }
            }
            drop(open);
            wait_for("readiness", || readiness(stage).0 == 200);
            assert_eq!(sidecar.process.pid(), parent);
            let label = "reason=\"out_of_memory\"";
            assert!(
                sidecar.metric("weir_restarts_total", &[label]) > 0,
                "{}",
                sidecar.process.output()
            );
            group.bound(1 << 30);
            drop(listener);
            // At another port: the sidecar may still connect to this one, for those that wait since before.
            stage.assert_serves(PORT + 1);
            sidecar.process.kill().unwrap();
        },
    );
}
