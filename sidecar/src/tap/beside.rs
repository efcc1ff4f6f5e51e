//! What a tap observes beside a relay: what the settings do not redirect, and nothing that the sidecar itself sends or
//! takes, so that no request is seen twice.

use super::own::{Observed, addresses};
use crate::{legs::Legs, mode::InForce};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use weir_capture::{Select, Transport};
use weir_config::{Config, Interception, Mode};
use weir_records::{Direction, Flow};

/// How long this machine's addresses are taken to be what they were.
const PERIOD: Duration = Duration::from_secs(1);
/// Port of resolvers.
const DNS: u16 = 53;

/// Tells what is left for the tap.
#[derive(Debug)]
pub struct Beside {
    set: Interception,
    observed: Observed,
    /// Ports at which redirected traffic arrives.
    arrives: Vec<u16>,
    legs: Arc<Legs>,
    mode: Arc<InForce>,
    local: Mutex<Option<(Instant, Vec<IpAddr>)>>,
}

impl Beside {
    /// What this configuration leaves in the mode in force; `legs` are the relay's sockets.
    pub fn new(config: &Config, legs: Arc<Legs>, mode: Arc<InForce>) -> Self {
        let set = &config.interception;
        let mut arrives = vec![set.inbound_port, set.outbound_port, set.dns_port];
        arrives.extend(set.dns_listeners().map(|(port, _)| port));
        arrives.extend(set.port_map.0.iter().map(|pair| pair.mapped));
        Self {
            set: set.clone(),
            observed: Observed::new(config),
            arrives,
            legs,
            mode,
            local: Mutex::default(),
        }
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() {
            return true;
        }
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, addresses) = match local.take() {
            Some(known) if known.0.elapsed() < PERIOD => local.insert(known),
            _ => local.insert((Instant::now(), addresses())),
        };
        addresses.contains(&ip)
    }

    fn is_redirected(&self, flow: &Flow, transport: Transport) -> bool {
        let (set, port, ip) = (&self.set, flow.server.port(), flow.server.ip());
        let outbound = flow.direction != Direction::Ingress;
        if !set.port_map.0.is_empty() {
            let is_mapped = set.port_map.0.iter().any(|pair| pair.original == port);
            let by_itself = outbound && set.cgroup == "none";
            return transport == Transport::Tcp && is_mapped && !by_itself && self.is_local(ip);
        }
        if set.dns && port == DNS && outbound {
            // Over TCP whoever is asked; and over UDP too, where no rule of NAT is needed for each resolver.
            let whoever = transport == Transport::Tcp || self.mode.get() == Some(Mode::Ebpf);
            return whoever || set.dns_servers.0.contains(&ip);
        }
        if transport == Transport::Udp {
            return false;
        }
        if outbound && self.is_local(ip) {
            // What a machine says to itself is left alone, unless it was asked for by name.
            let named = set.include_outbound_cidrs.listed().iter();
            return named.clone().any(|net| net.addr().is_loopback()) && self.observed.is_selected(flow);
        }
        self.observed.is_selected(flow)
    }
}

impl Select for Beside {
    fn wants(&self, flow: &Flow, transport: Transport) -> bool {
        let arrives = self.arrives.contains(&flow.server.port()) && self.is_local(flow.server.ip());
        !(arrives
            || self.is_redirected(flow, transport)
            || self.legs.has(flow.client, flow.server)
            || self.observed.is_own(flow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use weir_capture::Transport::{Tcp, Udp};
    use weir_records::{Capture, Direction::*, Timestamp};

    fn flow(direction: Direction, client: &str, server: &str) -> Flow {
        let (client, server): (SocketAddr, SocketAddr) = (client.parse().unwrap(), server.parse().unwrap());
        Flow {
            id: Flow::identify(None, client, server, Timestamp(0)),
            capture: Capture::Tap,
            mode: None,
            direction,
            client,
            server,
            opened: Timestamp(0),
            connect: None,
            host: None,
            wrapping: None,
        }
    }

    #[test]
    fn what_is_redirected_is_left_to_the_relay() {
        let mut config = Config::default();
        let set = &mut config.interception;
        set.exclude_inbound_ports = "8081".parse().unwrap();
        set.exclude_outbound_ports = "25".parse().unwrap();
        set.exclude_outbound_cidrs = "198.18.7.0/24".parse().unwrap();
        set.dns = true;
        set.dns_servers = "198.18.0.53".parse().unwrap();
        let beside = Beside::new(&config, Arc::default(), Arc::default());
        let (near, far) = ("198.18.0.2:40000", "198.18.0.1:40000");
        for (direction, client, server, transport, wanted) in [
            (Ingress, far, "198.18.0.2:8080", Tcp, false),
            (Ingress, far, "198.18.0.2:8081", Tcp, true),
            (Egress, near, "198.18.0.1:80", Tcp, false),
            (Egress, near, "198.18.0.1:25", Tcp, true),
            (Egress, near, "198.18.7.1:80", Tcp, true),
            (Egress, near, "198.18.0.53:53", Udp, false),
            (Egress, near, "198.18.0.54:53", Udp, true),
            (Egress, near, "198.18.0.54:53", Tcp, false),
            (Egress, near, "198.18.0.1:5300", Udp, true),
            (Egress, "127.0.0.1:40000", "127.0.0.1:80", Tcp, true),
            (Egress, near, "127.0.0.1:15001", Tcp, false),
            (Egress, near, "127.0.0.1:15053", Udp, false),
            (Egress, near, "127.0.0.1:15020", Tcp, false),
        ] {
            let flow = flow(direction, client, server);
            assert_eq!(
                beside.wants(&flow, transport),
                wanted,
                "{direction:?} {server} {transport:?}"
            );
        }
    }

    #[test]
    fn where_programs_redirect_whoever_is_asked_is_asked_by_the_relay() {
        let mut config = Config::default();
        config.interception.dns = true;
        for (mode, wanted) in [(Mode::Ebpf, false), (Mode::Redirect, true)] {
            let beside = Beside::new(&config, Arc::default(), Arc::new(InForce::of(mode)));
            let query = flow(Egress, "198.18.0.2:40000", "198.18.0.54:53");
            assert_eq!(beside.wants(&query, Udp), wanted, "{mode:?}");
        }
    }

    #[test]
    fn what_the_relay_dials_is_its_own() {
        let mut config = Config::default();
        config.interception.include_outbound_cidrs = "".parse().unwrap();
        let legs = Arc::new(Legs::default());
        let beside = Beside::new(&config, legs.clone(), Arc::default());
        let dialled = flow(Egress, "192.0.0.65:1", "198.18.0.2:8080");
        assert!(beside.wants(&dialled, Tcp));
        let leg = legs.accepted(dialled.client, dialled.server);
        assert!(!beside.wants(&dialled, Tcp));
        drop(leg);
        assert!(
            !beside.wants(&dialled, Tcp),
            "its packets may still be on their way"
        );
    }

    #[test]
    fn of_a_port_map_only_its_ports_are_left_out() {
        let mut config = Config::default();
        config.interception.port_map = "8000:9000".parse().unwrap();
        let beside = Beside::new(&config, Arc::default(), Arc::default());
        for (server, wanted) in [
            ("127.0.0.1:8000", false),
            ("127.0.0.1:9000", false),
            ("127.0.0.1:8001", true),
            ("198.18.0.1:8000", true),
        ] {
            assert_eq!(
                beside.wants(&flow(Egress, "127.0.0.1:4000", server), Tcp),
                wanted,
                "{server}"
            );
        }
    }
}
