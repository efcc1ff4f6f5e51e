//! `httpflow`, of requests of HTTP, of every version.

use super::{
    Mean, Measurement, Point, Value,
    ends::{Ends, read_and_written},
};
use crate::Document;

/// Bytes of a path that are kept: with the most buckets that there can be these are 16 MiB.
const LONGEST_PATH: usize = 1024;
/// Bytes of a method: the longest registered one has 17.
const LONGEST_METHOD: usize = 32;

/// What requests are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    ends: Ends,
    method: Option<Box<str>>,
    /// Without the query.
    path: Option<Box<str>>,
    /// The path is not all there.
    truncated: bool,
    status: Option<u16>,
    version: Option<&'static str>,
}

/// What is summed up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    count: u64,
    /// To the first byte of the response, in ns.
    latency: Mean,
    read: u64,
    written: u64,
}

/// What a document says, if it is about a request.
pub(super) fn of(document: &Document, ends: Ends) -> Option<(Key, Sums)> {
    let http = document.http.as_ref()?;
    let method = http
        .request
        .as_ref()
        .and_then(|request| request.method.as_deref());
    let (method, _) = method.map(|method| cut(method, LONGEST_METHOD)).unzip();
    let path = document.url.as_ref().and_then(|url| url.path.as_deref());
    let (path, shortened) = path.map(|path| cut(path, LONGEST_PATH)).unzip();
    let was_cut = document.weir.original_sizes.contains_key("url.path");
    let key = Key {
        ends,
        method: method.map(Into::into),
        path: path.map(Into::into),
        truncated: shortened == Some(true) || was_cut,
        status: http.response.as_ref().and_then(|response| response.status_code),
        version: http.version,
    };
    let (read, written) = read_and_written(document);
    let sums = Sums {
        count: 1,
        latency: Mean::one(document.weir.timing.ttfb),
        read,
        written,
    };
    Some((key, sums))
}

/// No more than so many bytes, and whether there were more.
fn cut(text: &str, most: usize) -> (&str, bool) {
    (&text[..text.floor_char_boundary(most)], text.len() > most)
}

impl super::buckets::Key for Key {
    fn fold(&mut self) {
        self.ends.fold();
        self.method = Some("*".into());
        self.path = Some("*".into());
        self.truncated = false;
    }
}

impl super::buckets::Sums for Sums {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.latency.add(other.latency);
        self.read = self.read.saturating_add(other.read);
        self.written = self.written.saturating_add(other.written);
    }

    fn documents(&self) -> u64 {
        self.count
    }
}

pub(super) fn point(key: &Key, sums: &Sums) -> Point {
    let text = |text: &Option<Box<str>>| text.as_deref().map(|text| Value::Text(text.into()));
    let mut point = Point::of(Measurement::Httpflow, &key.ends);
    point.field("bytes_read", Value::count(sums.read));
    point.field("bytes_written", Value::count(sums.written));
    point.field("count", Value::count(sums.count));
    point.known(
        "http_version",
        key.version.map(|version| Value::Text(version.into())),
    );
    point.known("latency", sums.latency.value().map(Value::count));
    point.known("method", text(&key.method));
    point.known("path", text(&key.path));
    point.known("status_code", key.status.map(|status| Value::Int(status.into())));
    point.field("truncated", Value::Bool(key.truncated));
    point
}
