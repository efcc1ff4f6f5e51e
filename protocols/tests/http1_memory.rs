//! What decoders of HTTP/1, WebSocket and of what is not known yet take for the worst of inputs, seen from outside: their
//! process's memory and processor time. A process of its own, so that no other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use std::sync::Arc;
use weir_protocols::{Decoder, Exchange, Limits, Side};
use weir_records::Timestamp;

const CONNECTIONS: usize = 16;
const AT: Timestamp = Timestamp(0);
const CLIENT: Side = Side::Client;
const SERVER: Side = Side::Server;

/// Bytes of memory in use, by the kernel's count.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Hundredths of a second that the process has had of processors, by the kernel's count.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<_> = behind_name.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Something that a side says, so many times.
struct Said(Side, Vec<u8>, usize);

/// A conversation: how it begins, and what is said then.
struct Case {
    name: &'static str,
    begins: Vec<(Side, &'static [u8])>,
    said: Vec<Said>,
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n";

fn cases() -> Vec<Case> {
    let case = |name, begins: &[(Side, &'static [u8])], said: Vec<Said>| Case {
        name,
        begins: begins.to_vec(),
        said,
    };
    let long_head = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ".as_slice(),
        &[b'v'; 40_000],
        b"\r\n\r\n",
    ]
    .concat();
    let asked = [(CLIENT, GET)];
    let chunks = [(CLIENT, GET), (SERVER, CHUNKED)];
    let socket = [(CLIENT, UPGRADE), (SERVER, SWITCH)];
    vec![
        case(
            "short requests without answers",
            &[],
            vec![Said(CLIENT, GET.to_vec(), 10_000)],
        ),
        case(
            "long requests without answers",
            &[],
            vec![Said(CLIENT, long_head, 200)],
        ),
        case(
            "a head without an end",
            &[],
            vec![
                Said(CLIENT, b"GET / HTTP/1.1\r\nX: ".to_vec(), 1),
                Said(CLIENT, vec![b'x'; 1000], 1000),
            ],
        ),
        case(
            "interim answers",
            &asked,
            vec![Said(SERVER, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), 40_000)],
        ),
        case(
            "answers to nothing",
            &asked,
            vec![Said(
                SERVER,
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
                20_000,
            )],
        ),
        case(
            "an extension of a chunk without an end",
            &chunks,
            vec![
                Said(SERVER, b"5;".to_vec(), 1),
                Said(SERVER, vec![b'e'; 1000], 1000),
            ],
        ),
        case(
            "small chunks",
            &chunks,
            vec![Said(SERVER, b"1;a=b\r\nx\r\n".to_vec(), 100_000)],
        ),
        case(
            "trailers without an end",
            &chunks,
            vec![
                Said(SERVER, b"0\r\n".to_vec(), 1),
                Said(SERVER, b"T: a\r\n".to_vec(), 150_000),
            ],
        ),
        case(
            "what resembles the beginnings of answers",
            &asked,
            vec![
                Said(SERVER, b"what\r\n".to_vec(), 1),
                Said(SERVER, b"HTTP/1.1 2HTTP/1.1 200\n".to_vec(), 40_000),
            ],
        ),
        case(
            "what resembles the beginnings of requests",
            &[(
                CLIENT,
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
            )],
            vec![Said(CLIENT, b"\r\nGET / HTTP/1.\r\nGET ".to_vec(), 40_000)],
        ),
        case(
            "small frames of a WebSocket",
            &socket,
            vec![
                Said(CLIENT, vec![0x81, 0x81, 1, 2, 3, 4, 9], 100_000),
                Said(SERVER, vec![0x81, 1, b'x'], 100_000),
            ],
        ),
        case(
            "a message of a WebSocket without an end",
            &socket,
            vec![
                Said(SERVER, vec![1, 1, b'x'], 1),
                Said(SERVER, vec![0, 1, b'x'], 200_000),
            ],
        ),
        case(
            "what is nothing known",
            &[],
            vec![
                Said(SERVER, b"220 welcome\r\n".to_vec(), 20_000),
                Said(CLIENT, b"NOOP\r\n".to_vec(), 20_000),
            ],
        ),
    ]
}

#[test]
fn the_worst_of_inputs_costs_by_its_bytes_and_is_reckoned() {
    let limits = Arc::new(Limits::default());
    // A pool of allocator's pages first, so that none is counted below.
    drop(vec![1_u8; 8 << 20]);
    for Case { name, begins, said } in cases() {
        let (before, start) = (resident(), processor_time());
        let (mut kept, mut held, mut bytes) = (Vec::new(), 0, 0);
        for _ in 0..CONNECTIONS {
            let mut decoder = Decoder::new(&limits);
            let out = &mut |_: Exchange| {};
            for (side, text) in &begins {
                decoder.data(*side, AT, text, out);
            }
            for Said(side, text, times) in &said {
                for _ in 0..*times {
                    decoder.data(*side, AT, text, out);
                }
                bytes += text.len() * times;
            }
            held += decoder.held();
            kept.push(decoder);
        }
        let grown = resident().saturating_sub(before);
        let worked = processor_time() - start;
        println!(
            "{name}: {} bytes a connection, {} reckoned; {bytes} bytes in {worked} cs",
            grown / CONNECTIONS,
            held / CONNECTIONS
        );
        assert!(held / CONNECTIONS <= 3 << 20, "{name}: {held} reckoned");
        // (What an allocator adds, and pages that are begun.)
        assert!(
            grown <= held * 2 + (2 << 20),
            "{name}: {grown} bytes, {held} reckoned"
        );
        // The slowest of these takes some three seconds in a debug build; work that grows with the square of the bytes, minutes.
        assert!(worked < 6000, "{name}: {worked} cs");
    }
}
