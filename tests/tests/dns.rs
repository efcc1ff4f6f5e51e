//! DNS through Weir, with a real server and a real client, and with clients made by hand. Every case runs in every mode.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

#[path = "dns/answers.rs"]
mod answers;
#[path = "dns/failures.rs"]
mod failures;
#[path = "dns/servers.rs"]
mod servers;
#[path = "dns/stage.rs"]
mod stage;

#[path = "dns/transparent.rs"]
mod transparent;

/// The modes of `weir-init` in which DNS is captured.
const MODES: &[&str] = &["redirect", "tproxy", "ebpf"];
