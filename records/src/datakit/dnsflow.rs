//! `dnsflow`, of queries and their answers.

use super::{Mean, Measurement, Point, Value, ends::Ends};
use crate::{Document, Outcome};

/// The response code of a query without an answer.
const UNANSWERED: i32 = -1;

/// What queries are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    ends: Ends,
    rcode: i32,
}

/// What is summed up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    count: u64,
    /// From the query to its answer, in ns.
    latency: Mean,
    longest: u64,
}

/// What a document says, if it is about a query whose fate is known: where the observation ended before the answer came,
/// nobody knows whether it did.
pub(super) fn of(document: &Document, ends: Ends) -> Option<(Key, Sums)> {
    let dns = document.weir.dns.as_ref()?;
    if dns.again {
        return None; // the query has been counted
    }
    let rcode = dns.rcode;
    if rcode == UNANSWERED && document.event.outcome == Some(Outcome::Unknown) {
        return None;
    }
    let latency = document.weir.timing.ttfb;
    let sums = Sums {
        count: 1,
        latency: Mean::one(latency),
        longest: latency.unwrap_or(0),
    };
    Some((Key { ends, rcode }, sums))
}

impl super::buckets::Key for Key {
    fn fold(&mut self) {
        self.ends.fold();
    }
}

impl super::buckets::Sums for Sums {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.latency.add(other.latency);
        self.longest = self.longest.max(other.longest);
    }

    fn documents(&self) -> u64 {
        self.count
    }
}

pub(super) fn point(key: &Key, sums: &Sums) -> Point {
    let latency = sums.latency.value();
    let mut point = Point::of(Measurement::Dnsflow, &key.ends);
    point.field("count", Value::count(sums.count));
    point.known("latency", latency.map(Value::count));
    point.known("latency_max", latency.map(|_| Value::count(sums.longest)));
    point.field("rcode", Value::Int(key.rcode.into()));
    point
}
