//! What the programs are told before they are loaded.

use crate::{Networks, PortSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use xxhash_rust::xxh3::Xxh3;

/// The programs' settings. Addresses that nobody has stand for "none".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// User whose packets are the sidecar's.
    pub proxy_uid: u32,
    /// First of the six marks that packets carry from program to program; the second is the sidecar's own.
    pub mark: u32,
    /// Where inbound connections arrive.
    pub inbound_port: u16,
    /// Where outbound connections arrive.
    pub outbound_port: u16,
    /// Where DNS queries arrive, if they do.
    pub dns_port: u16,
    /// Redirect port 53.
    pub dns: bool,
    /// Drop the first packets of new connections where no sidecar listens, rather than let them pass.
    pub hold: bool,
    /// Inbound ports that are redirected.
    pub inbound: PortSet,
    /// Outbound ports that are redirected wherever they go.
    pub outbound: PortSet,
    /// Outbound ports that are left alone wherever they go.
    pub excluded: PortSet,
    /// Redirect every destination that `networks` does not exclude.
    pub all_outbound: bool,
    /// Destinations that are redirected or left alone.
    pub networks: Networks,
    /// Port of the probes.
    pub probe_port: u16,
    /// Destinations of the outbound probes.
    pub outbound_probe: (Ipv4Addr, Ipv6Addr),
    /// Destinations of the inbound probes.
    pub inbound_probe: (Ipv4Addr, Ipv6Addr),
}

impl Settings {
    /// For what is open when the redirect ends: nothing new is taken, and what has been taken goes on.
    #[must_use]
    pub fn draining(&self) -> Self {
        Self {
            hold: false,
            inbound: PortSet::NONE,
            outbound: PortSet::NONE,
            excluded: PortSet::ALL,
            all_outbound: false,
            networks: Networks::default(),
            outbound_probe: (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            inbound_probe: (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            ..self.clone()
        }
    }

    /// A number that other settings, and other programs, don't have.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(crate::load::object());
        hash.update(format!("{:?}", self.raw()).as_bytes());
        for ports in [&self.inbound, &self.outbound, &self.excluded] {
            hash.update(ports.bytes());
        }
        hash.update(format!("{:?}", self.networks).as_bytes());
        hash.digest()
    }

    pub(crate) fn raw(&self) -> Raw {
        let v6 = |ip: Ipv6Addr| {
            let bytes = ip.octets();
            std::array::from_fn(|i| u32::from_ne_bytes(std::array::from_fn(|j| bytes[4 * i + j])))
        };
        let v4 = |ip: Ipv4Addr| u32::from_ne_bytes(ip.octets());
        Raw {
            proxy_uid: self.proxy_uid,
            mark: self.mark,
            probe_out_v4: v4(self.outbound_probe.0),
            probe_in_v4: v4(self.inbound_probe.0),
            probe_out_v6: v6(self.outbound_probe.1),
            probe_in_v6: v6(self.inbound_probe.1),
            probe_port: self.probe_port,
            inbound_port: self.inbound_port,
            outbound_port: self.outbound_port,
            dns_port: self.dns_port,
            dns: self.dns.into(),
            hold: self.hold.into(),
            all_outbound: self.all_outbound.into(),
            networks: u8::from(!self.networks.is_empty()),
            local_v4: u8::from(self.networks.include_loopback(false)),
            local_v6: u8::from(self.networks.include_loopback(true)),
            zero: 0,
        }
    }
}

/// `struct settings` in c/settings.h.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Raw {
    proxy_uid: u32,
    mark: u32,
    probe_out_v4: u32,
    probe_in_v4: u32,
    probe_out_v6: [u32; 4],
    probe_in_v6: [u32; 4],
    probe_port: u16,
    inbound_port: u16,
    outbound_port: u16,
    dns_port: u16,
    dns: u8,
    hold: u8,
    all_outbound: u8,
    networks: u8,
    local_v4: u8,
    local_v6: u8,
    zero: u16,
}

// SAFETY: plain numbers without padding (a multiple of four bytes in which every field is aligned).
#[allow(unsafe_code, reason = "the loader copies its bytes")]
unsafe impl aya::Pod for Raw {}
