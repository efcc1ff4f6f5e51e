//! What stands before a connection's own protocol, is taken off, and is named in the documents of what follows.
// Helpers of a test crate may fail by panicking; those of other crates are not all used here.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod proxy;
mod socks;
mod starttls;
#[path = "../http1/support.rs"]
mod support;
#[path = "../tls/support.rs"]
mod tls;
#[path = "../detection/wire.rs"]
mod wire;
