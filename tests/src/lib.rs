//! What the end-to-end tests share: the stage (namespaces, Weir in them) and the peers that talk across it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

pub mod many;
pub mod peer;
pub mod search;
pub mod stage;
pub mod weir;
