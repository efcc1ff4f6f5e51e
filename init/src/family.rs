//! The two address families and what differs between them.

use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};
use weir_config::{Interception, SPARE_V4, SPARE_V6, probe};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// The families that this kernel has in this namespace. Addresses do not count: an interface may get one later.
    pub fn of_this_kernel() -> Vec<Self> {
        let mut families = vec![Self::V4];
        if Path::new("/proc/net/if_inet6").exists() {
            families.push(Self::V6);
        }
        families
    }

    /// The spare local addresses that the sidecar dials from.
    pub fn spare(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(SPARE_V4),
            Self::V6 => IpNet::V6(SPARE_V6),
        }
    }

    /// The loopback address.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// Where an outbound probe goes: an address that nobody has.
    pub fn outbound_probe(self, port: u16) -> SocketAddr {
        let ip: IpAddr = match self {
            Self::V4 => probe::OUTBOUND_V4.into(),
            Self::V6 => probe::OUTBOUND_V6.into(),
        };
        SocketAddr::new(ip, port)
    }

    /// Where an inbound probe goes: the last usable spare address.
    pub fn inbound_probe(self, port: u16) -> SocketAddr {
        let last = match self {
            Self::V4 => u32::from(SPARE_V4.broadcast()) - 1,
            Self::V6 => return SocketAddr::new(SPARE_V6.broadcast().into(), port),
        };
        SocketAddr::new(Ipv4Addr::from(last).into(), port)
    }

    /// True for a network of this family.
    pub fn has(self, net: &IpNet) -> bool {
        matches!((self, net), (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_)))
    }

    /// The resolvers of this family, each with the port at which queries to it over UDP are to arrive.
    pub fn dns_listeners(self, set: &Interception) -> impl Iterator<Item = (u16, IpNet)> {
        set.dns_listeners()
            .map(|(port, server)| (port, IpNet::from(server)))
            .filter(move |(_, server)| self.has(server))
    }

    /// How the names of its programs begin: `iptables` or `ip6tables`.
    pub fn program(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_destinations_that_the_sidecar_answers() {
        for family in [Family::V4, Family::V6] {
            for port in [probe::PORT, probe::TRIAL_PORT] {
                assert!(probe::is_probe(family.outbound_probe(port)));
                assert!(probe::is_probe(family.inbound_probe(port)));
            }
        }
        assert_eq!(
            Family::V4.inbound_probe(probe::PORT).to_string(),
            "192.0.0.126:15002"
        );
        assert_eq!(
            Family::V6.inbound_probe(probe::PORT).to_string(),
            "[100::ff]:15002"
        );
    }
}
