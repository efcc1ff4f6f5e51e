//! A segment that is kept until others tell what it is.

use crate::{
    Way,
    connection::Seen,
    packet::{Payload, Segment},
    stream::Room,
};
use std::net::SocketAddr;
use weir_records::Timestamp;

/// What one costs beside its bytes.
const SIZE: usize = size_of::<Parked>() + 32;

/// The segment, with bytes of its own.
#[derive(Debug)]
pub(crate) struct Parked {
    at: Timestamp,
    source: SocketAddr,
    destination: SocketAddr,
    sequence: u32,
    acknowledged: Option<u32>,
    syn: bool,
    fin: bool,
    rst: bool,
    window: u16,
    header: usize,
    options: Box<[u8]>,
    bytes: Box<[u8]>,
    len: usize,
    wire_len: usize,
    way: Way,
    interface: u32,
}

impl Parked {
    /// Keeps it, if there is room.
    pub fn new(seen: &Seen<'_>, room: &mut Room<'_>) -> Option<Self> {
        let segment = &seen.segment;
        let cost = SIZE + segment.options.len() + segment.payload.bytes.len();
        if cost > room.stream || *room.waiting + cost > room.total {
            return None;
        }
        *room.waiting += cost;
        Some(Self {
            at: seen.at,
            source: seen.source,
            destination: seen.destination,
            sequence: segment.sequence,
            acknowledged: segment.acknowledged,
            syn: segment.syn,
            fin: segment.fin,
            rst: segment.rst,
            window: segment.window,
            header: segment.header,
            options: segment.options.into(),
            bytes: segment.payload.bytes.into(),
            len: segment.payload.len,
            wire_len: seen.wire_len,
            way: seen.way,
            interface: seen.interface,
        })
    }

    fn cost(&self) -> usize {
        SIZE + self.options.len() + self.bytes.len()
    }

    /// Gives back the room of a segment that no longer waits.
    pub fn release(&self, room: &mut Room<'_>) {
        *room.waiting -= self.cost();
    }

    /// The segment as it was seen.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            at: self.at,
            source: self.source,
            destination: self.destination,
            segment: Segment {
                source_port: self.source.port(),
                destination_port: self.destination.port(),
                sequence: self.sequence,
                acknowledged: self.acknowledged,
                syn: self.syn,
                fin: self.fin,
                rst: self.rst,
                window: self.window,
                header: self.header,
                options: &self.options,
                payload: Payload {
                    bytes: &self.bytes,
                    len: self.len,
                },
            },
            wire_len: self.wire_len,
            way: self.way,
            interface: self.interface,
        }
    }
}
