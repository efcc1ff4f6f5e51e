//! Dubbo 2 from bytes: what a call says, which request a response answers, how frames are found, and what captures of real
//! peers mean.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

mod bounds;
mod captures;
mod detection;
mod documents;
mod expected;
mod framing;
mod pairing;
mod pcap;
mod pipy;
mod properties;
mod serializations;
mod support;

mod unseen;
mod waiting;
