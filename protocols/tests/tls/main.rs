//! TLS: what the hellos say, however they arrive.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod hellos;
mod outcomes;
mod properties;
mod support;
