//! The token probe that proves a redirect end to end.
//!
//! `weir-init check` connects to an address that nobody has, on [`PORT`] or [`TRIAL_PORT`], and writes one line, its random token.
//! Whoever answers for the sidecar (the sidecar itself, or `check` in its place where none runs) replies with
//! [`reply`], which shows that the connection was redirected and that its original destination was recovered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The destination port of a probe.
pub const PORT: u16 = 15002;
/// The destination port of a probe that tries a mode before it is put in force, beside the one that is: that one leaves it
/// alone.
pub const TRIAL_PORT: u16 = 15003;
/// Outbound probes go here: the last address of the benchmarking network (RFC 2544), never a host.
pub const OUTBOUND_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);
/// Outbound IPv6 probes go here: in the documentation prefix (RFC 3849), never a host.
pub const OUTBOUND_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x1337);
/// Longest token that is answered, in bytes.
pub const MAX_TOKEN: usize = 64;

/// True for an original destination that only a probe has.
pub fn is_probe(destination: SocketAddr) -> bool {
    [PORT, TRIAL_PORT].contains(&destination.port())
        && match destination.ip() {
            IpAddr::V4(ip) => ip == OUTBOUND_V4 || crate::SPARE_V4.contains(&ip),
            IpAddr::V6(ip) => ip == OUTBOUND_V6 || crate::SPARE_V6.contains(&ip),
        }
}

/// The answer to a token: who was asked (`inbound` or `outbound` listener) and the original destination seen there.
pub fn reply(token: &str, listener: &str, original_destination: SocketAddr) -> String {
    format!("weir {token} {listener} {original_destination}\n")
}
