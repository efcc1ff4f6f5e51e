//! WebSocket connections through the public interface: bytes in, one document out.
// Helpers of a test crate may fail by panicking; those of other crates are not all used here.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod endings;
mod frames;
mod handshakes;
mod messages;
mod properties;
#[path = "../http1/support.rs"]
mod support;
