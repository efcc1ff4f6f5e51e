//! Any conversation, said again and again: what a decoder keeps stays within what it says that it keeps, and its work grows with
//! the bytes.
//!
//! The first byte of the input chooses how the conversation begins. The rest is a list of steps, each with a byte for its kind
//! and one for its length before it: data of the client (`C`) and of the server (`S`), a gap on either side (`G`, `g`), time
//! that passes (`T`). The steps are repeated until so many bytes were shown as a connection may bring in a moment.
#![no_main]

use cpu_time::ThreadTime;
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, sync::Arc, time::Duration};
use weir_config::{Bodies, Bytes, Records};
use weir_protocols::{Decoder, Limits, Side};
use weir_records::{Policy, Timestamp};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes shown to the decoder; half of them before the first look at its work.
const SHOWN: usize = 96 << 10;
/// A decoder may keep so many times what it says that it keeps: allocators round up, and tables grow by doubling.
const FACTOR: usize = 3;
/// What it need not speak of.
const SLACK: usize = 24 << 10;
/// A decoder may keep no more than this for one connection under the limits below.
const MOST: usize = 3 << 20;
/// The longest time. Before the protocol is known, what a side has said, 16 KiB of it at most, is looked at again with each
/// piece: in pieces of a few bytes that takes up to three seconds in this build.
const LONGEST: Duration = Duration::from_secs(15);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HELLO: &[u8] = &[22, 3, 1, 0xf0, 0, 1, 0, 0xef, 0xfc];
const QUERY: &[u8] = &[0, 17, 0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
const EVENT: &[u8] = &[0xda, 0xbb, 0xe2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];

/// A decoder that has seen how a conversation of the chosen kind begins.
fn begun(choice: u8) -> Decoder {
    let limits = Arc::new(Limits {
        max_pending: 64,
        bodies: Bodies {
            max_bytes: Bytes(if choice & 16 == 0 { 0 } else { 4096 }),
            content_types: vec!["*/*".parse().expect("a media type")],
        },
        ..Limits::default()
    });
    let mut decoder = match choice % 9 {
        7 => Decoder::late(&limits),
        8 => Decoder::dns_datagrams(&limits),
        _ => Decoder::new(&limits),
    };
    let mut say = |side, bytes| decoder.data(side, Timestamp(0), bytes, &mut |_| {});
    match choice % 9 {
        1 => say(Side::Client, REQUEST),
        2 => say(Side::Client, PREFACE),
        3 => say(Side::Client, HELLO),
        4 => say(Side::Client, QUERY),
        5 => say(Side::Client, EVENT),
        6 => {
            say(Side::Client, UPGRADE);
            say(Side::Server, SWITCH);
        }
        _ => {}
    }
    decoder
}

/// A conversation under way, and the time of its packets.
struct Conversation {
    decoder: Decoder,
    now: u64,
    policy: Policy,
}

impl Conversation {
    /// Shows the steps once; says how many bytes those were.
    fn show(&mut self, mut input: &[u8]) -> usize {
        let mut shown = 0;
        while let Some(([kind, length], rest)) = input.split_first_chunk() {
            let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
            input = rest;
            shown += 2 + bytes.len();
            self.step(*kind, *length, bytes);
        }
        shown
    }

    fn step(&mut self, kind: u8, length: u8, bytes: &[u8]) {
        let flow = weir_protocols_fuzz::flow(80);
        let Self { decoder, now, policy } = self;
        let out = &mut |exchange: weir_protocols::Exchange| {
            let document = exchange.document(&flow, policy);
            serde_json::to_string(&document).expect("a document is JSON");
        };
        let at = Timestamp(*now);
        match kind {
            b'C' => decoder.data(Side::Client, at, bytes, out),
            b'S' => decoder.data(Side::Server, at, bytes, out),
            b'G' => decoder.gap(Side::Client, at, Some(u64::from(length)), out),
            b'g' => decoder.gap(Side::Server, at, Some(u64::from(length)), out),
            b'T' => {
                *now += u64::from(length) * 1_000_000_000;
                decoder.tick(Timestamp(*now), out);
            }
            _ => {}
        }
    }
}

/// Bytes that are held beyond those that were held at the region's beginning.
fn kept(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, steps)) = input.split_first() else {
        return;
    };
    let region = Region::new(ALLOCATOR);
    let mut conversation = Conversation {
        decoder: begun(*choice),
        now: 0,
        policy: Policy::new(&Records::default()),
    };
    let start = ThreadTime::now();
    let mut shown = 0;
    while shown < SHOWN {
        let more = conversation.show(steps);
        if more == 0 {
            return;
        }
        shown += more;
        let (kept, said) = (kept(&region), conversation.decoder.held());
        assert!(said <= MOST, "{said} bytes are kept for one connection");
        assert!(
            kept <= FACTOR * said + SLACK,
            "{kept} bytes are kept, {said} are told"
        );
        assert!(
            start.elapsed() < LONGEST,
            "{shown} bytes took {:?}",
            start.elapsed()
        );
    }
});
