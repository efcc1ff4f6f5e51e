//! The TCP payload of a capture of Ethernet and IPv4 in little-endian pcap, whose segments are in order.

use std::{collections::HashMap, fs, path::Path};
use weir_protocols::Side;

/// What one side of one connection sent, and when, in ns.
pub struct Piece {
    /// Number of the connection, from 0.
    pub connection: usize,
    /// The client's port.
    pub client: u16,
    pub side: Side,
    pub at: u64,
    pub bytes: Vec<u8>,
}

/// All pieces in order. The client is who sent the SYN, or the first bytes.
pub fn pieces(path: &Path) -> Vec<Piece> {
    let capture = fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1));
    let mut connections: HashMap<(Vec<u8>, Vec<u8>), usize> = HashMap::new();
    let mut next: HashMap<(usize, bool), u32> = HashMap::new();
    let mut pieces = Vec::new();
    let mut at = 24;
    while at < capture.len() {
        let time = u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)) * 1000;
        let length = word(at + 8) as usize;
        let frame = &capture[at + 16..at + 16 + length];
        at += 16 + length;
        if frame[12..14] != [8, 0] || frame[14 + 9] != 6 {
            continue;
        }
        let ip = &frame[14..];
        let ip = &ip[..usize::from(u16::from_be_bytes([ip[2], ip[3]]))];
        let tcp = &ip[usize::from(ip[0] & 15) * 4..];
        let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
        let (from, to) = (
            [&ip[12..16], &tcp[..2]].concat(),
            [&ip[16..20], &tcp[2..4]].concat(),
        );
        let number = connections.len();
        let (connection, side) = match connections.get(&(to.clone(), from.clone())) {
            Some(connection) => (*connection, Side::Server),
            None => (*connections.entry((from, to)).or_insert(number), Side::Client),
        };
        let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let port = if side == Side::Client {
            &tcp[..2]
        } else {
            &tcp[2..4]
        };
        if payload.is_empty() {
            continue;
        }
        let expected = next.entry((connection, side == Side::Client)).or_insert(sequence);
        if sequence != *expected {
            continue; // sent again
        }
        *expected = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
        pieces.push(Piece {
            connection,
            client: u16::from_be_bytes(port.try_into().unwrap()),
            side,
            at: time,
            bytes: payload.to_vec(),
        });
    }
    pieces
}
