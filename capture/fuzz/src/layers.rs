//! Any bytes behind any link type and within any tunnels.
//!
//! The input is a list of packets, each with a link type's place in a list, a number of wrappings, the wrappings' places in
//! theirs, and a length before its content. Wrappings have headers that are believed, so that what is within is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_capture::{LinkType, Packet};
use weir_capture_fuzz::Watched;
use weir_records::Timestamp;

const LINKS: [u32; 38] = [
    0, 1, 9, 12, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119, 122, 127, 138, 143, 163, 166, 192,
    197, 204, 205, 206, 219, 228, 229, 239, 240, 258, 276, 281, 282, 284, 285,
];
/// Protocols of IP that may carry packets.
const PROTOCOLS: [u8; 10] = [4, 41, 47, 51, 94, 97, 137, 6, 17, 44];
/// Ports of tunnels and of names.
const PORTS: [u16; 12] = [
    4789, 4790, 8472, 6081, 2152, 1701, 3544, 4754, 6635, 53, 5353, 5355,
];

fn ip(protocol: u8, content: &[u8]) -> Vec<u8> {
    let total = (20 + content.len()) as u16;
    let head = [0, 1, 0, 0, 64, protocol, 0, 0, 198, 18, 0, 2, 198, 18, 0, 1];
    [&[0x45, 0][..], &total.to_be_bytes(), &head, content].concat()
}

fn udp(port: u16, content: &[u8]) -> Vec<u8> {
    let length = (8 + content.len()) as u16;
    let words = [40000, port, length, 0].map(u16::to_be_bytes);
    ip(17, &[&words.concat(), content].concat())
}

fn frame(kind: u16, content: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), content].concat()
}

/// Something around `content`, which may be a packet.
fn wrap(choice: u8, content: &[u8]) -> Vec<u8> {
    let kind = if content.first().is_some_and(|first| first >> 4 == 6) {
        0x86dd
    } else {
        0x0800
    };
    match choice % 8 {
        0 => ip(PROTOCOLS[usize::from(choice / 8) % PROTOCOLS.len()], content),
        1 => udp(PORTS[usize::from(choice / 8) % PORTS.len()], content),
        2 => udp(
            4789,
            &[&[8, 0, 0, 0, 0, 0, choice, 0][..], &frame(kind, content)].concat(),
        ),
        3 => ip(
            47,
            &[&[0x20, 0][..], &kind.to_be_bytes(), &[0, 0, 0, choice], content].concat(),
        ),
        4 => ip(47, &[&[0, 0, 0x65, 0x58][..], &frame(kind, content)].concat()),
        5 => ip(137, &[&[0, 1, 1, 64][..], content].concat()),
        6 => ip(47, &[&[0, 0, 0x88, 0x0b, 0, 0x21][..], content].concat()),
        _ => ip(4, content),
    }
}

fuzz_target!(|input: &[u8]| {
    let mut tracker = Watched::default();
    let mut input = input;
    let mut now = 1_000_000_000;
    while let Some(([link, wraps, length], rest)) = input.split_first_chunk() {
        let (choices, rest) = rest.split_at(usize::from(wraps % 12).min(rest.len()));
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        now += 1_000_000;
        let link = match wraps % 12 {
            0 => LINKS[usize::from(*link) % LINKS.len()],
            _ => 101,
        };
        let mut bytes = content.to_vec();
        for choice in choices {
            bytes = wrap(*choice, &bytes);
        }
        tracker.packet(&Packet::new(Timestamp(now), LinkType(link), &bytes, bytes.len()));
    }
    tracker.finish();
});
