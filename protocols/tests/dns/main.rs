//! DNS from bytes: what a message says, which query a response answers, what is DNS over TCP and what is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

mod captures;
mod detection;
mod documents;
mod pairing;
mod properties;
mod records;
mod resync;
mod support;
mod unmatched;
