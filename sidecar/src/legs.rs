//! The sidecar's own sockets, by their addresses: so that a tap beside the relay does not show what the relay carries.
//!
//! A socket's addresses are known only once it has sent its first packet. So a dial says to whom it is about to connect; the
//! tap's question waits for the dials to that server which had begun by then. Dials never wait for each other.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a socket that was closed is remembered, at least: its packets may still wait to be read.
const LINGER: Duration = Duration::from_secs(10);
/// Most sockets that are remembered for as long: with more of them than this within [`LINGER`] the oldest are forgotten sooner.
const MAX_CLOSED: usize = 1 << 15;
/// How long a question waits for dials that have begun, at most; connecting takes microseconds.
const PATIENCE: Duration = Duration::from_millis(100);

/// An end of a connection.
type End = (IpAddr, u16);
/// Who connected, and to whom.
type Ends = [End; 2];

/// The sockets of the whole process.
#[derive(Debug, Default)]
pub struct Legs {
    table: Mutex<Table>,
    /// Told of each dial that has begun.
    begun: Condvar,
}

#[derive(Debug)]
struct Table {
    open: HashMap<Ends, u32>,
    /// Closed lately, and before that.
    closed: [HashSet<Ends>; 2],
    turned: Instant,
    /// Dials whose own address is not known yet, one a thread at most: their numbers, and whom they connect to.
    beginning: Vec<(u64, End)>,
    dials: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            closed: Default::default(),
            turned: Instant::now(),
            beginning: Vec::new(),
            dials: 0,
        }
    }
}

/// A socket of the sidecar's, for as long as it is open.
#[derive(Debug)]
pub struct Leg {
    legs: Arc<Legs>,
    ends: Ends,
}

fn end(address: SocketAddr) -> End {
    (address.ip().to_canonical(), address.port())
}

fn ends(client: SocketAddr, server: SocketAddr) -> Ends {
    [client, server].map(end)
}

impl Legs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
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
        let number = self.table().begin(end(server));
        let begun = begin();
        let mut table = self.table();
        table.beginning.retain(|(begun, _)| *begun != number);
        let leg = begun.map(|client| client.map(|client| self.leg(&mut table, ends(client, server))));
        drop(table);
        self.begun.notify_all();
        leg
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

    /// True if such a socket is open, or was a moment ago. Waits for dials to this server that have begun.
    pub fn has(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let (ends, server) = (ends(client, server), end(server));
        let table = self.table();
        let begun = |table: &Table| {
            let same = table.beginning.iter().filter(|(_, whom)| *whom == server);
            same.map(|(number, _)| *number).collect::<Vec<_>>()
        };
        let before = begun(&table);
        let is_open = |table: &mut Table| {
            !table.knows(&ends) && begun(table).iter().any(|number| before.contains(number))
        };
        let waited = self.begun.wait_timeout_while(table, PATIENCE, is_open);
        let (table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        table.knows(&ends)
    }

    /// True if such a socket is open now.
    pub fn is_open(&self, client: SocketAddr, server: SocketAddr) -> bool {
        self.table().open.contains_key(&ends(client, server))
    }
}

impl Table {
    /// A dial to this server begins; gives its number.
    fn begin(&mut self, server: End) -> u64 {
        self.dials += 1;
        self.beginning.push((self.dials, server));
        self.dials
    }

    fn knows(&self, ends: &Ends) -> bool {
        self.open.contains_key(ends) || self.closed.iter().any(|closed| closed.contains(ends))
    }

    fn close(&mut self, ends: Ends) {
        if let Some(count) = self.open.get_mut(&ends) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&ends);
            }
        }
        if self.turned.elapsed() >= LINGER || self.closed[0].len() >= MAX_CLOSED {
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
    fn a_question_waits_for_the_dials_that_have_begun_and_dials_do_not_wait() {
        let legs = Arc::new(Legs::default());
        let (a, b, server): (SocketAddr, SocketAddr, SocketAddr) = (
            ([198, 18, 0, 1], 1).into(),
            ([198, 18, 0, 1], 2).into(),
            ([198, 18, 0, 2], 2).into(),
        );
        let mut answer = None;
        let leg = legs.open(server, || {
            // Another dial, and a question about another server, while this one connects.
            let other = legs.open(server, || Ok(Some(b))).unwrap();
            assert!(other.is_some() && legs.has(b, server) && !legs.has(a, b));
            let asked = legs.clone();
            let (asks, has_asked) = std::sync::mpsc::channel();
            let asking = std::thread::spawn(move || {
                asks.send(()).unwrap();
                asked.has(a, server)
            });
            has_asked.recv().unwrap();
            answer = Some(asking);
            Ok(Some(a))
        });
        assert!(leg.unwrap().is_some());
        assert!(answer.unwrap().join().unwrap());
    }

    #[test]
    fn no_more_closed_ones_are_kept_than_is_said() {
        let mut table = Table::default();
        for port in 1..u16::MAX {
            for server in 1..4 {
                table.close(ends(
                    ([198, 18, 0, 1], port).into(),
                    ([198, 18, 0, 2], server).into(),
                ));
            }
        }
        assert!(table.closed.iter().all(|closed| closed.len() <= MAX_CLOSED));
        assert!(table.closed[1].len() == MAX_CLOSED);
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
