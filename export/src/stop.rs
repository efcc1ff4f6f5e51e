//! The end of a sink's life: from when on it only empties its queue, and when it must be done.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Shared by the pipeline, which calls the end, and a sink's thread, which heeds it in every wait.
#[derive(Debug)]
pub(crate) struct Stop {
    deadline: Mutex<Option<Instant>>,
    changed: Condvar,
    /// The same for waits inside an asynchronous runtime.
    announced: watch::Sender<Option<Instant>>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self {
            deadline: Mutex::new(None),
            changed: Condvar::new(),
            announced: watch::Sender::new(None),
        }
    }

    /// From now on the queue is emptied; at the deadline the rest is dropped.
    pub(crate) fn call(&self, deadline: Instant) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        self.changed.notify_all();
        self.announced.send_replace(Some(deadline));
    }

    /// True once the end has been called.
    pub(crate) fn is_called(&self) -> bool {
        self.deadline().is_some()
    }

    /// True when the sink must be done.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// When the sink must be done, once the end has been called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, but not past the deadline; that the end is called is worth an attempt at once.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let called = deadline.is_some();
        while deadline.is_some() == called {
            let end = deadline.map_or(until, |deadline| deadline.min(until));
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            deadline = self
                .changed
                .wait_timeout(deadline, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Completes at the deadline, once there is one.
    pub(crate) async fn over(&self) {
        let mut announced = self.announced.subscribe();
        let deadline = match announced.wait_for(Option::is_some).await {
            Ok(deadline) => *deadline,
            Err(_) => None,
        };
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }
}
