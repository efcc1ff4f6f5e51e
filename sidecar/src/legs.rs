//! The sidecar's own sockets, by their addresses: so that a tap beside the relay does not show what the relay carries.
//!
//! A socket's addresses are known only once it has sent its first packet. So both happen under one lock, which the tap's
//! question takes too: whoever has seen the packet finds the addresses.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a socket that was closed is remembered, at least: its packets may still wait to be read.
const LINGER: Duration = Duration::from_secs(10);

/// Who connected, and to whom.
type Ends = [(IpAddr, u16); 2];

/// The sockets of the whole process.
#[derive(Debug, Default)]
pub struct Legs(Mutex<Table>);

#[derive(Debug)]
struct Table {
    open: HashMap<Ends, u32>,
    /// Closed lately, and before that.
    closed: [HashSet<Ends>; 2],
    turned: Instant,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            closed: Default::default(),
            turned: Instant::now(),
        }
    }
}

/// A socket of the sidecar's, for as long as it is open.
#[derive(Debug)]
pub struct Leg {
    legs: Arc<Legs>,
    ends: Ends,
}

fn ends(client: SocketAddr, server: SocketAddr) -> Ends {
    [client, server].map(|end| (end.ip().to_canonical(), end.port()))
}

impl Legs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what begins a connection to `server` and gives the address that it has then, if that can be told.
    ///
    /// # Errors
    /// Those of beginning it.
    pub fn open(
        self: &Arc<Self>,
        server: SocketAddr,
        begin: impl FnOnce() -> io::Result<Option<SocketAddr>>,
    ) -> io::Result<Option<Leg>> {
        let mut table = self.table();
        let client = begin()?;
        Ok(client.map(|client| self.leg(&mut table, ends(client, server))))
    }

    /// A connection that was accepted.
    pub fn accepted(self: &Arc<Self>, client: SocketAddr, server: SocketAddr) -> Leg {
        self.leg(&mut self.table(), ends(client, server))
    }

    fn leg(self: &Arc<Self>, table: &mut Table, ends: Ends) -> Leg {
        *table.open.entry(ends).or_default() += 1;
        let legs = self.clone();
        Leg { legs, ends }
    }

    /// True if such a socket is open, or was a moment ago.
    pub fn has(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let ends = ends(client, server);
        let table = self.table();
        table.open.contains_key(&ends) || table.closed.iter().any(|closed| closed.contains(&ends))
    }
}

impl Table {
    fn close(&mut self, ends: Ends) {
        if let Some(count) = self.open.get_mut(&ends) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&ends);
            }
        }
        if self.turned.elapsed() >= LINGER {
            self.turned = Instant::now();
            let [lately, before] = &mut self.closed;
            *before = std::mem::take(lately);
        }
        self.closed[0].insert(ends);
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.legs.table().close(self.ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_while_it_is_open_and_a_moment_after() {
        let legs = Arc::new(Legs::default());
        let (a, b): (SocketAddr, SocketAddr) = (
            "[::ffff:198.18.0.1]:1".parse().unwrap(),
            ([198, 18, 0, 2], 2).into(),
        );
        assert!(!legs.has(a, b));
        let leg = legs.open(b, || Ok(Some(a))).unwrap().unwrap();
        let again = legs.accepted(([198, 18, 0, 1], 1).into(), b);
        assert!(legs.has(a, b) && !legs.has(b, a));
        drop(leg);
        assert_eq!(legs.table().open.len(), 1);
        drop(again);
        assert!(legs.table().open.is_empty() && legs.has(a, b));
        legs.open(b, || Err(io::ErrorKind::AddrInUse.into())).unwrap_err();
        assert!(legs.table().open.is_empty());
    }

    #[test]
    fn what_was_closed_is_forgotten_after_two_turns() {
        let Some(long_ago) = Instant::now().checked_sub(LINGER) else {
            return;
        };
        let mut table = Table::default();
        let at = |port| ends(([198, 18, 0, 1], port).into(), ([198, 18, 0, 2], 2).into());
        for port in 0..3 {
            table.turned = long_ago;
            table.close(at(port));
        }
        assert_eq!(table.closed, [HashSet::from([at(2)]), HashSet::from([at(1)])]);
    }
}
