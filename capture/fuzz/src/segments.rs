//! Any segments of two connections, near each other in sequence so that they meet, overlap and miss each other.
//!
//! The input is a list of segments, each with four bytes before its payload: flags, how far it lies from where its side has
//! come to, how far its acknowledgement does, and the payload's length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_capture::{LinkType, Packet};
use weir_capture_fuzz::Watched;
use weir_records::Timestamp;

/// Flags of a segment in the input.
const SERVER: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 4;
const FIN: u8 = 8;
const RST: u8 = 16;
/// Only half of the payload was captured.
const CUT: u8 = 32;
/// Far away from everything else in sequence; and half a minute later.
const FAR: u8 = 64;
/// Of the second connection.
const SECOND: u8 = 128;

fuzz_target!(|input: &[u8]| {
    let mut tracker = Watched::default();
    let mut next = [[u32::MAX - 20; 2]; 2];
    let mut now = 1_000_000_000;
    let mut input = input;
    while let Some(([flags, distance, acknowledged, length], rest)) = input.split_first_chunk() {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        let has = |flag: u8| flags & flag != 0;
        let connection = &mut next[usize::from(has(SECOND))];
        let (mine, other) = (usize::from(has(SERVER)), usize::from(!has(SERVER)));
        let adjust = |number: u32, by: u8| number.wrapping_add_signed(i32::from(by as i8));
        let far = if has(FAR) { 1 << 31 } else { 0 };
        let sequence = adjust(connection[mine], *distance).wrapping_add(far);
        let acknowledged = adjust(connection[other], *acknowledged);
        if *distance == 0 && !has(FAR) {
            let len = payload.len() as u32 + u32::from(has(SYN)) + u32::from(has(FIN));
            connection[mine] = connection[mine].wrapping_add(len);
        }
        now += if has(FAR) { 30_000_000_000 } else { 1_000_000 };

        let tcp = (u8::from(has(FIN)))
            | u8::from(has(SYN)) << 1
            | u8::from(has(RST)) << 2
            | u8::from(has(ACK)) << 4;
        let ports: [u16; 2] = [40000 + u16::from(has(SECOND)), 53 + u16::from(has(SECOND))];
        let addresses = [[198, 18, 0, 2], [198, 18, 0, 1]];
        let total = (40 + payload.len()) as u16;
        let bytes = [
            &[0x45, 0][..],
            &total.to_be_bytes(),
            &[0, 0, 0, 0, 64, 6, 0, 0],
            &addresses[mine],
            &addresses[other],
            &ports[mine].to_be_bytes(),
            &ports[other].to_be_bytes(),
            &sequence.to_be_bytes(),
            &acknowledged.to_be_bytes(),
            &[0x50, tcp, 1, 0, 0, 0, 0, 0],
            payload,
        ]
        .concat();
        let kept = if has(CUT) {
            bytes.len() - payload.len() / 2
        } else {
            bytes.len()
        };
        tracker.packet(&Packet::new(
            Timestamp(now),
            LinkType::RAW,
            &bytes[..kept],
            bytes.len(),
        ));
    }
    tracker.finish();
});
