//! What a connection speaks: guesses that turn out wrong, ports that are pinned, tunnels within connections.
// Helpers of a test crate may fail by panicking; those of other crates are not all used here.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod guesses;
mod pins;
mod properties;
mod reasons;
#[path = "../http1/support.rs"]
mod support;
#[path = "../tls/support.rs"]
mod tls;
mod tunnels;
mod wire;
