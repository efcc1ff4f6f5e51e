//! What an HTTP/2 decoder holds on to at its bounds, seen from outside: its process's memory. A process of its own, so that
//! no other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use std::{process::Command, sync::Arc};
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::Timestamp;

/// Bytes of memory in use, by the kernel's count.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[test]
fn a_decoder_at_its_bounds_stays_small() {
    const MAX_PENDING: u32 = 1024;
    let limits = Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: MAX_PENDING as usize,
        ..Limits::default()
    });
    let mut count = 0_u32;
    let mut out = |_: Exchange| count += 1;
    let at = Timestamp(0);
    let mut decoder = Decoder::new(&limits);
    let before = resident();
    decoder.data(Side::Client, at, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &mut out);
    // A table of 16 MiB, filled with values of 4 KiB, of which each header block then names a hundred: 400 KiB a request.
    decoder.data(
        Side::Client,
        at,
        &frame(1, 5, 1, b"\x3f\xe1\xff\xff\x07"),
        &mut out,
    );
    let value = [&b"\x40\x01n\x7f\x81\x1f"[..], &[b'v'; 4096]].concat();
    for at_once in 0..2000 {
        let stream = at_once * 2 + 3;
        decoder.data(Side::Client, at, &frame(1, 5, stream, &value), &mut out);
    }
    for at_once in 0..3 * MAX_PENDING {
        let stream = at_once * 2 + 10_001;
        let head = [&b"\x83\x86\x84"[..], &[0xbe; 100]].concat();
        let rpc = b"\x0f\x10\x10application/grpc\x00\x05tri-a\x01b";
        let head = [&rpc[..], &head].concat();
        decoder.data(Side::Client, at, &frame(1, 4, stream, &head), &mut out);
        // And a message that claims all that it can.
        let message = [&b"\0\xff\xff\xff\xff"[..], &[7; 16_000]].concat();
        decoder.data(Side::Client, at, &frame(0, 0, stream, &message), &mut out);
        decoder.data(Side::Server, at, &frame(1, 4, stream, &head), &mut out);
    }
    // Blocks that go on and on, and a frame that claims more than comes.
    for side in [Side::Client, Side::Server] {
        decoder.data(side, at, &frame(1, 0, 1_000_001, &[0x82; 10_000]), &mut out);
        for _ in 0..1000 {
            decoder.data(side, at, &frame(9, 0, 1_000_001, &[0x82; 10_000]), &mut out);
        }
        decoder.data(side, at, b"\0\x40\0\x09\0\0\x0f\x42\x41abc", &mut out);
    }
    let grown = resident().saturating_sub(before);
    // Headers and messages: 1 MiB, and one list more; 1 KiB of each further one; both tables 64 KiB; and as much again for
    // the allocator.
    assert!(grown < 12 << 20, "{grown} bytes");
    decoder.close(at, Close::Finished, &mut out);
    assert!(count > 3 * MAX_PENDING, "{count}");
}

/// A header block of a literal that is inserted.
fn inserted(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
    [&[0x40, length(name)], name, &[length(value)], value].concat()
}

/// Set in a process that runs one test.
const ALONE: &str = "WEIR_TEST_ALONE";

/// Runs a test of this file in a process of its own; true there.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Seconds that the process has worked.
fn worked() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) / 100.0
}

#[test]
fn an_entry_of_the_table_is_looked_at_once() {
    if !is_alone("an_entry_of_the_table_is_looked_at_once") {
        return;
    }
    let limits = Arc::new(Limits::default());
    let at = Timestamp(0);
    let out = &mut |_: Exchange| {};
    let mut decoder = Decoder::new(&limits);
    decoder.data(Side::Client, at, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", out);
    // A value of 4000 bytes with a line break at its end, which ten million indexes name.
    let value = [&b"\x40\x01n\x7f\xa1\x1e"[..], &[b'v'; 3999], b"\n"].concat();
    decoder.data(Side::Client, at, &frame(1, 5, 1, &value), out);
    let block = vec![0xbe; 16_000];
    for number in 1..640 {
        decoder.data(Side::Client, at, &frame(1, 5, number * 2 + 1, &block), out);
        decoder.data(Side::Server, at, &frame(1, 5, number * 2 + 1, b"\x88"), out);
    }
    // (To look at forty gigabytes takes far longer than this, however fast the machine is and however the test was built.)
    let worked = worked();
    println!("{worked} s");
    assert!(worked < 40.0, "{worked} s");
}

/// What the worst of inputs makes connections take, each by itself and as they reckon themselves.
#[test]
fn what_connections_take_is_what_they_reckon() {
    if !is_alone("what_connections_take_is_what_they_reckon") {
        return;
    }
    const STREAMS: u32 = 1024;
    const CONNECTIONS: usize = 16;
    let limits = Arc::new(Limits {
        max_pending: STREAMS as usize,
        ..Limits::default()
    });
    let ids = || (0..STREAMS).map(|number| number * 2 + 1);
    let rpc = b"\x83\x86\x84\x0f\x10\x14application/grpc-web";
    let end = [&b"\x80\0\0\x08\0"[..], &[b'x'; 2048]].concat();
    // Each anomaly shows a long name.
    let odd: Vec<u8> = [":", "A", "a b", "content-length"]
        .iter()
        .flat_map(|name| {
            let name = format!("{name}{}", "x".repeat(if name.len() > 4 { 0 } else { 100 }));
            let value = [b"\r\n\0 ".as_slice(), &[b'9'; 90]].concat();
            let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
            [
                &[0, length(name.as_bytes())],
                name.as_bytes(),
                &[length(&value)],
                &value,
            ]
            .concat()
        })
        .collect();
    let small: Vec<u8> = (0..2000).flat_map(|_| inserted(b"a", b"b")).collect();
    // 5 bits a character: forty thousand of them.
    let long = [&b"\0\x01a\xff\xa9\xc2\x01"[..], &[0; 25_000]].concat();
    let table = [&b"\x3f\xe1\xff\x03"[..], &small].concat();
    let streams = |side, block: &[u8], body: &[u8]| {
        let mut bytes = Vec::new();
        for id in ids() {
            bytes.extend(frame(1, 4, id, block));
            if !body.is_empty() {
                bytes.extend(frame(0, 0, id, body));
            }
        }
        (side, bytes)
    };
    let (client, server) = (Side::Client, Side::Server);
    let cases = [
        (
            "short headers",
            vec![streams(client, b"\x82\x86\x84", b"")],
            1 << 20,
        ),
        (
            "short headers both ways",
            vec![
                streams(client, b"\x82\x86\x84", b""),
                streams(server, b"\x88", b""),
            ],
            5 << 18,
        ),
        ("anomalies", vec![streams(client, &odd, b"")], 3 << 20),
        (
            "ends of calls",
            vec![streams(client, rpc, &end), streams(server, rpc, &end)],
            3 << 20,
        ),
        (
            "tables",
            vec![(client, frame(1, 5, 1, &table)), (server, frame(1, 5, 1, &table))],
            1 << 19,
        ),
        (
            "long values",
            vec![(client, frame(1, 5, 1, &long)), (server, frame(1, 5, 1, &long))],
            1 << 16,
        ),
    ];
    let at = Timestamp(0);
    let mut kept = Vec::new();
    for (name, parts, bound) in cases {
        let before = resident();
        let mut held = 0;
        for _ in 0..CONNECTIONS {
            let mut decoder = Decoder::new(&limits);
            let out = &mut |_: Exchange| {};
            decoder.data(client, at, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", out);
            for (side, bytes) in &parts {
                decoder.data(*side, at, bytes, out);
            }
            held += decoder.held();
            kept.push(decoder);
        }
        let grown = resident().saturating_sub(before);
        println!(
            "{name}: {} bytes a connection, {} reckoned",
            grown / CONNECTIONS,
            held / CONNECTIONS
        );
        assert!(
            held / CONNECTIONS <= bound,
            "{name}: {} reckoned",
            held / CONNECTIONS
        );
        // (What an allocator adds, and pages that are begun.)
        assert!(
            grown <= held * 3 / 2 + (1 << 20),
            "{name}: {grown} bytes, {held} reckoned"
        );
    }
}
