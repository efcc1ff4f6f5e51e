//! Which flows are observed: what the settings redirect elsewhere, and never the sidecar's own.
//!
//! Its own are told by its own sockets: the ports that it listens at on addresses of this machine, for connections to where a
//! sink delivers the sockets that this process has open, and for look-ups of a sink's name those that it had.

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{SockaddrStorage, getpeername, getsockname},
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::fd::RawFd,
};
use weir_capture::{Select, Transport};
use weir_config::{Config, Interception, Sink};
use weir_records::{Direction, Flow};

/// Tells what is observed.
#[derive(Debug)]
pub struct Observed {
    set: Interception,
    /// Where the sidecar listens.
    listens: Vec<u16>,
    /// Ports of the servers that sinks deliver to.
    delivers: Vec<u16>,
}

impl Observed {
    /// What this configuration wants observed.
    pub fn new(config: &Config) -> Self {
        let relay = &config.relay;
        Self {
            set: config.interception.clone(),
            listens: vec![relay.admin_port, relay.health_port, relay.metrics_port],
            delivers: config.sinks.iter().filter_map(port).collect(),
        }
    }

    /// Whether it is the sidecar's own, told by its sockets.
    pub(super) fn is_own(&self, flow: &Flow) -> bool {
        self.listens.contains(&flow.server.port()) && is_local(flow.server.ip())
            || self.delivers.contains(&flow.server.port()) && is_open_here(flow.client, flow.server)
            || weir_export::is_own_lookup(flow.client.port(), flow.server)
    }

    /// Whether the settings would have it redirected.
    pub(super) fn is_selected(&self, flow: &Flow) -> bool {
        let (set, ip, port) = (&self.set, flow.server.ip(), flow.server.port());
        match flow.direction {
            Direction::Ingress => {
                set.include_inbound_ports.contains(port) && !set.exclude_inbound_ports.contains(port)
            }
            Direction::Egress | Direction::Unknown => {
                !set.exclude_outbound_ports.contains(port)
                    && !set.exclude_outbound_cidrs.contains(ip)
                    && (set.include_outbound_ports.contains(port) || set.include_outbound_cidrs.contains(ip))
            }
        }
    }
}

impl Select for Observed {
    fn wants(&self, flow: &Flow, _: Transport) -> bool {
        self.is_selected(flow) && !self.is_own(flow)
    }
}

/// The port that a sink delivers to.
fn port(sink: &Sink) -> Option<u16> {
    match sink {
        Sink::Elasticsearch(settings) => settings.port(),
        Sink::Datakit(settings) => settings.port(),
        Sink::Ndjson(_) | Sink::Sqlite(_) | Sink::Lines(_) => None,
    }
}

fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || addresses().contains(&ip)
}

/// This machine's addresses.
pub(super) fn addresses() -> Vec<IpAddr> {
    // Without an answer all count as other machines': nothing is left out by guess.
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| address(&interface.address?))
        .map(|address| address.ip())
        .collect()
}

/// True if this process has a socket there. (A connection that is still being opened has no peer yet.)
fn is_open_here(local: SocketAddr, peer: SocketAddr) -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok())
        .any(|fd| {
            let own = getsockname::<SockaddrStorage>(fd).ok().as_ref().and_then(address);
            let other = getpeername::<SockaddrStorage>(fd).ok().as_ref().and_then(address);
            own == Some(local) && other.is_none_or(|other| other == peer)
        })
}

/// An address of IPv4 or IPv6, in IPv4's own form if it is one.
fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let (ip, port) = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => (IpAddr::V4(v4.ip()), v4.port()),
        (_, Some(v6)) => (IpAddr::V6(v6.ip()), v6.port()),
        _ => return None,
    };
    Some((ip.to_canonical(), port).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use weir_records::{Capture, Timestamp};

    fn flow(direction: Direction, client: SocketAddr, server: SocketAddr) -> Flow {
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

    fn observed(change: impl FnOnce(&mut Config)) -> Observed {
        let mut config = Config::default();
        change(&mut config);
        Observed::new(&config)
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_others_do_is_observed_and_the_sidecars_endpoints_are_not() {
        let observed = observed(|_| ());
        let client = at("198.18.0.2:40000");
        for (server, wanted) in [
            ("127.0.0.1:8080", true),
            ("127.0.0.1:15020", false),
            ("198.18.0.1:15020", true),
        ] {
            let flow = flow(Direction::Egress, client, at(server));
            assert_eq!(observed.wants(&flow, Transport::Tcp), wanted, "{server}");
        }
    }

    #[test]
    fn the_way_to_a_sink_is_told_by_the_socket() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = server.local_addr().map(|address| (server, address)).unwrap();
        let own = TcpStream::connect(server.1).unwrap();
        let sink: weir_config::Export = format!("elasticsearch:http://{}", server.1).parse().unwrap();
        let weir_config::Export::To(sink) = sink else {
            panic!()
        };
        let observed = observed(|config| config.sinks = vec![sink]);
        let client = own.local_addr().unwrap();
        assert!(!observed.wants(&flow(Direction::Egress, client, server.1), Transport::Tcp));
        let other = (client.ip(), client.port() ^ 1).into();
        assert!(observed.wants(&flow(Direction::Egress, other, server.1), Transport::Tcp));
    }

    #[test]
    fn what_is_not_to_be_redirected_is_not_observed_either() {
        let observed = observed(|config| {
            config.interception.exclude_inbound_ports = "8081".parse().unwrap();
            config.interception.exclude_outbound_cidrs = "198.18.7.0/24".parse().unwrap();
            config.interception.exclude_outbound_ports = "25".parse().unwrap();
        });
        let client = at("198.18.0.2:40000");
        for (direction, server, wanted) in [
            (Direction::Ingress, "198.18.0.1:8080", true),
            (Direction::Ingress, "198.18.0.1:8081", false),
            (Direction::Egress, "198.18.0.1:8081", true),
            (Direction::Egress, "198.18.7.1:80", false),
            (Direction::Egress, "198.18.0.1:25", false),
            (Direction::Ingress, "198.18.0.1:25", true),
        ] {
            let flow = flow(direction, client, at(server));
            assert_eq!(
                observed.wants(&flow, Transport::Tcp),
                wanted,
                "{direction:?} {server}"
            );
        }
    }
}
