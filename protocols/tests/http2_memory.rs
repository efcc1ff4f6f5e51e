//! What an HTTP/2 decoder holds on to at its bounds, seen from outside: its process's memory. A process of its own, so that
//! no other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use std::sync::Arc;
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
