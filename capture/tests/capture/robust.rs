//! Nothing that a capture may hold makes the tracker fail.

use crate::{support::*, wraps::*};
use proptest::prelude::*;
use std::io::Cursor;
use weir_capture::{LinkType, Packet, Reader, Tracker};
use weir_protocols::Side;
use weir_records::Timestamp;

const LINKS: [u32; 39] = [
    0, 1, 9, 12, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119, 122, 127, 138, 143, 163, 166, 192,
    197, 204, 205, 206, 219, 228, 229, 239, 240, 258, 276, 281, 282, 284, 285, 147,
];

/// A conversation in which anything may happen.
fn conversation(v6: bool, steps: &[(bool, u32, u32, u8, Vec<u8>)]) -> Conversation {
    let mut conversation = match v6 {
        false => Conversation::default(),
        true => Conversation::new("[fd00:198:18::2]:40000", "[fd00:198:18::1]:53"),
    };
    for (client, sequence, acknowledged, flags, payload) in steps {
        let side = if *client { Side::Client } else { Side::Server };
        let flags = Flags {
            syn: flags & 1 != 0,
            ack: flags & 2 != 0,
            fin: flags & 4 != 0,
            rst: flags & 24 == 24,
        };
        match flags.rst && flags.syn {
            true => conversation.raw(side, *sequence, *acknowledged, flags, payload),
            false => conversation.next(side, flags, payload),
        };
    }
    conversation
}

/// A packet with something of a tunnel around these bytes, whatever they are.
fn wrapped(layer: usize, byte: u8, content: &[u8]) -> Vec<u8> {
    let kind = if byte < 128 { 0x0800 } else { 0x86dd };
    let port = [4789, 4790, 8472, 6081, 2152, 1701, 3544, 4754, 6635, 5353][usize::from(byte) % 10];
    match layer {
        0 => v4([4, 41, 47, 51, 94, 97, 137, 50][usize::from(byte) % 8], content),
        1 => v6([4, 41, 47, 51, 44, 60, 43, 0][usize::from(byte) % 8], content),
        2 => datagram(5555, port, content),
        3 => datagram(5555, 4789, &vxlan(byte.into(), &typed(kind, content))),
        4 => datagram(5555, 6081, &geneve(byte.into(), kind, content)),
        5 => datagram(5555, 2152, &gtp(byte.into(), content)),
        6 => datagram(5555, 1701, &l2tp(&[&[0x21][..], content].concat())),
        7 => v4(47, &gre(u16::from(byte) << 8, kind, &[0, 0, 0, 9], content)),
        8 => v4(
            47,
            &gre(
                0x1000,
                0x88be,
                &[0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0],
                &typed(kind, content),
            ),
        ),
        9 => v4(137, &mpls(&[byte.into(), 7], content)),
        10 => v4(
            47,
            &gre(0, 0x6558, &[], &measured(&snap([0, 0, byte], kind, content))),
        ),
        _ => v4(
            47,
            &gre(0, 0x8864, &[], &pppoe(&[&[0, 0x21][..], content].concat())),
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_packets(
        packets in prop::collection::vec(
            (0..LINKS.len(), prop::collection::vec(any::<u8>(), 0..120), 0..3000usize, any::<u64>()), 0..30),
    ) {
        let mut tracker = Tracker::new(settings());
        let mut seen = Seen::default();
        for (link, bytes, wire_len, at) in &packets {
            tracker.packet(
                &Packet::new(Timestamp(*at), LinkType(LINKS[*link]), bytes, *wire_len),
                &mut seen,
            );
        }
        tracker.finish(&mut seen);
        prop_assert_eq!((tracker.flows(), tracker.waiting_bytes()), (0, 0));
    }

    #[test]
    fn any_bytes_within_any_tunnels(
        packets in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..120), prop::collection::vec((0..12usize, any::<u8>()), 0..11), 0..400usize),
            0..20,
        ),
    ) {
        let mut tracker = Tracker::new(settings());
        let mut seen = Seen::default();
        for (content, layers, kept) in &packets {
            let packet = layers.iter().fold(content.clone(), |content, (layer, byte)| wrapped(*layer, *byte, &content));
            let kept = &packet[..packet.len().min(*kept)];
            tracker.packet(&Packet::new(Timestamp(START), LinkType::RAW, kept, packet.len()), &mut seen);
        }
        tracker.finish(&mut seen);
        prop_assert_eq!((tracker.flows(), tracker.counters().decoder_panics), (0, 0));
    }

    #[test]
    fn any_conversation_in_any_order_and_damaged(
        v6 in any::<bool>(),
        steps in prop::collection::vec(
            (any::<bool>(), any::<u32>(), any::<u32>(), any::<u8>(), prop_oneof![
                Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
                Just(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
                prop::collection::vec(any::<u8>(), 0..40),
            ]), 1..30),
        order in prop::collection::vec(0..30usize, 0..40),
        damage in prop::collection::vec((0..30usize, 0..120usize, any::<u8>()), 0..10),
        cuts in prop::collection::vec((0..30usize, 0..120usize), 0..5),
    ) {
        let mut frames = conversation(v6, &steps).frames;
        for (frame, place, byte) in damage {
            let frame = frame % frames.len();
            let bytes = &mut frames[frame].bytes;
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        for (frame, kept) in cuts {
            let frame = frame % frames.len();
            frames[frame].kept = kept.min(frames[frame].bytes.len());
        }
        let mut all = frames.clone();
        all.extend(order.iter().map(|place| frames[place % frames.len()].clone()));
        let (_, counters) = track(&all);
        prop_assert_eq!(counters.decoder_panics, 0);
    }

    #[test]
    fn any_file(
        magic in prop_oneof![
            Just(vec![0xd4, 0xc3, 0xb2, 0xa1]),
            Just(vec![0xa1, 0xb2, 0x3c, 0x4d]),
            Just(vec![0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a]),
        ],
        rest in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>()], 0..400),
    ) {
        let file = [magic, rest].concat();
        if let Ok(mut reader) = Reader::new(Cursor::new(&file)) {
            while let Ok(Some(packet)) = reader.next_packet() {
                prop_assert!(packet.bytes.len() <= file.len());
            }
        }
    }
}
