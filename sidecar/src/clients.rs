//! Source ports for dials from a client's own address.
//!
//! A dial from `client:x` to the application shares its addresses and ports with a connection that the client itself makes
//! from its port x; the kernel sees the clash on one side only, and both suffer. So x is taken from outside the
//! ephemeral ranges of Linux, Windows and macOS, and never where that client has used it lately.

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
    time::Instant,
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
/// Ports of clients that are remembered: 16 MB at most.
const MAX_SEEN: usize = 1 << 17;

/// The ports, and those that clients use themselves. Shared by all data threads.
#[derive(Debug)]
pub struct ClientPorts {
    turn: Turn,
    /// Few clients ever use ports of these ranges, so that nearly always a look at this is enough.
    count: AtomicUsize,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    ports: HashMap<SocketAddr, Use>,
    swept: Instant,
    /// Since when something was not remembered for want of room.
    full: Option<Instant>,
}

#[derive(Debug)]
struct Use {
    open: u32,
    last: Instant,
}

/// A client's connection; for as long as it lives its port is the client's.
#[derive(Debug)]
pub struct InUse<'a> {
    ports: &'a ClientPorts,
    client: SocketAddr,
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
                ports: HashMap::new(),
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
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sweep();
        if seen.ports.len() >= MAX_SEEN && !seen.ports.contains_key(&client) {
            seen.full = Some(Instant::now());
            self.count.store(MAX_SEEN, Ordering::Release);
            return None;
        }
        let entry = seen.ports.entry(client).or_insert(Use {
            open: 0,
            last: Instant::now(),
        });
        entry.open += 1;
        self.count.store(seen.ports.len(), Ordering::Release);
        Some(InUse { ports: self, client })
    }

    /// The next port to dial from with this client's address; nothing if none is known to be free of the client's own.
    pub fn next(&self, client: IpAddr) -> Option<u16> {
        /// Ports in a row that a client may have used itself.
        const TRIES: usize = 64;
        for _ in 0..TRIES {
            let port = self.turn.next()?;
            if self.count.load(Ordering::Acquire) == 0 {
                return Some(port);
            }
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.full.is_some_and(|since| since.elapsed() < WINDOW) {
                return None;
            }
            let lately = |port: &Use| port.open > 0 || port.last.elapsed() < WINDOW;
            let at = SocketAddr::new(client, port);
            if !seen.ports.get(&at).is_some_and(lately) {
                return Some(port);
            }
        }
        None
    }
}

impl Seen {
    fn sweep(&mut self) {
        if self.swept.elapsed() > WINDOW
            || (self.ports.len() >= MAX_SEEN && self.swept.elapsed() > WINDOW / 8)
        {
            self.swept = Instant::now();
            self.ports
                .retain(|_, port| port.open > 0 || port.last.elapsed() < WINDOW);
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let mut seen = self.ports.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = seen.ports.get_mut(&self.client) {
            port.open = port.open.saturating_sub(1);
            port.last = Instant::now();
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
    fn a_clients_own_port_is_not_taken_for_it_but_for_others() {
        let ports = ClientPorts::without(&[]);
        let client = SocketAddr::from(([198, 18, 0, 1], 20000));
        let open = ports.used_by(client).unwrap();
        assert!(!round(&ports, client.ip()).contains(&20000));
        assert!(round(&ports, [198, 18, 0, 2].into()).contains(&20000));
        drop(open);
        assert!(
            !round(&ports, client.ip()).contains(&20000),
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
