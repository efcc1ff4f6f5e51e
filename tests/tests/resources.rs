//! What the sidecar takes of the machine, and that it goes on where there is little: descriptors, places, wake-ups, memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use nix::poll::PollFlags;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::NamedTempFile;
use weir_lab::{Node, Process, binary};
use weir_tests::{
    peer::{connect, converse, listen, pair, wait},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{LIMIT, Sidecar, install, local, wait_for},
};

const PORT: u16 = 8080;

fn on_stage(name: &str, test: impl FnOnce(&Stage)) {
    let kind = (Mode::Direct, Direction::Inbound, Family::V4);
    play(name, Weight::Light, kind, |stage| {
        install(&stage.pod, &[]).unwrap();
        test(stage);
    });
}

/// How often the threads of a process went to sleep so far.
fn sleeps(process: &Process) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.worker_pid())).unwrap();
    let of_one = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    tasks.map(|task| of_one(task.unwrap())).sum()
}

#[test]
fn timing_idle_sidecar_wakes_up_less_than_five_times_a_second() {
    const SECONDS: u64 = 10;
    let name = "timing_idle_sidecar_wakes_up_less_than_five_times_a_second";
    on_stage(name, |stage| {
        let flags = ["--threads", "4", "--flows", "on"];
        let relay = Sidecar::start(&stage.pod, &flags).unwrap();
        let tap = Sidecar::start(&stage.client, &[&flags[..], &["--mode", "tap"]].concat()).unwrap();
        // What there was of traffic is told of.
        let listener = listen(&stage.pod, stage.server(PORT));
        let (client, server) = pair(&stage.client, &listener);
        converse(&client, &server, b"a connection that stays open and is silent");
        std::thread::sleep(Duration::from_secs(1));
        let both = [("relay", &relay), ("tap", &tap)];
        let before = both.map(|(_, sidecar)| sleeps(&sidecar.process));
        std::thread::sleep(Duration::from_secs(SECONDS));
        for ((kind, sidecar), before) in both.into_iter().zip(before) {
            let slept = sleeps(&sidecar.process) - before;
            println!("{kind}: {slept} in {SECONDS} s");
            assert!(slept < 5 * SECONDS, "{kind}: {slept} in {SECONDS} s");
        }
    });
}

/// The sidecar with so many descriptors, and without the capability to raise that limit.
fn bounded(node: &Node, files: u32) -> Command {
    let mut command = node.command("setpriv");
    command
        .args([
            "--bounding-set",
            "-sys_resource",
            "--inh-caps",
            "-all",
            "sh",
            "-c",
        ])
        .arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""))
        .arg(binary("weir-sidecar").unwrap());
    command
}

#[test]
fn few_open_files_mean_few_threads_and_the_traffic_goes_on() {
    let name = "few_open_files_mean_few_threads_and_the_traffic_goes_on";
    on_stage(name, |stage| {
        let command = bounded(&stage.pod, 64);
        let mut sidecar = Sidecar::start_by(&stage.pod, command, &["--threads", "16"]).unwrap();
        assert!(
            sidecar.process.output().contains("limit of open files is low"),
            "{}",
            sidecar.process.output()
        );
        stage.assert_serves(PORT);
        // More connections at once than there are descriptors: some wait, and nothing ends.
        let listener = listen(&stage.pod, stage.server(PORT + 1));
        let many: Vec<TcpStream> = (0..64)
            .map(|_| connect(&stage.client, listener.local_addr().unwrap()).unwrap())
            .collect();
        drop(many);
        drop(listener);
        // (One that comes before their descriptors are free again is reset.)
        let listener = listen(&stage.pod, stage.server(PORT + 2));
        wait_for("a connection that is carried", || {
            let _client = connect(&stage.client, listener.local_addr().unwrap()).unwrap();
            wait(&listener, PollFlags::POLLIN, Duration::from_secs(1))
        });
        sidecar.assert_well();
    });
}

#[test]
fn clients_that_say_nothing_do_not_keep_a_probe_from_its_answer() {
    let name = "clients_that_say_nothing_do_not_keep_a_probe_from_its_answer";
    on_stage(name, |stage| {
        let _sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
        let endpoints = [(15021, "/healthz/ready"), (15020, "/metrics")];
        for (port, path) in endpoints {
            let silent: Vec<TcpStream> = (0..200)
                .map(|_| connect(&stage.client, stage.server(port)).unwrap())
                .collect();
            let asked = Instant::now();
            let (status, _) = stage.client.http_get(stage.server(port), path).unwrap();
            assert_eq!(status, 200);
            assert!(asked.elapsed() < LIMIT / 12, "{path}: {:?}", asked.elapsed());
            drop(silent);
        }
        let silent: Vec<TcpStream> = (0..200)
            .map(|_| connect(&stage.pod, local(15000)).unwrap())
            .collect();
        assert_eq!(stage.pod.http_get(local(15000), "/stats").unwrap().0, 200);
        drop(silent);
    });
}

/// Memory that the process takes, in KiB.
fn resident(sidecar: &Sidecar) -> u64 {
    let rss = sidecar.status("VmRSS");
    rss[0].trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn unfinished_requests_do_not_grow_the_sidecar_past_its_bound() {
    const CONNECTIONS: usize = 1000;
    const HEAD: usize = 48 << 10;
    let name = "unfinished_requests_do_not_grow_the_sidecar_past_its_bound";
    on_stage(name, |stage| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(b"decoding:\n  memory: 8MiB\n").unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let flags = ["--threads", "2", "--config", file.path().to_str().unwrap()];
        let mut sidecar = Sidecar::start(&stage.pod, &flags).unwrap();
        stage.assert_serves(PORT);
        let before = resident(&sidecar);
        let listener = listen(&stage.pod, stage.server(PORT));
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut taken = Vec::new();
            for stream in listener.incoming().take(CONNECTIONS) {
                taken.push(stream.unwrap());
            }
            // Whoever reads the last one has every head.
            for stream in &mut taken {
                stream.read_exact(&mut vec![0; HEAD]).unwrap();
            }
            taken
        });
        let mut head = b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Long: ".to_vec();
        head.resize(HEAD, b'x');
        let clients: Vec<TcpStream> = (0..CONNECTIONS)
            .map(|_| {
                let mut client = connect(&stage.client, address).unwrap();
                client.write_all(&head).unwrap();
                client
            })
            .collect();
        let servers = server.join().unwrap();
        let grown = resident(&sidecar).saturating_sub(before);
        let dropped = sidecar.metric("weir_decoders_dropped_total", &["memory"]);
        println!("grown by {grown} KiB, {dropped} decoders dropped");
        assert!(dropped > 500, "{dropped}");
        // Without the bound it is more than 48 MiB.
        assert!(grown < 24 << 10, "{grown} KiB");
        // Traffic goes on, on these connections and on new ones.
        (&clients[0]).write_all(b"end\r\n\r\n").unwrap();
        (&servers[0]).read_exact(&mut [0; 7]).unwrap();
        converse(&servers[0], &clients[0], b"HTTP/1.1 204 No Content\r\n\r\n");
        stage.assert_serves(PORT + 1);
        sidecar.assert_well();
    });
}
