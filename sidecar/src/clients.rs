//! Source ports for dials from a client's own address.
//!
//! A dial from `client:x` to the application shares its addresses and ports with a connection that the client itself makes
//! from its port x; the kernel sees the clash on one side only, and both suffer. So x is taken from outside the
//! ephemeral ranges of Linux, Windows and macOS. A client that uses a few ports of these ranges all the same is dialled for
//! from the others. One that uses many (a gateway that hides others behind its address, with ports at random from 1024
//! on) is dialled for from ports below 1024, where the namespace allows that, and not in its name at all where it doesn't.

use crate::{
    ports::{first_unprivileged, reserved},
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
/// Ports that neither clients nor address translation take (it maps ports from 1024 on to such), and on which few programs
/// listen.
const LOW: RangeInclusive<u16> = 200..=511;
/// Of those: LDAP, SLP, HTTPS, SMB, submission, ISAKMP and its kin.
const LOW_LEFT_ALONE: [u16; 9] = [389, 427, 443, 444, 445, 464, 465, 497, 500];
/// Different ports of the ranges that a client may use before it is taken for one that uses all of them.
const FEW: usize = 4;
/// How long a client is remembered that has used a port of the ranges.
const MEMORY: Duration = Duration::from_secs(600);
/// Clients that are remembered: a few MB at most.
const MAX_SEEN: usize = 1 << 16;

/// The ports, and the clients that use such ports themselves. Shared by all data threads.
#[derive(Debug)]
pub struct ClientPorts {
    turn: Turn,
    low: Turn,
    /// Few clients ever use ports of these ranges, so that nearly always a look at this is enough.
    count: AtomicUsize,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    clients: HashMap<IpAddr, Use>,
    swept: Instant,
}

#[derive(Debug)]
struct Use {
    open: u32,
    last: Instant,
    /// The first few ports of the ranges that it was seen to use.
    ports: Vec<u16>,
    /// When it was last seen to use yet another one.
    many: Option<Instant>,
}

impl Use {
    fn new() -> Self {
        Self {
            open: 0,
            last: Instant::now(),
            ports: Vec::new(),
            many: None,
        }
    }

    fn is_over(&self) -> bool {
        self.open == 0 && self.last.elapsed() >= MEMORY
    }

    fn takes(&mut self, port: u16) {
        self.open += 1;
        if self.ports.contains(&port) {
            return;
        }
        if self.ports.len() < FEW {
            self.ports.push(port);
        } else {
            self.many = Some(Instant::now());
        }
    }
}

/// A client's connection from a port of the ranges, for as long as it lives.
#[derive(Debug)]
pub struct InUse<'a> {
    ports: &'a ClientPorts,
    client: IpAddr,
}

impl ClientPorts {
    /// For this namespace's `net.ipv4.ip_local_reserved_ports` and `net.ipv4.ip_unprivileged_port_start`.
    pub fn of_this_namespace() -> Self {
        Self::without(&reserved(), first_unprivileged())
    }

    fn without(reserved: &[RangeInclusive<u16>], first: u16) -> Self {
        let allowed = |port: &u16| {
            *port >= first
                && !LEFT_ALONE.iter().any(|range| range.contains(port))
                && !LOW_LEFT_ALONE.contains(port)
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
            low: Turn::new(LOW.filter(allowed).collect()),
            count: AtomicUsize::new(0),
            seen: Mutex::new(Seen {
                clients: HashMap::new(),
                swept: Instant::now(),
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
        if !seen.clients.contains_key(&client.ip()) && !seen.has_room() {
            return None;
        }
        let entry = seen.clients.entry(client.ip()).or_insert_with(Use::new);
        entry.takes(client.port());
        self.count.store(seen.clients.len(), Ordering::Release);
        let client = client.ip();
        Some(InUse { ports: self, client })
    }

    /// The next port to dial from with this client's address; nothing if there is none that the client does not use.
    pub fn next(&self, client: IpAddr) -> Option<u16> {
        if self.count.load(Ordering::Acquire) == 0 {
            return self.turn.next();
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(used) = seen.clients.get(&client).filter(|used| !used.is_over()) else {
            return self.turn.next();
        };
        if used.many.is_some_and(|since| since.elapsed() < MEMORY) {
            return self.low.next();
        }
        // One more than it may be using.
        (0..=FEW).find_map(|_| self.turn.next().filter(|port| !used.ports.contains(port)))
    }
}

impl Seen {
    fn sweep(&mut self) {
        if self.swept.elapsed() > WINDOW {
            self.swept = Instant::now();
            self.clients.retain(|_, client| !client.is_over());
        }
    }

    /// Makes room for one more, if need be by forgetting one that has no such connection now.
    fn has_room(&mut self) -> bool {
        if self.clients.len() < MAX_SEEN {
            return true;
        }
        let idle = self.clients.iter().find(|(_, client)| client.open == 0);
        let idle = idle.map(|(client, _)| *client);
        idle.is_some_and(|client| self.clients.remove(&client).is_some())
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
        let ports = ClientPorts::without(&[20000..=20009, 4000..=4000], 1024);
        let all = round(&ports, [198, 18, 0, 1].into());
        assert!(all.iter().all(|port| (2048..=32047).contains(port)));
        for port in [20005, 4000, 8080, 15006, 20880] {
            assert!(!all.contains(&port), "{port}");
        }
        assert!(all.len() > 29_000, "{}", all.len());
    }

    #[test]
    fn a_client_that_uses_one_such_port_is_dialled_for_from_the_others() {
        let ports = ClientPorts::without(&[], 0);
        let client = SocketAddr::from(([198, 18, 0, 1], 20000));
        let all = round(&ports, [198, 18, 0, 2].into());
        let open = ports.used_by(client).unwrap();
        for _ in 0..2 {
            let without = round(&ports, client.ip());
            assert!(!without.contains(&20000) && without.len() >= all.len() - 1);
        }
        drop(open);
        assert!(
            !round(&ports, client.ip()).contains(&20000),
            "for a while after its end, either"
        );
        assert!(
            round(&ports, [198, 18, 0, 2].into()).contains(&20000),
            "others are not concerned"
        );
    }

    #[test]
    fn a_client_that_uses_many_such_ports_is_dialled_for_from_ports_that_translation_does_not_give() {
        let client = SocketAddr::from(([198, 18, 0, 3], 20000));
        let without = ClientPorts::without(&[], 1024);
        let open: Vec<_> = (0..=FEW as u16)
            .map(|n| without.used_by((client.ip(), 20000 + n).into()))
            .collect();
        assert_eq!(
            without.next(client.ip()),
            None,
            "where such ports are not allowed"
        );
        drop(open);
        let ports = ClientPorts::without(&[], 0);
        let at = |port| SocketAddr::from(([198, 18, 0, 1], port));
        let open: Vec<_> = (0..=FEW as u16)
            .map(|n| ports.used_by(at(20000 + n)).unwrap())
            .collect();
        let low = round(&ports, at(0).ip());
        assert!(
            low.iter().all(|port| *port < 1024 && *port != 443) && low.len() > 250,
            "{low:?}"
        );
        drop(open);
        assert_eq!(
            round(&ports, at(0).ip()),
            low,
            "for a while after their end, either"
        );
        assert!(round(&ports, [198, 18, 0, 2].into()).len() > 29_000);
    }

    #[test]
    fn too_many_clients_with_such_ports_switch_nothing_off() {
        let ports = ClientPorts::without(&[], 0);
        for n in 0..=MAX_SEEN as u32 {
            let client = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            drop(ports.used_by((client, 20000).into()).expect("there is room"));
        }
        assert_eq!(ports.seen.lock().unwrap().clients.len(), MAX_SEEN);
        assert!(ports.next([198, 18, 0, 1].into()).is_some());
    }

    #[test]
    fn ports_of_ephemeral_ranges_are_not_remembered() {
        let ports = ClientPorts::without(&[], 0);
        assert!(ports.used_by(([198, 18, 0, 1], 40000).into()).is_none());
        assert_eq!(ports.count.load(Ordering::Relaxed), 0);
    }
}
