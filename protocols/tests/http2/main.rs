//! HTTP/2 and gRPC from bytes: what an exchange says, how streams are told apart, what a late join knows, and what captures
//! of real peers mean.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

mod bodies;
mod bounds;
mod calls;
mod captures;
mod detection;
mod documents;
mod endings;
mod evidence;
mod grpc;
mod late;
mod malformed;
#[allow(dead_code, reason = "shared with the tests of Dubbo, which need all of it")]
#[path = "../dubbo/pcap.rs"]
mod pcap;
mod pipy;
mod properties;
mod support;
mod triple;
mod tunnels;
mod upgrade;
mod waiting;
