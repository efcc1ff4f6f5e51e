//! HTTP/1 conversations through the public interface: bytes in, documents out.
// Helpers of a test crate may fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod anomalies;
mod bodies;
mod bounds;
mod calls;
mod datakit;
mod detection;
mod documents;
mod endings;
mod gaps;
mod golden;
mod messages;
mod pipy;
mod properties;
mod resync;
mod support;
mod waiting;
