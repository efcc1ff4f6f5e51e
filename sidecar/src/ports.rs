//! Source ports for upstream connections that the application is never given.
//!
//! An outbound connection of the application and the sidecar's own to the same server would both take their ports from
//! `ip_local_port_range`: half as many connections a minute as without Weir, and then it is the *application's*
//! `connect` that fails. So, for a server with many recent connections, the sidecar binds to ports outside that range.

use std::{
    collections::HashMap,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::turn::{Turn, WINDOW};

/// Where few programs listen, in order of preference. A port that an outgoing connection holds can't be listened on by a
/// program without SO_REUSEADDR.
const RANGES: [RangeInclusive<u16>; 5] = [
    61000..=65535,
    20000..=29999,
    10000..=19999,
    30000..=60999,
    3400..=4199,
];
/// Within those: Weir's own and Istio's ports, Dubbo's, MongoDB's.
const LEFT_ALONE: [RangeInclusive<u16>; 3] = [15000..=15099, 20880..=20889, 27017..=27019];
/// Connections to one server in a window for which the kernel's own choice does no harm.
const FEW: u32 = 64;
/// Servers that are counted in a window; further ones are left to the kernel.
const MAX_SERVERS: usize = 4096;

/// The ports, and how busy each server was lately. Shared by all data threads.
#[derive(Debug)]
pub struct SparePorts {
    turn: Turn,
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    since: Instant,
    servers: HashMap<SocketAddr, u32>,
}

impl SparePorts {
    /// For this namespace's `net.ipv4.ip_local_port_range` and `net.ipv4.ip_local_reserved_ports`.
    pub fn of_this_namespace() -> Self {
        let range = parse_range(&setting("ip_local_port_range")).unwrap_or(32768..=60999);
        Self::outside(&range, &reserved())
    }

    fn outside(ephemeral: &RangeInclusive<u16>, reserved: &[RangeInclusive<u16>]) -> Self {
        let allowed = |port: &u16| {
            !ephemeral.contains(port)
                && !LEFT_ALONE.iter().any(|range| range.contains(port))
                && !reserved.iter().any(|range| range.contains(port))
        };
        Self {
            turn: Turn::new(RANGES.into_iter().flatten().filter(allowed).collect()),
            recent: Mutex::new(Recent {
                since: Instant::now(),
                servers: HashMap::new(),
            }),
        }
    }

    /// Counts a connection to this server; true if the kernel's choice of a port would take one from the application
    /// that it may soon need.
    pub fn is_busy(&self, server: SocketAddr) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.since.elapsed() > WINDOW {
            recent.servers.clear();
            recent.since = Instant::now();
        }
        if recent.servers.len() >= MAX_SERVERS && !recent.servers.contains_key(&server) {
            return false;
        }
        let count = recent.servers.entry(server).or_default();
        *count = count.saturating_add(1);
        *count > FEW
    }

    /// The next port to try; nothing if there is none outside the ephemeral range.
    pub fn next(&self) -> Option<u16> {
        self.turn.next()
    }
}

/// Ports that somebody has set aside for a purpose of his own (`net.ipv4.ip_local_reserved_ports`).
pub fn reserved() -> Vec<RangeInclusive<u16>> {
    parse_reserved(&setting("ip_local_reserved_ports"))
}

/// The first port that a program may bind to without NET_BIND_SERVICE.
pub fn first_unprivileged() -> u16 {
    setting("ip_unprivileged_port_start")
        .trim()
        .parse()
        .unwrap_or(1024)
}

fn setting(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default()
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

fn parse_reserved(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_the_applications_or_reserved() {
        let spare = SparePorts::outside(&(32768..=60999), &parse_reserved("61000-61009,20000\n"));
        assert!(
            spare
                .turn
                .ports()
                .iter()
                .all(|port| !(32768..=60999).contains(port))
        );
        assert_eq!(spare.turn.ports().first(), Some(&61010));
        assert!(
            !spare.turn.ports().contains(&20000)
                && !spare.turn.ports().contains(&15006)
                && !spare.turn.ports().contains(&20880)
        );
        assert!(
            spare.turn.ports().len() > 28_000 - FEW as usize,
            "{}",
            spare.turn.ports().len()
        );
    }

    #[test]
    fn a_namespace_that_gives_everything_to_the_application_has_none() {
        let spare = SparePorts::outside(&(1..=65535), &[]);
        assert_eq!(spare.next(), None);
    }

    #[test]
    fn ports_come_in_turn_and_each_once_a_round() {
        let spare = SparePorts::outside(&(32768..=60999), &[]);
        let round: std::collections::HashSet<_> = (0..spare.turn.ports().len())
            .filter_map(|_| spare.next())
            .collect();
        assert_eq!(round.len(), spare.turn.ports().len());
    }

    #[test]
    fn only_a_server_with_many_recent_connections_is_busy() {
        let spare = SparePorts::outside(&(32768..=60999), &[]);
        let server = ([198, 18, 0, 1], 80).into();
        assert!((0..FEW).all(|_| !spare.is_busy(server)));
        assert!(spare.is_busy(server));
        assert!(!spare.is_busy(([198, 18, 0, 2], 80).into()));
    }
}
