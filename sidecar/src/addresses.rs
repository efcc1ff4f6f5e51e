//! This machine's own addresses, as they were a moment ago.

use nix::ifaddrs::getifaddrs;
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long what was read is believed, at least.
const FRESH: Duration = Duration::from_secs(1);
/// Reading takes at most one part in so many of the time: a host may have thousands of addresses.
const SHARE: u32 = 100;
/// Any port will do for a look at the routes: nothing is sent (discard, RFC 863).
const DISCARD: u16 = 9;

/// The addresses of this network namespace. Shared by all data threads.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    all: HashSet<IpAddr>,
    until: Instant,
}

impl Addresses {
    /// True if connections to this address stay on this machine: an address of an interface, or one that a route makes
    /// local. Unlike a trial bind(2) this holds where sockets may bind to any address (`net.ipv4.ip_nonlocal_bind`).
    pub fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.look(|all| all.contains(&ip)) || is_routed_here(ip)
    }

    /// True if this is the only address that a connection to another machine can have, in its family.
    pub fn is_only(&self, ip: IpAddr) -> bool {
        self.look(|all| {
            let others = |other: &&IpAddr| other.is_ipv6() == ip.is_ipv6() && is_for_others(**other);
            all.contains(&ip) && all.iter().filter(others).count() == 1
        })
    }

    fn look<T>(&self, look: impl FnOnce(&HashSet<IpAddr>) -> T) -> T {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &*known {
            Some(known) if now < known.until => look(&known.all),
            _ => look(&known.insert(Known::read(now)).all),
        }
    }
}

impl Known {
    fn read(started: Instant) -> Self {
        // Without a list nothing is known to be the only address, and routes still tell what is local.
        let interfaces = getifaddrs().ok();
        let all = interfaces
            .into_iter()
            .flatten()
            .filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
            })
            .collect();
        let until = Instant::now() + FRESH.max(started.elapsed() * SHARE);
        Self { all, until }
    }
}

fn is_for_others(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// The kernel answers from the very address that a local route without an address of its own leads to.
fn is_routed_here(ip: IpAddr) -> bool {
    let any = SocketAddr::new(
        match ip {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        },
        0,
    );
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((ip, DISCARD))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_another_machines_address_is_not() {
        let addresses = Addresses::default();
        for local in ["127.0.0.1", "127.1.2.3", "::1"] {
            assert!(addresses.is_local(local.parse().unwrap()), "{local}");
        }
        for foreign in ["198.19.255.1", "fd00:198:18:ffff::1"] {
            let ip = foreign.parse().unwrap();
            assert!(!addresses.is_local(ip) && !addresses.is_only(ip), "{foreign}");
        }
    }
}
