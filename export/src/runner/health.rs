//! What the log says of a sink: each change of its state once, and never a line a document.

use crate::stats::{Counters, Loss};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A sink that fails for one reason and then another says so at most this often.
const REPEAT: Duration = Duration::from_secs(30);
/// A sink that goes on failing for the same reason says so again after this.
const REMIND: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Health {
    counters: Arc<Counters>,
    failing: Option<Trouble>,
    rejected: Option<Instant>,
    rejected_since: u64,
    /// Documents that found the queue full, as far as was said.
    overflowed: u64,
}

#[derive(Debug)]
struct Trouble {
    reason: String,
    since: Instant,
    said: Instant,
}

impl Health {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            failing: None,
            rejected: None,
            rejected_since: 0,
            overflowed: 0,
        }
    }

    /// An attempt succeeded.
    pub(super) fn works(&mut self) {
        // Also where its thread could not be started at first, which is not known here.
        self.counters.set_failing(None);
        if let Some(trouble) = self.failing.take() {
            tracing::info!(
                sink = self.counters.sink(),
                target = self.counters.target(),
                after = ?trouble.since.elapsed(),
                "the sink works again"
            );
        }
    }

    /// An attempt failed and will be made again.
    pub(super) fn fails(&mut self, reason: &str) {
        let now = Instant::now();
        let (since, quiet) = match &self.failing {
            Some(trouble) if trouble.reason == reason && now < trouble.said + REMIND => return,
            Some(trouble) => (trouble.since, now < trouble.said + REPEAT),
            None => (now, false),
        };
        self.counters.set_failing(Some(reason.into()));
        let said = match (&self.failing, quiet) {
            (Some(trouble), true) => trouble.said,
            _ => now,
        };
        self.failing = Some(Trouble {
            reason: reason.into(),
            since,
            said,
        });
        if !quiet {
            tracing::warn!(
                sink = self.counters.sink(),
                target = self.counters.target(),
                reason,
                "the sink fails; documents wait in its queue and attempts go on"
            );
        }
    }

    /// A document was refused for good.
    pub(super) fn rejected(&mut self, reason: &str) {
        self.rejected_since += 1;
        if self.rejected.is_some_and(|said| said.elapsed() < REPEAT) {
            return;
        }
        self.rejected = Some(Instant::now());
        tracing::warn!(
            sink = self.counters.sink(),
            target = self.counters.target(),
            reason,
            documents = std::mem::take(&mut self.rejected_since),
            "documents were rejected; the reason is that of the last one"
        );
    }

    /// Says how many documents found the queue full since the last time, if any did. The data threads that drop them
    /// only count.
    pub(super) fn overflows(&mut self) {
        let now = self.counters.overflowed();
        let documents = now - std::mem::replace(&mut self.overflowed, now);
        if documents > 0 {
            self.lost(documents, Loss::QueueFull);
        }
    }

    /// The destination is gone for ever.
    pub(super) fn closed(&mut self, reason: &str) {
        self.counters.set_failing(Some(reason.into()));
        tracing::warn!(
            sink = self.counters.sink(),
            target = self.counters.target(),
            reason,
            "the sink is closed; its documents are dropped from now on"
        );
    }

    /// Documents were lost that had been in the queue.
    pub(super) fn lost(&self, documents: u64, reason: Loss) {
        tracing::warn!(
            sink = self.counters.sink(),
            target = self.counters.target(),
            documents,
            reason = reason.name(),
            "documents were dropped"
        );
    }
}
