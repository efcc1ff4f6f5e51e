//! Source ports for dials from a client's own address.
//!
//! A dial from `client:x` to the application shares its addresses and ports with a connection that the client itself makes
//! from its port x; the kernel sees the clash on one side only, and both suffer. So x is taken from outside the
//! ephemeral ranges of Linux, Windows and macOS; and a client that uses such ports all the same (a gateway that hides
//! others behind its address) is not dialled for in its name at all.

use crate::{
    ports::reserved,
    turn::{Turn, WINDOW},
};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Ports that clients hardly use, those on which servers seldom listen first.
const RANGES: [RangeInclusive<u16>; 3] = [20000..=32047, 10000..=19999, 2048..=9999];
/// Of those, where programs commonly listen: one that starts without SO_REUSEADDR could not while a dial has the port.
const LEFT_ALONE: [RangeInclusive<u16>; 17] = [
    3000..=3001,
    3306..=3306,
    4317..=4318,
    5000..=5001,
    5432..=5432,
    6379..=6379,
    8000..=8100,
    8443..=8443,
    8888..=8888,
    9000..=9001,
    9090..=9100,
    9200..=9200,
    9300..=9300,
    15000..=15099,
    20880..=20889,
    27017..=27019,
    30880..=30889,
];
/// How long a client is remembered that has used a port of the ranges.
const MEMORY: Duration = Duration::from_secs(600);
/// Clients that are remembered: a few MB at most.
const MAX_SEEN: usize = 1 << 16;

/// The ports, and the clients that use such ports themselves. Shared by all data threads.
#[derive(Debug)]
pub struct ClientPorts {
    turn: Turn,
    /// Few clients ever use ports of these ranges, so that nearly always a look at this is enough.
    count: AtomicUsize,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    clients: HashMap<IpAddr, Use>,
    swept: Instant,
    /// Since when something was not remembered for want of room.
    full: Option<Instant>,
}

#[derive(Debug)]
struct Use {
    open: u32,
    last: Instant,
}

impl Use {
    fn is_over(&self) -> bool {
        self.open == 0 && self.last.elapsed() >= MEMORY
    }
}

/// A client's connection from a port of the ranges, for as long as it lives.
#[derive(Debug)]
pub struct InUse<'a> {
    ports: &'a ClientPorts,
    client: IpAddr,
}

impl ClientPorts {
    /// For this namespace's `net.ipv4.ip_local_reserved_ports`.
    pub fn of_this_namespace() -> Self {
        Self::without(&reserved())
    }

    fn without(reserved: &[RangeInclusive<u16>]) -> Self {
        let allowed = |port: &u16| {
            !LEFT_ALONE.iter().any(|range| range.contains(port))
                && !reserved.iter().any(|range| range.contains(port))
        };
        let mut ports = Vec::new();
        for range in RANGES {
            let from = ports.len();
            ports.extend(range.filter(allowed));
            // A client that goes through these one after the other would otherwise meet dials at every step.
            fastrand::shuffle(&mut ports[from..]);
        }
        Self {
            turn: Turn::new(ports),
            count: AtomicUsize::new(0),
            seen: Mutex::new(Seen {
                clients: HashMap::new(),
                swept: Instant::now(),
                full: None,
            }),
        }
    }

    /// Remembers that a client uses this port. Nothing where that does not matter.
    pub fn used_by(&self, client: SocketAddr) -> Option<InUse<'_>> {
        if !RANGES.iter().any(|range| range.contains(&client.port())) {
            return None;
        }
        let client = client.ip();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sweep();
        if seen.clients.len() >= MAX_SEEN && !seen.clients.contains_key(&client) {
            seen.full = Some(Instant::now());
            self.count.store(MAX_SEEN, Ordering::Release);
            return None;
        }
        let entry = seen.clients.entry(client).or_insert(Use {
            open: 0,
            last: Instant::now(),
        });
        entry.open += 1;
        self.count.store(seen.clients.len(), Ordering::Release);
        Some(InUse { ports: self, client })
    }

    /// The next port to dial from with this client's address; nothing if the client may be using it.
    pub fn next(&self, client: IpAddr) -> Option<u16> {
        if self.count.load(Ordering::Acquire) > 0 {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.full.is_some_and(|since| since.elapsed() < MEMORY)
                || seen.clients.get(&client).is_some_and(|client| !client.is_over())
            {
                return None;
            }
        }
        self.turn.next()
    }
}

impl Seen {
    fn sweep(&mut self) {
        if self.swept.elapsed() > WINDOW {
            self.swept = Instant::now();
            self.clients.retain(|_, client| !client.is_over());
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let mut seen = self.ports.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = seen.clients.get_mut(&self.client) {
            client.open = client.open.saturating_sub(1);
            client.last = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn round(ports: &ClientPorts, client: IpAddr) -> HashSet<u16> {
        (0..ports.turn.ports().len())
            .filter_map(|_| ports.next(client))
            .collect()
    }

    #[test]
    fn no_port_is_of_an_ephemeral_range_or_reserved_or_a_common_servers() {
        let ports = ClientPorts::without(&[20000..=20009, 4000..=4000]);
        let all = round(&ports, [198, 18, 0, 1].into());
        assert!(all.iter().all(|port| (2048..=32047).contains(port)));
        for port in [20005, 4000, 8080, 15006, 20880] {
            assert!(!all.contains(&port), "{port}");
        }
        assert!(all.len() > 29_000, "{}", all.len());
    }

    #[test]
    fn a_client_that_uses_such_ports_has_none_and_others_have() {
        let ports = ClientPorts::without(&[]);
        let client = SocketAddr::from(([198, 18, 0, 1], 20000));
        let open = ports.used_by(client).unwrap();
        assert!(round(&ports, client.ip()).is_empty());
        assert!(!round(&ports, [198, 18, 0, 2].into()).is_empty());
        drop(open);
        assert!(
            round(&ports, client.ip()).is_empty(),
            "for a while after its end, either"
        );
    }

    #[test]
    fn ports_of_ephemeral_ranges_are_not_remembered() {
        let ports = ClientPorts::without(&[]);
        assert!(ports.used_by(([198, 18, 0, 1], 40000).into()).is_none());
        assert_eq!(ports.count.load(Ordering::Relaxed), 0);
    }
}
