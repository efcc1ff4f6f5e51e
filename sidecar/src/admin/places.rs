//! The connections to an endpoint: bounded in number, and so that a new one always finds a place. Otherwise a few clients that
//! connect and say nothing would make the sidecar unready, for a probe could not be answered.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task::AbortHandle;

/// Connections to one endpoint at one time.
const MOST: usize = 64;

/// The connections in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Places(VecDeque<Place>);

#[derive(Debug)]
struct Place {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

impl Places {
    /// Takes a place for a connection, which sets `has_asked` once its request has come. Where all places are taken, the
    /// connection that has been silent for longest is closed, or else the oldest.
    pub fn take(&mut self, task: AbortHandle, has_asked: Arc<AtomicBool>) {
        self.0.retain(|place| !place.task.is_finished());
        if self.0.len() >= MOST {
            let is_silent = |place: &Place| !place.has_asked.load(Ordering::Relaxed);
            let first = self.0.iter().position(is_silent).unwrap_or(0);
            if let Some(place) = self.0.remove(first) {
                place.task.abort();
            }
        }
        self.0.push_back(Place { task, has_asked });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn who_has_asked_keeps_the_place_and_who_is_silent_makes_room() {
        let mut places = Places::default();
        let mut tasks = Vec::new();
        let mut come = |asked: bool| {
            let task = tokio::spawn(pending::<()>());
            places.take(task.abort_handle(), Arc::new(AtomicBool::new(asked)));
            tasks.push(task);
        };
        come(true);
        (0..MOST + 9).for_each(|_| come(false));
        tokio::task::yield_now().await;
        let ended: Vec<_> = (0..tasks.len()).filter(|at| tasks[*at].is_finished()).collect();
        assert_eq!(ended, (1..=10).collect::<Vec<_>>());
    }
}
