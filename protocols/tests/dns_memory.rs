//! What a decoder of DNS takes for streams and messages that are made to cost much, seen from outside: its process's memory and
//! processor time. A process of its own, so that no other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use std::sync::{Arc, Mutex, MutexGuard};
use weir_config::{Pinned, Records};
use weir_protocols::{Decoder, Exchange, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

/// What feeds a decoder.
type Feed<'a> = &'a dyn Fn(&mut Decoder, &mut dyn FnMut(Exchange));

const AT: Timestamp = Timestamp(0);

/// One test at a time: all see the memory of the process.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Bytes of memory in use, by the kernel's count.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Hundredths of a second that this thread has had of a processor, by the kernel's count.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let behind_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<_> = behind_name.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn flow() -> Flow {
    Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Egress,
        client: ([198, 18, 0, 2], 40000).into(),
        server: ([198, 18, 0, 1], 53).into(),
        opened: Timestamp(0),
        connect: None,
        host: None,
        wrapping: None,
    }
}

/// Bytes of an exchange's document.
fn length(exchange: &Exchange) -> usize {
    let policy = Policy::new(&Records::default());
    serde_json::to_string(&exchange.document(&flow(), &policy))
        .unwrap()
        .len()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A query for `a`, and the length before it.
fn query(id: u16) -> Vec<u8> {
    let message = [
        &words(&[id, 0x0100, 1, 0, 0, 0])[..],
        b"\x01a\x00\x00\x01\x00\x01",
    ]
    .concat();
    [&words(&[message.len() as u16])[..], &message].concat()
}

/// What begins as a message of 4 KB and goes on as records that hold such beginnings: each of them may be a message nearly to
/// its end, and is none.
fn nested() -> Vec<u8> {
    let mut record = b"\x00\x00\x0a\x00\x01\x00\x00\x00\x00\x00\x1e".to_vec();
    record.extend(words(&[4090, 7, 0x2800, 1, 200, 200, 200]));
    record.extend(b"\x00\x00\x01\x00\x01");
    record.resize(11 + 30, 0);
    record
}

fn pinned() -> Decoder {
    Decoder::pinned(&Arc::new(Limits::default()), Pinned::Dns, false)
}

#[test]
fn a_stream_that_is_lost_again_and_again_costs_by_its_bytes() {
    let _alone = alone();
    let gaps = |decoder: &mut Decoder, out: &mut dyn FnMut(Exchange)| {
        // Parts of messages, and gaps between them.
        for _ in 0..50_000 {
            decoder.gap(Side::Client, AT, None, out);
            decoder.data(Side::Client, AT, &query(1)[..20], out);
            decoder.gap(Side::Client, AT, None, out);
            decoder.data(Side::Client, AT, &query(2), out);
        }
    };
    let junk = |decoder: &mut Decoder, out: &mut dyn FnMut(Exchange)| {
        // A byte that belongs to no message before each query.
        for id in 0..50_000_u32 {
            decoder.data(Side::Client, AT, b"\x01", out);
            decoder.data(Side::Client, AT, &query(id as u16), out);
        }
    };
    let beginnings = |decoder: &mut Decoder, out: &mut dyn FnMut(Exchange)| {
        let piece: Vec<u8> = nested().iter().cycle().take(64 << 10).copied().collect();
        for _ in 0..10 {
            for _ in 0..12 {
                decoder.data(Side::Client, AT, &piece, out);
            }
            decoder.gap(Side::Client, AT, None, out);
            decoder.data(Side::Client, AT, &query(2), out);
        }
    };
    let rounds: [(&str, Feed<'_>); 3] = [("gaps", &gaps), ("junk", &junk), ("beginnings", &beginnings)];
    for (what, feed) in rounds {
        let mut decoder = pinned();
        let mut longest = 0;
        decoder.data(Side::Client, AT, &query(9), &mut |_| {});
        let (before, started) = (resident(), processor_time());
        let mut count = 0;
        feed(&mut decoder, &mut |exchange| {
            count += 1;
            if count % 100 == 1 {
                longest = longest.max(length(&exchange));
            }
        });
        let (grown, used) = (resident().saturating_sub(before), processor_time() - started);
        println!(
            "{what}: {grown} bytes of memory, {used} cs, {} held",
            decoder.held()
        );
        assert!(!decoder.is_opaque(), "{what}");
        assert!(longest < 4 << 10, "{what}: {longest} bytes of document");
        assert!(grown < 4 << 20, "{what}: {grown} bytes");
        assert!(decoder.held() < 2 << 20, "{what}: {}", decoder.held());
        // (Some six times what it takes without optimisation.)
        assert!(used < 800, "{what}: {used} hundredths of a second");
    }
}

#[test]
fn a_message_costs_by_its_bytes_however_much_these_stand_for() {
    let _alone = alone();
    // As many records as a message holds, all of them with a name at the end of the longest chain of pointers.
    let mut chained = words(&[1, 0x8180, 1, 4000, 0, 0]);
    chained.extend(b"\x01a\x00\x00\x01\x00\x01");
    let data = 20_000;
    chained.extend(words(&[0xc00c, 10, 1, 0, 0, data]));
    for at in 0..data / 2 {
        let pointer = chained.len() as u16;
        chained.extend(words(&[0xc000 | if at == 0 { 12 } else { pointer - 2 }]));
    }
    let last = chained.len() as u16 - 2;
    while chained.len() < 65_000 {
        chained.extend(words(&[
            0xc000 | (last & 0x3fff),
            15,
            1,
            0,
            0,
            4,
            1,
            0xc000 | (last & 0x3fff),
        ]));
    }
    // Types by their bits, and names that are as long in text as they can be.
    let mut bits = words(&[1, 0x8180, 1, 128, 0, 0]);
    bits.extend(b"\x01a\x00\x00\x01\x00\x01");
    while bits.len() < 55_000 {
        let windows: Vec<u8> = (0..=255_u8)
            .flat_map(|window| [&[window, 32][..], &[0xff; 32]].concat())
            .collect();
        bits.extend(words(&[0xc00c, 47, 1, 0, 0, windows.len() as u16 + 1]));
        bits.push(0);
        bits.extend(windows);
    }
    for (what, message) in [("chains", chained), ("bits", bits)] {
        let (before, started) = (resident(), processor_time());
        let mut longest = 0;
        for _ in 0..50 {
            let mut decoder = pinned();
            let mut out = |exchange: Exchange| longest = longest.max(length(&exchange));
            decoder.data(Side::Client, AT, &query(1), &mut out);
            decoder.data(Side::Server, AT, &words(&[message.len() as u16]), &mut out);
            decoder.data(Side::Server, AT, &message, &mut out);
        }
        let (grown, used) = (resident().saturating_sub(before), processor_time() - started);
        println!("{what}: {longest} bytes of document, {grown} bytes of memory, {used} cs");
        assert!(longest > 0 && longest < 512 << 10, "{what}: {longest}");
        assert!(grown < 4 << 20, "{what}: {grown} bytes");
        assert!(used < 500, "{what}: {used} hundredths of a second");
    }
}

#[test]
fn a_decoder_tells_what_it_holds() {
    let _alone = alone();
    let name = [&[60][..], &[1; 60]].concat().repeat(4);
    let mut out = |_: Exchange| {};
    let before = resident();
    let mut held = 0;
    let decoders: Vec<_> = (0..20)
        .map(|_| {
            let mut decoder = Decoder::dns_datagrams(&Arc::new(Limits::default()));
            for id in 0..1024 {
                let query = [&words(&[id, 0x0100, 1, 0, 0, 0])[..], &name, &[0, 0, 1, 0, 1]].concat();
                decoder.data(Side::Client, AT, &query, &mut out);
            }
            held += decoder.held();
            decoder
        })
        .collect();
    let grown = resident().saturating_sub(before);
    println!("{held} bytes held, {grown} bytes of memory");
    assert!(grown < 2 * held + (4 << 20), "{grown} bytes, {held} held");
    drop(decoders);
}
