//! Mode `tap` under load: at a rate that it is made for every request is decoded and no packet is lost, and where packets are
//! lost all the same that is counted to the last byte.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::tempdir;
use weir_lab::skip_unless_root;
use weir_tests::{
    peer::{accept, again, assert_end, connect, listen},
    stage::{
        Direction::{Inbound, Outbound},
        Family::V4,
        Mode::Direct,
        Stage,
    },
    weir::{LIMIT, Sidecar, wait_for},
};

const PORT: u16 = 8080;
/// Requests that are sent at once: a client and a server of a test take as much time as the sidecar, for each packet.
const TOGETHER: usize = 8;
const CONNECTIONS: usize = 2;
/// Requests a second.
const RATE: f64 = 50_000.0;
/// So often the sidecar asks what was lost, and a little longer.
const LOOK: Duration = Duration::from_millis(1200);
const BODY: usize = 1024;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n";

/// All of them are of one size, so that a server needs no more than to count bytes.
fn request(number: usize) -> String {
    format!("GET /{number:07} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
}

fn answer() -> Vec<u8> {
    [HEAD.as_bytes(), &[b'x'; BODY]].concat()
}

fn bytes(pointer: &str, flows: &[Value]) -> u64 {
    let number = |flow: &Value| flow.pointer(pointer).and_then(Value::as_u64);
    flows.iter().map(|flow| number(flow).unwrap_or(0)).sum()
}

/// Asks for these numbers, no faster than at a rate; the last of them has been answered.
fn ask(mut stream: &TcpStream, numbers: &[usize], rate: f64) {
    let mut got = vec![0; TOGETHER * answer().len()];
    let start = Instant::now();
    for (turn, some) in numbers.chunks(TOGETHER).enumerate() {
        let due = start + Duration::from_secs_f64((turn * TOGETHER) as f64 / rate);
        sleep(due.saturating_duration_since(Instant::now()));
        let requests: String = some.iter().map(|number| request(*number)).collect();
        stream.write_all(requests.as_bytes()).unwrap();
        stream
            .read_exact(&mut got[..some.len() * answer().len()])
            .unwrap();
    }
}

/// Answers requests until the client has finished.
fn serve(mut stream: &TcpStream) {
    let (size, answers) = (request(0).len(), answer().repeat(TOGETHER));
    let (mut buffer, mut have) = (vec![0; TOGETHER * size], 0);
    loop {
        match again(|| stream.read(&mut buffer)).unwrap() {
            0 => return,
            read => have += read,
        }
        stream
            .write_all(&answers[..have / size * answer().len()])
            .unwrap();
        have %= size;
    }
}

/// Connections that a load is sent over.
struct Load {
    pairs: Vec<(TcpStream, TcpStream)>,
}

impl Load {
    fn new(stage: &Stage) -> Self {
        let listener = listen(stage.callee(), stage.server(PORT));
        let pairs = (0..CONNECTIONS).map(|_| {
            let client = connect(stage.caller(), stage.server(PORT)).unwrap();
            client.set_nodelay(true).unwrap();
            (client, accept(&listener))
        });
        Self {
            pairs: pairs.collect(),
        }
    }

    /// Sends requests of these numbers over all connections; the rate that was reached.
    fn run(&self, numbers: std::ops::Range<usize>, rate: f64) -> f64 {
        let start = Instant::now();
        let count = numbers.len();
        let numbers: Vec<_> = numbers.collect();
        std::thread::scope(|scope| {
            for ((client, server), part) in self.pairs.iter().zip(numbers.chunks(count.div_ceil(CONNECTIONS)))
            {
                // Ends once the client's part has been answered; the connection goes on.
                let all = part.len();
                scope.spawn(move || answer_so_many(server, all));
                scope.spawn(move || ask(client, part, rate / CONNECTIONS as f64));
            }
        });
        count as f64 / start.elapsed().as_secs_f64()
    }

    fn close(self) {
        for (client, server) in &self.pairs {
            client.shutdown(Shutdown::Write).unwrap();
            serve(server);
            server.shutdown(Shutdown::Write).unwrap();
            assert_end(client);
        }
    }
}

/// Answers so many requests.
fn answer_so_many(mut stream: &TcpStream, count: usize) {
    let (size, answers) = (request(0).len(), answer().repeat(TOGETHER));
    let mut buffer = vec![0; TOGETHER * size];
    let (mut have, mut answered) = (0, 0);
    while answered < count {
        let room = ((count - answered) * size - have).min(buffer.len());
        have += again(|| stream.read(&mut buffer[..room])).unwrap();
        let whole = have / size;
        stream.write_all(&answers[..whole * answer().len()]).unwrap();
        have %= size;
        answered += whole;
    }
}

/// A stage whose sidecar only looks.
fn stage(direction: weir_tests::stage::Direction, flags: &[&str]) -> Stage {
    let mut stage = Stage::new(Direct, direction, V4);
    let flags = [&["--mode", "tap"], flags].concat();
    stage.sidecar = Some(Sidecar::start(&stage.pod, &flags).unwrap());
    stage
}

fn lost(sidecar: &Sidecar) -> u64 {
    sidecar.metric("weir_capture_losses_total", &["reason=\"ring_full\""])
}

/// What the documents of a load say, which may be too many for memory.
#[derive(Default)]
struct Seen {
    /// Numbers of requests.
    requests: HashSet<usize>,
    /// Exchanges that are whole.
    whole: usize,
    /// The last documents of flows.
    flows: Vec<Value>,
}

impl Seen {
    /// Reads what a sidecar that has ended wrote, in a file that is rotated by its size.
    fn new(sidecar: &Sidecar) -> Self {
        let mut seen = Self::default();
        let files = std::fs::read_dir(sidecar.document_file().parent().unwrap()).unwrap();
        let files = files.map(|entry| BufReader::new(File::open(entry.unwrap().path()).unwrap()));
        for line in files.flat_map(BufRead::lines) {
            seen.take(&line.unwrap());
        }
        seen
    }

    fn take(&mut self, line: &str) {
        if line.contains(r#""dataset":"weir.flow""#) {
            let flow: Value = serde_json::from_str(line).unwrap();
            if flow["weir"]["flow"]["final"] == true {
                self.flows.push(flow);
            }
            return;
        }
        let is_answered = line.contains(r#""status_code":200"#);
        assert!(is_answered || !line.contains("status_code"), "{line}");
        let Some((_, path)) = line.split_once(r#""path":"/"#) else {
            return;
        };
        let number = path[..7].parse().unwrap();
        assert!(self.requests.insert(number), "twice: {line}");
        self.whole += usize::from(is_answered && !line.contains("anomalies"));
    }

    /// Every byte that was sent was seen, or is known not to have been, and so every request.
    fn assert_accounts_for(&self, count: usize) {
        let flows = &self.flows;
        assert_eq!(flows.len(), CONNECTIONS, "{flows:#?}");
        let all = |side: &str| bytes(&format!("/weir/flow/{side}/bytes"), flows);
        assert_eq!(all("source"), (count * request(0).len()) as u64, "{flows:#?}");
        assert_eq!(all("destination"), (count * answer().len()) as u64, "{flows:#?}");
        // Requests that are sent together are one packet.
        let missed = bytes("/weir/flow/source/missed_bytes", flows);
        let missed = missed as usize / request(0).len();
        assert_eq!(
            self.requests.len() + missed,
            count,
            "{missed} requests were missed"
        );
        assert!(self.requests.iter().all(|number| *number < count), "invented");
    }
}

#[test]
fn timing_every_request_is_decoded_at_fifty_thousand_a_second() {
    if skip_unless_root("timing_every_request_is_decoded_at_fifty_thousand_a_second") {
        return;
    }
    const COUNT: usize = 150_000;
    for direction in [Inbound, Outbound] {
        let mut stage = stage(direction, &[]);
        let mut sidecar = stage.sidecar.take().unwrap();
        let load = Load::new(&stage);
        let rate = load.run(0..COUNT, RATE);
        load.close();
        sidecar.assert_well();
        sleep(LOOK);
        let lost = lost(&sidecar);
        println!("{direction:?}: {rate:.0} requests a second, {lost} packets lost");
        // Everything is written at its end.
        sidecar.process.terminate(LIMIT).unwrap();
        let seen = Seen::new(&sidecar);
        seen.assert_accounts_for(COUNT);
        // How much is too much is the machine's to say, and what else it does.
        if lost == 0 {
            assert_eq!(seen.whole, COUNT);
        }
    }
}

#[test]
fn what_finds_no_room_is_counted_to_the_last_request() {
    if skip_unless_root("what_finds_no_room_is_counted_to_the_last_request") {
        return;
    }
    const BEFORE: usize = 100;
    const LOST: usize = 8_000;
    const COUNT: usize = BEFORE + LOST + BEFORE;
    let directory = tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    std::fs::write(&file, "capture:\n  ring: 1MiB\n").unwrap();
    let mut stage = stage(Inbound, &["--threads", "1", "--config", file.to_str().unwrap()]);
    let mut sidecar = stage.sidecar.take().unwrap();
    let load = Load::new(&stage);
    load.run(0..BEFORE, RATE);
    wait_for("the first", || {
        sidecar.metric("weir_exchanges_total", &[]) >= BEFORE as u64
    });
    // Nobody empties the ring.
    let process = Pid::from_raw(i32::try_from(sidecar.process.pid()).unwrap());
    kill(process, Signal::SIGSTOP).unwrap();
    load.run(BEFORE..BEFORE + LOST, RATE);
    kill(process, Signal::SIGCONT).unwrap();
    wait_for("the loss", || lost(&sidecar) > 0);
    load.run(BEFORE + LOST..COUNT, RATE);
    load.close();
    sidecar.assert_well();
    sidecar.process.terminate(LIMIT).unwrap();
    let seen = Seen::new(&sidecar);
    seen.assert_accounts_for(COUNT);
    assert!(seen.requests.len() < COUNT);
    assert!(
        bytes("/weir/flow/lost_packets", &seen.flows) > 0,
        "{:#?}",
        seen.flows
    );
}
