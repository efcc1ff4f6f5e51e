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
