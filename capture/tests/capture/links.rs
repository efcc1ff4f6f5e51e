//! Link layers, fragments and extension headers, as packets of an independent encoder have them.

use crate::support::*;
use etherparse::PacketBuilder;
use weir_capture::{LinkType, Packet, Tracker};
use weir_records::Timestamp;

const GET: &[u8] = b"GET /a HTTP/1.1\r\n\r\n";

fn document(link: LinkType, frames: &[Vec<u8>]) -> serde_json::Value {
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for (at, bytes) in frames.iter().enumerate() {
        let packet = Packet::new(Timestamp(START + at as u64), link, bytes, bytes.len());
        tracker.packet(&packet, &mut seen);
    }
    tracker.finish(&mut seen);
    assert_eq!(seen.documents.len(), 1, "{link:?} {:?}", tracker.counters());
    seen.documents.remove(0)
}

#[test]
fn every_link_layer_carries_requests() {
    let ip = |bytes: &mut Vec<u8>, head: &[u8]| {
        let mut conversation = Conversation::default();
        conversation.client(GET);
        *bytes = [head, &conversation.frames[0].bytes].concat();
    };
    let mut frame = Vec::new();
    ip(&mut frame, &[]);
    document(LinkType::RAW, &[frame.clone()]);
    document(LinkType::IPV4, &[frame.clone()]);
    ip(&mut frame, &[2, 0, 0, 0]);
    document(LinkType::NULL, &[frame.clone()]);
    ip(&mut frame, &[0, 0, 0, 2]);
    document(LinkType::LOOP, &[frame.clone()]);
    ip(&mut frame, &[&[8, 0][..], &[0; 8], &[4, 6], &[0; 8]].concat());
    let sent = document(LinkType::LINUX_SLL2, &[frame.clone()]);
    assert_eq!(sent["network"]["direction"], "egress");

    let built = |builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>| {
        let mut bytes = Vec::new();
        builder
            .tcp(40000, 80, 1, 1)
            .ack(1)
            .write(&mut bytes, GET)
            .unwrap();
        bytes
    };
    let ethernet = || PacketBuilder::ethernet2([1; 6], [2; 6]);
    let (a, b) = ([198, 18, 0, 2], [198, 18, 0, 1]);
    document(LinkType::ETHERNET, &[built(ethernet().ipv4(a, b, 9))]);
    document(LinkType::ETHERNET, &[built(ethernet().ipv6([1; 16], [2; 16], 9))]);
    let vlan = || 7.try_into().unwrap();
    document(
        LinkType::ETHERNET,
        &[built(ethernet().single_vlan(vlan()).ipv4(a, b, 9))],
    );
    document(
        LinkType::ETHERNET,
        &[built(ethernet().double_vlan(vlan(), vlan()).ipv4(a, b, 9))],
    );
    // Short frames are padded to 60 bytes: the IP header tells where the packet ends.
    let mut padded = built(ethernet().ipv4(a, b, 9));
    padded.extend([0x55; 30]);
    let document = document(LinkType::ETHERNET, &[padded]);
    assert_eq!(document["source"]["bytes"], GET.len());
}

#[test]
fn received_and_sent_tell_the_direction_of_a_cooked_capture() {
    let mut conversation = Conversation::default();
    conversation.client(GET);
    let cooked = |kind: u8| [&[0, kind][..], &[0; 12], &[8, 0], &conversation.frames[0].bytes].concat();
    let direction = |kind| document(LinkType::LINUX_SLL, &[cooked(kind)])["network"]["direction"].clone();
    assert_eq!(direction(0), "ingress");
    assert_eq!(direction(4), "egress");
    assert_eq!(direction(3), "unknown");
}

/// An IPv4 packet in two fragments.
fn fragments(packet: &[u8]) -> [Vec<u8>; 2] {
    let (header, payload) = packet.split_at(20);
    [(0, &payload[..16], true), (16, &payload[16..], false)].map(|(offset, part, more)| {
        let mut bytes = [header, part].concat();
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[6..8].copy_from_slice(&((offset / 8) | if more { 0x2000u16 } else { 0 }).to_be_bytes());
        bytes
    })
}

/// An IPv6 packet in two fragments, with a header of options for the destination.
fn fragments_v6(packet: &[u8]) -> [Vec<u8>; 2] {
    let (header, payload) = packet.split_at(40);
    [(0u16, &payload[..16], 1), (16, &payload[16..], 0)].map(|(offset, part, more)| {
        let options = [44, 0, 1, 4, 0, 0, 0, 0];
        let place = (offset | more).to_be_bytes();
        let mut bytes = [header, &options, &[6, 0, place[0], place[1], 0, 0, 0, 9], part].concat();
        let length = (bytes.len() - 40) as u16;
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        bytes[6] = 60;
        bytes
    })
}

#[test]
fn fragments_are_put_together() {
    let mut v4 = Conversation::default();
    let [first, second] = fragments(&v4.client(GET).frames[0].bytes);
    document(LinkType::RAW, &[first.clone(), second.clone()]);
    document(LinkType::RAW, &[second, first]);
    let mut v6 = Conversation::new("[fd00:198:18::2]:40000", "[fd00:198:18::1]:80");
    let [first, second] = fragments_v6(&v6.client(GET).frames[0].bytes);
    document(LinkType::RAW, &[second, first]);
}

#[test]
fn fragments_that_never_come_are_counted() {
    let mut v4 = Conversation::default();
    let [first, _] = fragments(&v4.client(GET).frames[0].bytes);
    let frame = Frame {
        at: START,
        kept: first.len(),
        bytes: first,
    };
    let (seen, counters) = track(&[frame]);
    assert_eq!((seen.documents.len(), counters.incomplete_fragments), (0, 1));
}

#[test]
fn what_the_card_was_to_cut_has_no_length_of_its_own() {
    let mut conversation = Conversation::default();
    conversation.client(GET).frames[0].bytes[2..4].fill(0);
    assert_eq!(track(&conversation.frames).0.summary(), ["GET /a -"]);
    let mut conversation = Conversation::new("[fd00:198:18::2]:40000", "[fd00:198:18::1]:80");
    conversation.client(GET).frames[0].bytes[4..6].fill(0);
    assert_eq!(track(&conversation.frames).0.summary(), ["GET /a -"]);
}

#[test]
fn what_is_left_out_is_counted_by_its_reason() {
    let mut tracker = Tracker::new(weir_capture::Settings {
        flows: None,
        ..settings()
    });
    let mut seen = Seen::default();
    let mut show = |link: u32, bytes: &[u8]| {
        let packet = Packet::new(Timestamp(START), LinkType(link), bytes, bytes.len());
        tracker.packet(&packet, &mut seen);
    };
    show(147, &[0; 60]);
    show(1, &[0; 10]);
    show(1, &[&[0; 12][..], &[8, 6], &[0; 40]].concat());
    show(
        101,
        &[0x45, 0, 0, 20, 0, 0, 0, 0, 9, 1, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
    );
    show(101, &udp("198.18.0.1:5000", "198.18.0.2:5000", b"QUIC"));
    let counters = tracker.counters();
    assert_eq!(
        [
            counters.packets,
            counters.unknown_link,
            counters.malformed,
            counters.not_ip,
            counters.other_transport,
            counters.other_datagrams,
        ],
        [5, 1, 1, 1, 1, 1]
    );
}
