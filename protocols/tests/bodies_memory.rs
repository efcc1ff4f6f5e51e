//! What bodies make a decoder hold on to, and what decoding them takes, seen from outside: its process's memory. A process
//! of its own, so that no other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use flate2::{Compression, write::GzEncoder};
use std::{io::Write, sync::Arc};
use weir_config::{Bodies, Bytes, Records};
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

/// Bytes of memory in use, now or at most so far, by the kernel's count.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

fn flow() -> Flow {
    Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Ingress,
        client: "198.18.0.2:40000".parse().unwrap(),
        server: "198.18.0.1:80".parse().unwrap(),
        opened: Timestamp(0),
        connect: None,
        host: None,
        wrapping: None,
    }
}

/// Gzip of so many zeros, `times` over.
fn bomb(mut bytes: usize, times: usize) -> Vec<u8> {
    let mut encoded = vec![0; 1 << 16];
    for time in 0..times {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let mut left = bytes;
        while time == 0 && left > 0 {
            let piece = left.min(1 << 16);
            encoder.write_all(&encoded[..piece]).unwrap();
            left -= piece;
        }
        if time > 0 {
            encoder.write_all(&encoded).unwrap();
        }
        let next = encoder.finish().unwrap();
        if time + 1 == times {
            return next;
        }
        bytes = next.len();
        encoded = next;
    }
    encoded
}

#[test]
fn bodies_take_what_they_may_and_no_more() {
    const MAX: usize = 64 << 10;
    let limits = Arc::new(Limits {
        bodies: Bodies {
            max_bytes: Bytes(MAX as u64),
            ..Bodies::default()
        },
        ..Limits::default()
    });
    let at = Timestamp(0);
    let mut exchanges = Vec::new();
    let out = &mut |exchange: Exchange| exchanges.push(exchange);
    let mut decoder = Decoder::new(&limits);
    let before = memory("VmRSS");
    // A thousand requests of 128 KiB wait for their answers.
    let head = "POST / HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 131072\r\n\r\n";
    for _ in 0..1000 {
        decoder.data(Side::Client, at, head.as_bytes(), out);
        for _ in 0..8 {
            decoder.data(Side::Client, at, &[b'x'; 16 << 10], out);
        }
    }
    let grown = memory("VmRSS").saturating_sub(before);
    // Eight bodies, up to twice that in vectors that grow, the requests themselves, and what the allocator likes.
    assert!(grown < 4 << 20, "{grown} bytes");
    decoder.close(at, Close::Finished, out);
    drop(decoder);
    assert_eq!(exchanges.len(), 1000);
    exchanges.clear();

    let bombs = [
        ("gzip", bomb(48 << 20, 1)),
        ("gzip, gzip", bomb(48 << 20, 2)),
        ("gzip, gzip, gzip", bomb(48 << 20, 3)),
    ];
    let mut decoder = Decoder::new(&limits);
    let out = &mut |exchange: Exchange| exchanges.push(exchange);
    for (coding, body) in &bombs {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        decoder.data(Side::Client, at, b"GET / HTTP/1.1\r\n\r\n", out);
        decoder.data(Side::Server, at, &[head.as_bytes(), body].concat(), out);
    }
    drop(decoder);
    assert_eq!(exchanges.len(), bombs.len());
    let before = memory("VmHWM");
    let policy = Policy::new(&Records::default());
    for exchange in &exchanges {
        let document = exchange.document(&flow(), &policy);
        let content = document.http.unwrap().response.unwrap().body.content.unwrap();
        assert_eq!(content.len(), MAX);
        assert!(document.weir.truncated);
    }
    let grown = memory("VmHWM").saturating_sub(before);
    // Half a megabyte is decoded of each coding, whatever there is.
    assert!(grown < 4 << 20, "{grown} bytes");
    a_wide_window_takes_bounded_memory(&limits, &policy);
}

/// Brotli with the widest window, 16 MiB, and a block that claims to fill it, or half of it.
fn a_wide_window_takes_bounded_memory(limits: &Arc<Limits>, policy: &Policy) {
    for (length, shown) in [(8 << 20, true), (16 << 20, false)] {
        // Bits from the lowest on: window 24; not the last block; six digits of length; not compressed.
        let header: u32 = 0xf | (2 << 5) | ((length - 1) << 7) | (1 << 31);
        let body = [&header.to_le_bytes()[..], &[b'x'; 60_000]].concat();
        let mut exchanges = Vec::new();
        let mut decoder = Decoder::new(limits);
        let out = &mut |exchange: Exchange| exchanges.push(exchange);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: br\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        decoder.data(Side::Client, Timestamp(0), b"GET / HTTP/1.1\r\n\r\n", out);
        decoder.data(
            Side::Server,
            Timestamp(0),
            &[head.as_bytes(), &body].concat(),
            out,
        );
        drop(decoder);
        let before = memory("VmHWM");
        for _ in 0..20 {
            let document = exchanges[0].document(&flow(), policy);
            let content = document.http.unwrap().response.unwrap().body.content;
            assert_eq!(content.map(|content| content.len()), shown.then_some(60_000));
            assert_eq!(
                document.weir.anomalies,
                if shown {
                    ["response_body_damaged: br that has not ended"]
                } else {
                    ["response_body_damaged: br"]
                }
            );
        }
        let grown = memory("VmHWM").saturating_sub(before);
        println!("brotli: {grown} bytes");
        // The window of 8 MiB at most, and what there is besides.
        assert!(grown < 12 << 20, "{grown} bytes");
    }
}
