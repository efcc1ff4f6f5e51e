//! What a Dubbo decoder takes at its bounds, seen from outside: its process's memory and processor time. A process of its own, so
//! that no other test's memory is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use std::sync::{Arc, Mutex, MutexGuard};
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

const MAX_PENDING: usize = 1024;
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

/// The most memory that was in use since the last call, by the kernel's count.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    kilobytes * 1024
}

fn header(flags: u8, status: u8, id: u64, length: u32) -> Vec<u8> {
    let mut header = vec![0xda, 0xbb, flags, status];
    header.extend(id.to_be_bytes());
    header.extend(length.to_be_bytes());
    header
}

fn frame(flags: u8, id: u64, body: &[u8]) -> Vec<u8> {
    [&header(flags, 0, id, u32::try_from(body.len()).unwrap()), body].concat()
}

fn decoder() -> Decoder {
    Decoder::new(&Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: MAX_PENDING,
        ..Limits::default()
    }))
}

fn flow() -> Flow {
    Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Egress,
        client: ([198, 18, 0, 2], 40000).into(),
        server: ([198, 18, 0, 1], 20880).into(),
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

#[test]
fn a_decoder_at_its_bounds_stays_small() {
    let _alone = alone();
    let mut documents = 0;
    let mut longest = 0;
    let mut out = |exchange: Exchange| {
        documents += 1;
        longest = longest.max(length(&exchange));
    };
    // A body of 1 MiB: a list that claims two thousand million items, all of them lists with one item of their own.
    let mut body = [&b"\x052.0.2\x01s\x01v\x01m\x01I"[..], b"XI\x7f\xff\xff\xff"].concat();
    body.resize(1 << 20, 0x79);
    let mut decoder = decoder();
    let before = resident();
    for id in 0..3 * MAX_PENDING as u64 {
        decoder.data(Side::Client, AT, &header(0xc2, 0, id, 1 << 20), &mut out);
        for piece in body.chunks(64 << 10) {
            decoder.data(Side::Client, AT, piece, &mut out);
        }
    }
    // And frames that claim all that a header can, of which only a little comes.
    decoder.data(
        Side::Client,
        AT,
        &header(0xc2, 0, 1 << 40, i32::MAX as u32),
        &mut out,
    );
    decoder.data(Side::Server, AT, &header(2, 20, 1, i32::MAX as u32), &mut out);
    for side in [Side::Client, Side::Server] {
        for piece in body.chunks(64 << 10) {
            decoder.data(side, AT, piece, &mut out);
        }
    }
    let grown = resident().saturating_sub(before);
    // 1 MiB of bodies, 1 KiB of each further one, twice 256 KiB of what arrives, and as much for the allocator.
    assert!(grown < 8 << 20, "{grown} bytes");
    decoder.close(AT, Close::Finished, &mut out);
    assert!(documents > 3 * MAX_PENDING, "{documents}");
    assert!(longest < 256 << 10, "{longest}");
}

#[test]
fn what_comes_beside_calls_is_counted_and_not_kept() {
    let _alone = alone();
    let event = header(0xe2, 0, 1, 0);
    let request = header(0xc2, 0, 7, 0);
    let answer = header(2, 20, 7, 0);
    // 34 MB: events of both sides, with a byte that belongs to no frame between them, then with gaps between them.
    for (junk, gaps) in [(true, false), (false, true)] {
        let mut exchanges = Vec::new();
        let mut out = |exchange: Exchange| exchanges.push(exchange);
        let mut decoder = decoder();
        decoder.data(Side::Client, AT, &event, &mut out);
        let before = resident();
        for _ in 0..500_000 {
            for side in [Side::Client, Side::Server] {
                if gaps {
                    decoder.gap(side, AT, None, &mut out);
                }
                if junk {
                    decoder.data(side, AT, b"\x01", &mut out);
                }
                decoder.data(side, AT, &event, &mut out);
            }
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 1 << 20, "{grown} bytes");
        assert!(decoder.held() < 4 << 10, "{}", decoder.held());
        decoder.data(Side::Client, AT, &request, &mut out);
        decoder.data(Side::Server, AT, &answer, &mut out);
        assert_eq!(exchanges.len(), 1);
        assert!(length(&exchanges[0]) < 4 << 10, "{}", length(&exchanges[0]));
        let document =
            serde_json::to_value(exchanges[0].document(&flow(), &Policy::new(&Records::default())));
        let weir = &document.unwrap()["weir"];
        assert_eq!(weir["dubbo"]["events"], 1_000_001);
        let expected = if gaps {
            "gap: bytes of the client before this were missed, 500000 times"
        } else {
            "resynchronised: 500000 bytes of the client belong to no frame, in 500000 places"
        };
        assert_eq!(weir["anomalies"][0], expected);
    }
}

#[test]
fn a_decoder_tells_what_it_holds() {
    const CONNECTIONS: usize = 40;
    let _alone = alone();
    let small = [&b"\x052.0.2\x01s\x01v\x01m\x00"[..], b"N"].concat();
    let large = [&b"\x052.0.2\x01s\x01v\x01m\x00"[..], &[b'N'; 5000]].concat();
    for (what, body, gaps) in [
        ("small", &small, false),
        ("with gaps", &small, true),
        ("large", &large, false),
    ] {
        let mut out = |_: Exchange| {};
        let before = resident();
        let mut held = 0;
        let decoders: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut decoder = decoder();
                for id in 0..MAX_PENDING as u64 {
                    // In pieces, as what is large comes.
                    for piece in frame(0xc2, id, body).chunks(1400) {
                        decoder.data(Side::Client, AT, piece, &mut out);
                    }
                    if gaps {
                        decoder.gap(Side::Client, AT, None, &mut out);
                        decoder.gap(Side::Server, AT, None, &mut out);
                    }
                }
                held += decoder.held();
                decoder
            })
            .collect();
        let grown = resident().saturating_sub(before);
        println!("{what}: {held} bytes held, {grown} bytes of memory");
        assert!(grown < 2 * held + (4 << 20), "{what}: {grown} bytes, {held} held");
        drop(decoders);
    }
}

/// An item of JSONB, its length before it.
fn item(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A call in JSONB with one argument.
fn jsonb(argument: &[u8]) -> Vec<u8> {
    let text = |text: &str| {
        let tag = 0x49 + u8::try_from(text.len()).unwrap();
        item(&[&[tag], text.as_bytes()].concat())
    };
    [
        text("2.0.2"),
        text("s"),
        text("v"),
        text("m"),
        text("Ljava/lang/Object;"),
        item(argument),
        item(&[0xaf]),
    ]
    .concat()
}

/// A text of JSONB with one tag, its length in four bytes.
fn long(tag: u8, text: &[u8]) -> Vec<u8> {
    [
        &[tag, 0x48][..],
        &u32::try_from(text.len()).unwrap().to_be_bytes(),
        text,
    ]
    .concat()
}

/// A call in Hessian 2 with one argument.
fn hessian(argument: &[u8]) -> Vec<u8> {
    [
        &b"\x052.0.2\x01s\x01v\x01m\x12Ljava/lang/Object;"[..],
        argument,
        b"N",
    ]
    .concat()
}

/// Bodies of about 256 KiB in which few bytes stand for much, and their serializations.
fn dense_bodies() -> Vec<(&'static str, u8, Vec<u8>)> {
    let half = 128 << 10;
    let list = |first: Vec<u8>, rest: &[u8]| {
        let count = (256 << 10) / rest.len() + 1;
        let room = (255 << 10) - first.len();
        let mut list = [
            &[0xa4, 0x48][..],
            &u32::try_from(count).unwrap().to_be_bytes(),
            &first,
        ]
        .concat();
        list.extend(rest.iter().cycle().take(room));
        jsonb(&list)
    };
    let secret = [&b"{\"password\":\""[..], &vec![b'x'; half], b"\"}"].concat();
    let class = [&b"a."[..], &vec![b'x'; half]].concat();
    let named = |text: &[u8]| [&[0x7f], &long(0x79, text)[..], &[0]].concat();
    let mut object = [&[0xa6][..], &named(&vec![0xe9; half]), &[0xaf]].concat();
    object.extend(
        b"\x7f\x00\x93\x4a$\x7f\x00\xaf"
            .iter()
            .cycle()
            .take(half - (1 << 10)),
    );
    // A class of many fields, and many types, none with more than a byte of its own.
    let mut fields = b"C\x01aI\x7f\xff\xff\xff".to_vec();
    fields.resize(255 << 10, 0);
    let types: Vec<u8> = b"\x58I\x7f\xff\xff\xff"
        .iter()
        .chain(b"\x70\x00".iter().cycle().take(255 << 10))
        .copied()
        .collect();
    // A class with a long name and no fields; objects of that class, then references to these.
    let long_class = |rest: &[u8]| {
        let mut list = b"XI\x7f\xff\xff\xffCS\xff\xff".to_vec();
        list.extend(vec![b'x'; 0xffff]);
        list.extend(b"\x90\x60");
        list.extend(rest.iter().cycle().take(189 << 10));
        hessian(&list)
    };
    vec![
        ("a name as values", 23, list(named(&vec![0xe9; half]), &[0x7f, 0])),
        ("a name with a secret", 23, list(named(&secret), &[0x7f, 0])),
        (
            "a name as a class",
            23,
            list(
                [&[0x92][..], &named(&class)[1..], &[0xa6, 0xa5]].concat(),
                &[0x92, 0, 0xa6, 0xa5],
            ),
        ),
        (
            "a name as a class of scalars",
            23,
            list([&[0x92][..], &named(&class)[1..], &[1]].concat(), &[0x92, 0, 1]),
        ),
        ("a name as a key", 23, jsonb(&object)),
        ("names of no length", 23, list(vec![1], &[0x7f, 0x49, 0])),
        (
            "long numbers",
            23,
            list(vec![1], &[&[0xbb, 0x38, 0x80][..], &[0x7f; 128]].concat()),
        ),
        ("fields", 2, hessian(&fields)),
        ("types", 2, hessian(&types)),
        ("objects", 2, long_class(&[0x60])),
        ("references", 2, long_class(&[b'Q', 0x90])),
        ("lists in lists", 2, long_class(&[0x79])),
    ]
}

#[test]
fn a_body_costs_by_its_bytes_however_much_these_stand_for() {
    let _alone = alone();
    for (what, serialization, body) in dense_bodies() {
        assert!(
            body.len() > 250 << 10 && body.len() <= 264 << 10,
            "{what}: {}",
            body.len()
        );
        peak();
        let (before, started) = (resident(), processor_time());
        let mut longest = 0;
        let mut out = |exchange: Exchange| longest = longest.max(length(&exchange));
        let mut decoder = decoder();
        decoder.data(Side::Client, AT, &frame(0xc0 | serialization, 1, &body), &mut out);
        decoder.close(AT, Close::Finished, &mut out);
        let (grown, used) = (peak().saturating_sub(before), processor_time() - started);
        println!("{what}: {longest} bytes of document, {grown} bytes of memory, {used} cs");
        assert!(
            longest > 0 && longest < 512 << 10,
            "{what}: {longest} bytes of document"
        );
        // (Ten times what any of these takes without optimisation; the whole of a quadratic one takes many seconds.)
        assert!(used < 100, "{what}: {used} hundredths of a second");
        assert!(grown < 6 << 20, "{what}: {grown} bytes");
    }
}
