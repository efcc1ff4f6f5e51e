//! Whose address a dial to the application comes from.

use std::net::{IpAddr, SocketAddr};

/// Why a dial did not have the address that was to be kept.
pub const REASONS: [&str; 6] = [
    "no_privilege",
    "local_address",
    "no_port",
    "slow",
    "refused_by_kernel",
    "application_address",
];

/// The address that a dial has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A spare one.
    Spare,
    /// What the kernel chooses: that of a client on this machine which calls the machine by the same address.
    Own,
    /// The client's, as far as possible.
    Client(IpAddr),
    /// That which the application's own outbound connection has, with whatever port.
    Application(SocketAddr),
}

/// A dial that was to have the address of the connection it is for, and why it had not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotKept(pub &'static str);

impl NotKept {
    /// NET_RAW is missing.
    pub const NO_PRIVILEGE: Self = Self(REASONS[0]);
    /// The client is on this machine: its answers would not pass here, or its call would come back.
    pub const LOCAL: Self = Self(REASONS[1]);
    /// All ports are in use that the client does not use itself.
    pub const NO_PORT: Self = Self(REASONS[2]);
    /// The connection from there took too long, and one from a spare address was there first.
    pub const SLOW: Self = Self(REASONS[3]);
    /// The kernel would not have it.
    pub const REFUSED: Self = Self(REASONS[4]);
    /// Outbound: the address that the application has chosen can't be had, so the server sees the kernel's choice.
    pub const APPLICATION: Self = Self(REASONS[5]);
}

/// True if the client's address can be told from every address of this machine by itself: not loopback, not link-local,
/// not the destination's own.
pub fn is_suitable(client: IpAddr, destination: SocketAddr) -> bool {
    let local = match client {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
    };
    !local && client != destination.ip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_machines_address_is_kept() {
        let destination = "198.18.0.2:80".parse().unwrap();
        for unsuitable in [
            "127.0.0.1",
            "127.1.2.3",
            "169.254.0.1",
            "198.18.0.2",
            "::1",
            "fe80::1",
        ] {
            assert!(
                !is_suitable(unsuitable.parse().unwrap(), destination),
                "{unsuitable}"
            );
        }
        for suitable in ["198.18.0.1", "fd00:198:18::1"] {
            assert!(is_suitable(suitable.parse().unwrap(), destination), "{suitable}");
        }
    }
}
