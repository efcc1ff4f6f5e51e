//! From the configuration to what the eBPF programs are told.

use crate::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_bpf::{Networks, PortSet, Settings};
use weir_config::{Cidrs, Config, MissingProxy, Ports, probe};

/// The settings for a validated configuration.
pub fn settings(config: &Config) -> Settings {
    let set = &config.interception;
    let relay = &config.relay;
    // Dialled directly, the sidecar's own ports are its own.
    let own = [
        set.inbound_port,
        set.outbound_port,
        set.dns_port,
        relay.admin_port,
        relay.metrics_port,
        relay.health_port,
    ];
    Settings {
        proxy_uid: set.proxy_uid,
        mark: set.mark,
        inbound_port: set.inbound_port,
        outbound_port: set.outbound_port,
        dns_port: set.dns_port,
        dns: set.dns,
        hold: set.on_missing_proxy == MissingProxy::Hold,
        inbound: ports(&set.include_inbound_ports)
            .without(&own)
            .without(set.exclude_inbound_ports.listed()),
        outbound: ports(&set.include_outbound_ports),
        excluded: ports(&set.exclude_outbound_ports),
        all_outbound: set.include_outbound_cidrs == Cidrs::All,
        networks: Networks::new(
            set.include_outbound_cidrs.listed(),
            set.exclude_outbound_cidrs.listed(),
        ),
        probe_port: probe::PORT,
        outbound_probe: (probe::OUTBOUND_V4, probe::OUTBOUND_V6),
        inbound_probe: inbound_probes(),
    }
}

fn ports(ports: &Ports) -> PortSet {
    match ports {
        Ports::All => PortSet::ALL,
        Ports::List(ports) => PortSet::of(ports),
    }
}

fn inbound_probes() -> (Ipv4Addr, Ipv6Addr) {
    let v4 = match Family::V4.inbound_probe(probe::PORT).ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let v6 = match Family::V6.inbound_probe(probe::PORT).ip() {
        IpAddr::V6(ip) => ip,
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
    };
    (v4, v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sidecars_own_ports_are_never_redirected() {
        let mut config = Config::default();
        config.interception.exclude_inbound_ports = "22".parse().unwrap();
        let settings = settings(&config);
        for port in [15001, 15006, 15053, 15000, 15020, 15021, 22] {
            assert!(!settings.inbound.contains(port), "{port}");
        }
        assert!(settings.inbound.contains(80));
    }

    #[test]
    fn other_settings_have_another_fingerprint() {
        let mut config = Config::default();
        let before = settings(&config).fingerprint();
        assert_eq!(settings(&config).fingerprint(), before);
        config.interception.exclude_outbound_cidrs = "10.0.0.0/8".parse().unwrap();
        assert_ne!(settings(&config).fingerprint(), before);
    }
}
