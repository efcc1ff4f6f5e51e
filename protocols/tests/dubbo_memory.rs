//! What a Dubbo decoder holds on to at its bounds, seen from outside: its process's memory. A process of its own, so that no
//! other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

/// Bytes of memory in use, by the kernel's count.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn header(flags: u8, status: u8, id: u64, length: u32) -> Vec<u8> {
    let mut header = vec![0xda, 0xbb, flags, status];
    header.extend(id.to_be_bytes());
    header.extend(length.to_be_bytes());
    header
}

#[test]
fn a_decoder_at_its_bounds_stays_small() {
    const MAX_PENDING: usize = 1024;
    let limits = Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: MAX_PENDING,
        ..Limits::default()
    });
    let policy = Policy::new(&Records::default());
    let flow = Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Egress,
        client: ([198, 18, 0, 2], 40000).into(),
        server: ([198, 18, 0, 1], 20880).into(),
        opened: Timestamp(0),
        connect: None,
        host: None,
    };
    let mut documents = 0;
    let mut longest = 0;
    let mut out = |exchange: Exchange| {
        documents += 1;
        longest = longest.max(
            serde_json::to_string(&exchange.document(&flow, &policy))
                .unwrap()
                .len(),
        );
    };
    // A body of 1 MiB: a list that claims two thousand million items, all of them lists with one item of their own.
    let mut body = [&b"\x052.0.2\x01s\x01v\x01m\x01I"[..], b"XI\x7f\xff\xff\xff"].concat();
    body.resize(1 << 20, 0x79);
    let at = Timestamp(0);
    let mut decoder = Decoder::new(&limits);
    let before = resident();
    for id in 0..3 * MAX_PENDING as u64 {
        decoder.data(Side::Client, at, &header(0xc2, 0, id, 1 << 20), &mut out);
        for piece in body.chunks(64 << 10) {
            decoder.data(Side::Client, at, piece, &mut out);
        }
    }
    // And frames that claim all that a header can, of which only a little comes.
    decoder.data(
        Side::Client,
        at,
        &header(0xc2, 0, 1 << 40, i32::MAX as u32),
        &mut out,
    );
    decoder.data(Side::Server, at, &header(2, 20, 1, i32::MAX as u32), &mut out);
    for side in [Side::Client, Side::Server] {
        for piece in body.chunks(64 << 10) {
            decoder.data(side, at, piece, &mut out);
        }
    }
    let grown = resident().saturating_sub(before);
    // 1 MiB of bodies, 1 KiB of each further one, twice 256 KiB of what arrives, and as much for the allocator.
    assert!(grown < 8 << 20, "{grown} bytes");
    decoder.close(at, Close::Finished, &mut out);
    assert!(documents > 3 * MAX_PENDING, "{documents}");
    assert!(longest < 256 << 10, "{longest}");
}
