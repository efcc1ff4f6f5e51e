//! Connections on which something waits for time to pass: a request for its answer, for one. One timer of the data thread
//! serves all of them.
//!
//! A connection is listed by its first data since the timer looked last, and stays listed for as long as its decoder waits. So
//! a connection that is idle costs nothing, and the timer of a thread without traffic does not run.

use crate::observe::Watched;
use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    time::Duration,
};
use tokio::{sync::Notify, task::yield_now, time::sleep};
use weir_config::Config;

/// Longest and shortest time between two looks.
const LONGEST: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(100);
/// Connections that are looked at before the traffic has its turn again.
const BURST: usize = 64;

/// The connections of a data thread that may wait.
#[derive(Debug)]
pub struct Waiting {
    period: Duration,
    listed: RefCell<Vec<Weak<RefCell<Watched>>>>,
    /// Woken when the first of them is listed.
    filled: Notify,
}

impl Waiting {
    /// Nothing waits so far, and is looked at so often.
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            listed: RefCell::default(),
            filled: Notify::new(),
        }
    }

    /// How often to look, so that what waits is told soon after the time that the settings name.
    pub fn period(config: &Config) -> Duration {
        let after = config.decoding.hung_after.non_zero();
        after.map_or(LONGEST, |after| after.clamp(SHORTEST, LONGEST))
    }

    /// Lists a connection.
    pub fn list(&self, watched: &Rc<RefCell<Watched>>) {
        let mut listed = self.listed.borrow_mut();
        if listed.is_empty() {
            self.filled.notify_one();
        }
        listed.push(Rc::downgrade(watched));
    }

    /// Looks from time to time, for ever. Wakes up only if there are any.
    pub async fn follow(self: Rc<Self>) {
        loop {
            while self.listed.borrow().is_empty() {
                self.filled.notified().await;
            }
            sleep(self.period).await;
            let listed = self.listed.take();
            for some in listed.chunks(BURST) {
                for watched in some {
                    self.look(watched);
                }
                yield_now().await;
            }
        }
    }

    /// Tells a connection that time has passed; what still waits stays listed.
    fn look(&self, watched: &Weak<RefCell<Watched>>) {
        if let Some(watched) = watched.upgrade()
            && watched.borrow_mut().look()
        {
            self.list(&watched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kept::Pool, metrics::WorkerMetrics, observe::Watcher, relay::Observer, worker::Documents};
    use std::sync::Arc;
    use weir_export::Pipeline;
    use weir_protocols::{Decoders, Side};
    use weir_records::{Capture, Direction, Flow, Names, Policy};

    /// A watcher of a connection, told by this timer.
    fn watcher(waiting: &Rc<Waiting>) -> Watcher {
        let config = Config::default();
        let pipeline = Pipeline::start(&[]).unwrap();
        let policy = Arc::new(Policy::new(&config.records));
        let documents = Documents::new(pipeline.producer(), policy, Arc::new(Names::default()));
        let clock = documents.clock();
        let (client, server) = (([198, 18, 0, 2], 40_000).into(), ([198, 18, 0, 1], 80).into());
        let flow = Flow {
            id: Flow::identify(None, client, server, clock.started()),
            capture: Capture::Relay,
            mode: None,
            direction: Direction::Ingress,
            client,
            server,
            opened: clock.started(),
            connect: None,
            host: None,
            wrapping: None,
        };
        let metrics = Arc::new(WorkerMetrics::default());
        let pool = Rc::new(Pool::new(1 << 20, metrics.clone()));
        let decoder = pool.keep(Decoders::from(&config).connection(80, false));
        Watcher::new(
            Rc::new(flow),
            clock,
            Some(decoder),
            None,
            Rc::new(documents),
            metrics,
        )
        .timed_by(waiting)
    }

    /// Looks at all that are listed, and gives how many still are.
    fn looked(waiting: &Waiting) -> usize {
        let listed = waiting.listed.take();
        listed.iter().for_each(|watched| waiting.look(watched));
        waiting.listed.borrow().len()
    }

    #[test]
    fn only_connections_on_which_something_waits_stay_listed() {
        let waiting = Rc::new(Waiting::new(LONGEST));
        let [mut busy, mut idle, mut gone] = [(); 3].map(|()| watcher(&waiting));
        assert_eq!(waiting.listed.borrow().len(), 0, "before anything was sent");
        for watcher in [&mut busy, &mut idle, &mut gone] {
            for _ in 0..2 {
                watcher.data(Side::Client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            }
        }
        assert_eq!(waiting.listed.borrow().len(), 3, "each once");
        for _ in 0..2 {
            idle.data(Side::Server, b"HTTP/1.1 204 No\r\n\r\n");
        }
        drop(gone);
        assert_eq!((looked(&waiting), looked(&waiting)), (1, 1));
        idle.data(Side::Client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(looked(&waiting), 2);
    }

    #[test]
    fn the_period_is_no_longer_than_what_is_waited_for() {
        let mut config = Config::default();
        assert_eq!(Waiting::period(&config), LONGEST);
        for (after, period) in [(0, 1000), (1, 100), (500, 500), (60_000, 1000)] {
            config.decoding.hung_after.0 = Duration::from_millis(after);
            assert_eq!(Waiting::period(&config), Duration::from_millis(period));
        }
    }
}
