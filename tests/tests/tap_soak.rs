//! Mode `tap` for a long time: connections that come and go in every way, datagrams, and packets that find no room. What is
//! told stays true, and nothing grows without bound. `WEIR_SOAK=600` makes it ten minutes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::tempdir;
use weir_lab::skip_unless_root;
use weir_tests::{
    peer::{accept, connect, listen, reset},
    stage::{Direction::Inbound, Family::V4, Mode::Direct, Stage},
    weir::{LIMIT, Sidecar},
};

const PORT: u16 = 8080;
/// Connections that are left open, the oldest of which ends when another comes.
const OPEN: usize = 200;
/// What the sidecar may take, in KiB, whatever comes: most of it is for the flows that it may follow at once.
const MOST: u64 = 256 << 10;
/// Memory has reached its level once the first flows are forgotten.
const LEVEL: Duration = Duration::from_secs(60);

fn how_long() -> Duration {
    let seconds = std::env::var("WEIR_SOAK").map_or(8, |text| text.parse().expect("WEIR_SOAK is a number"));
    Duration::from_secs(seconds)
}

/// One request and its answer, over a connection of its own that ends in one of several ways.
fn visit(stage: &Stage, listener: &TcpListener, number: usize, open: &mut VecDeque<(TcpStream, TcpStream)>) {
    let mut client = connect(stage.caller(), stage.server(PORT)).unwrap();
    let mut server = accept(listener);
    let request = format!("GET /{number} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    match number % 6 {
        // Not answered.
        0 => return reset(server),
        // Answered until the connection ends.
        1 => {
            server
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil here")
                .unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
            return;
        }
        _ => {}
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    server.write_all(answer).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
    match number % 6 {
        2 => reset(client),
        3 => open.push_back((client, server)),
        _ => {}
    }
    if open.len() > OPEN {
        open.pop_front();
    }
}

/// A sidecar under observation.
struct Watched {
    sidecar: Sidecar,
    start: Instant,
    /// KiB, with the time since the start.
    memory: Vec<(Duration, u64)>,
}

impl Watched {
    fn look(&mut self) {
        let taken = &self.sidecar.status("VmRSS")[0];
        let kib = taken.strip_suffix(" kB").unwrap().parse().unwrap();
        assert!(kib < MOST, "{kib} KiB after {:?}", self.start.elapsed());
        self.memory.push((self.start.elapsed(), kib));
    }

    /// For a moment nobody empties the ring.
    fn stall(&self, during: impl FnOnce()) {
        let process = Pid::from_raw(i32::try_from(self.sidecar.process.pid()).unwrap());
        kill(process, Signal::SIGSTOP).unwrap();
        during();
        kill(process, Signal::SIGCONT).unwrap();
    }

    /// Most of what was taken in a part of the time, once there is a level.
    fn most(&self, from: f64, to: f64) -> Option<u64> {
        let end = self.memory.last()?.0;
        let within = |at: Duration| at > LEVEL && at >= end.mul_f64(from) && at <= end.mul_f64(to);
        let some = self.memory.iter().filter(|(at, _)| within(*at));
        some.map(|(_, kib)| *kib).max()
    }
}

#[test]
fn nothing_grows_without_bound_and_nothing_is_invented() {
    if skip_unless_root("nothing_grows_without_bound_and_nothing_is_invented") {
        return;
    }
    let directory = tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    std::fs::write(&file, "capture:\n  ring: 1MiB\n").unwrap();
    let stage = Stage::new(Direct, Inbound, V4);
    let flags = [
        "--mode",
        "tap",
        "--flows-interval",
        "2s",
        "--config",
        file.to_str().unwrap(),
    ];
    let mut watched = Watched {
        sidecar: Sidecar::start(&stage.pod, &flags).unwrap(),
        start: Instant::now(),
        memory: Vec::new(),
    };
    let listener = listen(stage.callee(), stage.server(PORT));
    let mut open = VecDeque::new();
    let (mut visits, mut turn) = (0, 0);
    while watched.start.elapsed() < how_long() {
        let mut some = |count: usize| {
            for _ in 0..count {
                visit(&stage, &listener, visits, &mut open);
                visits += 1;
            }
        };
        some(300);
        if turn % 4 == 0 {
            watched.stall(|| some(600));
        }
        stage
            .caller()
            .enter(|| {
                for port in 20_000..20_050 {
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    let _ = socket.send_to(b"anybody?", (stage.server(PORT).ip(), port));
                }
            })
            .unwrap();
        watched.look();
        turn += 1;
    }
    let lost = watched
        .sidecar
        .metric("weir_capture_losses_total", &["reason=\"ring_full\""]);
    // What finds no room is some, and not most.
    let exchanges = watched.sidecar.metric("weir_exchanges_total", &[]);
    assert!(exchanges > visits as u64 / 2, "{exchanges} of {visits}");
    drop(open);
    sleep(Duration::from_millis(200));
    watched.sidecar.assert_well();
    let (before, after) = (watched.most(0.2, 0.6), watched.most(0.6, 1.0));
    println!(
        "{visits} connections, {lost} packets lost, {:?} KiB at the end; most: {before:?}, then {after:?}",
        watched.memory.last().unwrap().1
    );
    if let (Some(before), Some(after)) = (before, after) {
        assert!(
            after < before + before / 10 + 4096,
            "it grows: {:?}",
            watched.memory
        );
    }
    watched.sidecar.process.terminate(LIMIT).unwrap();
    assert_true(&watched.sidecar, visits);
}

/// Each document is about something that was sent, and says so if it does not have all of it.
fn assert_true(sidecar: &Sidecar, visits: usize) {
    let mut seen = HashSet::new();
    let files = std::fs::read_dir(sidecar.document_file().parent().unwrap()).unwrap();
    let files = files.map(|entry| BufReader::new(File::open(entry.unwrap().path()).unwrap()));
    for line in files.flat_map(BufRead::lines) {
        let document: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if document["event"]["dataset"] != "weir.http" {
            assert_eq!(document["event"]["dataset"], "weir.flow", "{document:#}");
            continue;
        }
        if let Some(path) = document["url"]["path"].as_str() {
            let number: usize = path[1..].parse().unwrap();
            assert!(number < visits && seen.insert(number), "{document:#}");
        }
        let status = document.pointer("/http/response/status_code");
        assert!(status.is_none_or(|status| status == 200), "{document:#}");
        if document["event"]["outcome"] == "success" {
            let body = document.pointer("/http/response/body/bytes").unwrap();
            assert!(body == 4 || body == 10, "{document:#}");
        }
    }
}
