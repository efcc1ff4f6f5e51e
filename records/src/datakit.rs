//! Layout `datakit`: documents summed up into points of DataKit's `netflow`, `httpflow` and `dnsflow`, under the names of its
//! tags and fields and in its units, for the dashboards that people have on them.
//!
//! An [`Aggregate`] takes documents, in [`Aggregate::add`], and gives a point for each bucket, in [`Aggregate::drain`], which
//! whoever owns it calls at the end of each interval: there is no clock here. Two aggregates add up to one
//! ([`Aggregate::merge`]), so that each thread can have its own.
//!
//! A bucket's sums are only ever made by adding what one document says to what is there: its first document is no special
//! case. What is not known is left out of a point.

mod buckets;
mod dnsflow;
mod ends;
mod httpflow;
mod line;
mod netflow;

use crate::{Document, FLOW_DATASET, Timestamp};
use buckets::Buckets;
use ends::Ends;
pub use line::{Point, Value};
use std::time::Duration;
use weir_config::Points;

/// The kinds of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// What connections and flows of datagrams carried.
    Netflow,
    /// What requests of HTTP were answered, and how fast.
    Httpflow,
    /// How queries were answered, and how fast.
    Dnsflow,
}

impl Measurement {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Netflow, Self::Httpflow, Self::Dnsflow];

    /// As DataKit calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Netflow => "netflow",
            Self::Httpflow => "httpflow",
            Self::Dnsflow => "dnsflow",
        }
    }

    /// How long a time its points sum up.
    pub fn interval(self, settings: &Points) -> Duration {
        match self {
            Self::Netflow | Self::Httpflow => settings.interval.0,
            Self::Dnsflow => settings.dns_interval.0,
        }
    }
}

/// What was seen since the last drain. Its memory is bounded: see [`Aggregate::add`].
#[derive(Debug)]
pub struct Aggregate {
    ephemeral_port: u16,
    netflow: Buckets<Ends, netflow::Sums>,
    httpflow: Buckets<httpflow::Key, httpflow::Sums>,
    dnsflow: Buckets<dnsflow::Key, dnsflow::Sums>,
}

impl Aggregate {
    /// Nothing yet.
    pub fn new(settings: &Points) -> Self {
        Self {
            ephemeral_port: settings.ephemeral_port,
            netflow: Buckets::default(),
            httpflow: Buckets::default(),
            dnsflow: Buckets::default(),
        }
    }

    /// Adds a document. False if it has no place here: it is about something else, or about an exchange that is under way and
    /// comes again, or of a machine with itself over its
    /// loopback interface, which DataKit drops, or there are too many buckets.
    ///
    /// Past 12 288 buckets of a measurement those that are not there yet are folded: their ports, and paths and methods of
    /// HTTP, become `*`. Past 16 384 there are no more of them.
    pub fn add(&mut self, document: &Document) -> bool {
        let ends = Ends::of(document, self.ephemeral_port);
        if ends.is_within_loopback() || document.is_waiting() {
            return false;
        }
        let left_out = match document.event.dataset {
            FLOW_DATASET => netflow::sums(document).map(|sums| self.netflow.add(ends, sums)),
            "weir.http" => httpflow::of(document, ends).map(|(key, sums)| self.httpflow.add(key, sums)),
            "weir.dns" => dnsflow::of(document, ends).map(|(key, sums)| self.dnsflow.add(key, sums)),
            _ => None,
        };
        left_out == Some(0)
    }

    /// Adds what another one has, and gives the number of documents that found no place for want of buckets.
    pub fn merge(&mut self, other: Self) -> u64 {
        self.netflow.merge(other.netflow)
            + self.httpflow.merge(other.httpflow)
            + self.dnsflow.merge(other.dnsflow)
    }

    /// True if no document was added since the last drain.
    pub fn is_empty(&self) -> bool {
        self.documents() == 0
    }

    /// Documents that were added since the last drain.
    pub fn documents(&self) -> u64 {
        self.netflow.documents() + self.httpflow.documents() + self.dnsflow.documents()
    }

    /// Takes the buckets of a measurement out as points, in an order that depends on them alone. They are of the time until
    /// `at`, each a nanosecond after the one before: those that differ only in fields would else be one to a database
    /// that knows points by their tags and time.
    pub fn drain(&mut self, measurement: Measurement, at: Timestamp) -> Vec<Point> {
        let mut points = match measurement {
            Measurement::Netflow => self.netflow.drain(netflow::point),
            Measurement::Httpflow => self.httpflow.drain(httpflow::point),
            Measurement::Dnsflow => self.dnsflow.drain(dnsflow::point),
        };
        for (point, more) in points.iter_mut().zip(0..) {
            point.time = Timestamp(at.0.saturating_add(more));
        }
        points
    }
}

/// When the last of what a document tells was seen.
pub fn seen_until(document: &Document) -> Timestamp {
    let event = &document.event;
    event
        .end
        .unwrap_or(Timestamp(document.timestamp.0 + event.duration.unwrap_or(0)))
}

/// A sum of measured values, for their mean.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: u64,
    of: u64,
}

impl Mean {
    fn one(value: Option<u64>) -> Self {
        Self {
            sum: value.unwrap_or(0),
            of: u64::from(value.is_some()),
        }
    }

    fn add(&mut self, other: Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.of += other.of;
    }

    /// Nothing where nothing was measured.
    fn value(self) -> Option<u64> {
        self.sum.checked_div(self.of)
    }
}

#[cfg(test)]
mod tests;
