//! `netflow`, of documents about connections as a whole: each is about a period, so that they add up.

use super::{
    Mean, Measurement, Point, Value,
    ends::{Ends, read_and_written},
};
use crate::{Direction, Document};

const NANOS_PER_MICRO: u64 = 1000;

/// What is summed up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    documents: u64,
    read: u64,
    written: u64,
    /// What the observed side sent again; nothing where nobody knows.
    retransmits: Option<u64>,
    /// From what the observed side sent to its acknowledgement, in ns.
    rtt: Mean,
    rtt_variation: Mean,
    closed: u64,
    established: u64,
}

/// What a document says, if it is about a connection as a whole.
pub(super) fn sums(document: &Document) -> Option<Sums> {
    let flow = document.weir.flow.as_deref()?;
    let observed = match document.network.direction {
        Direction::Ingress => &flow.destination,
        Direction::Egress | Direction::Unknown => &flow.source,
    };
    let (read, written) = read_and_written(document);
    Some(Sums {
        documents: 1,
        read,
        written,
        retransmits: observed.retransmits_in_period,
        rtt: Mean::one(observed.rtt),
        rtt_variation: Mean::one(observed.rtt_variation),
        // The others never were open, or may be so still.
        closed: u64::from(matches!(flow.end, Some("finished" | "reset"))),
        established: u64::from(flow.opened),
    })
}

impl super::buckets::Sums for Sums {
    fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.read = self.read.saturating_add(other.read);
        self.written = self.written.saturating_add(other.written);
        if let Some(more) = other.retransmits {
            self.retransmits = Some(self.retransmits.unwrap_or(0).saturating_add(more));
        }
        self.rtt.add(other.rtt);
        self.rtt_variation.add(other.rtt_variation);
        self.closed += other.closed;
        self.established += other.established;
    }

    fn documents(&self) -> u64 {
        self.documents
    }
}

pub(super) fn point(ends: &Ends, sums: &Sums) -> Point {
    let mut point = Point::of(Measurement::Netflow, ends);
    point.field("bytes_read", Value::count(sums.read));
    point.field("bytes_written", Value::count(sums.written));
    if ends.is_tcp() {
        let micros = |mean: Mean| mean.value().map(|nanos| Value::count(nanos / NANOS_PER_MICRO));
        point.known("retransmits", sums.retransmits.map(Value::count));
        point.known("rtt", micros(sums.rtt));
        point.known("rtt_var", micros(sums.rtt_variation));
        point.field("tcp_closed", Value::count(sums.closed));
        point.field("tcp_established", Value::count(sums.established));
    }
    point
}
