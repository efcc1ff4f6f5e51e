//! `weir-init` in real namespaces, with iptables-nft and iptables-legacy, IPv4 and IPv6.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "install/support.rs"]
mod support;

#[path = "install/check.rs"]
mod check;
#[path = "install/errors.rs"]
mod errors;
#[path = "install/left_alone.rs"]
mod left_alone;
#[path = "install/removal.rs"]
mod removal;
#[path = "install/replacement.rs"]
mod replacement;
#[path = "install/traffic.rs"]
mod traffic;
