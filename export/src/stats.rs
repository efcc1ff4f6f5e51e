//! The counters of a sink. They add up: see [`SinkStats`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use weir_config::Layout;

/// What became of the documents of one sink.
///
/// Each document that a producer hands over is counted once as `queued`, once as `left_out`, or once as dropped before the
/// queue (`queue_full`, `unserialisable`). At any quiet moment
/// `queued` = `sent` + `rejected` + `waiting` + those of `dropped` that left the queue (`shutdown`, `closed`).
///
/// In layout `datakit` points are counted so, each of which sums up many documents; `left_out` counts documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SinkStats {
    /// `ndjson`, `sqlite`, `elasticsearch`, `lines`, `datakit`.
    pub sink: String,
    /// Where it writes, without credentials.
    pub target: String,
    /// How its documents are laid out.
    pub layout: Layout,
    /// Documents that have no place in the layout.
    pub left_out: u64,
    /// Documents that entered the queue.
    pub queued: u64,
    /// Documents that the sink has taken for good.
    pub sent: u64,
    /// Documents that the sink refused one by one, for good.
    pub rejected: u64,
    /// Documents that are in the queue or on their way.
    pub waiting: u64,
    /// Documents that were lost, by reason: `queue_full` (the sink was too slow or gone), `shutdown` (its patience was
    /// over), `closed` (standard output was closed), `unserialisable`.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Attempts that failed and were, or will be, made again.
    pub retries: u64,
    /// Why the last attempt failed; absent while the sink works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// Why documents were lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    QueueFull,
    Unserialisable,
    Shutdown,
    Closed,
}

impl Loss {
    const NAMES: [&str; 4] = ["queue_full", "unserialisable", "shutdown", "closed"];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The live counters of one sink.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sink: &'static str,
    target: String,
    layout: Layout,
    left_out: AtomicU64,
    queued: AtomicU64,
    sent: AtomicU64,
    rejected: AtomicU64,
    waiting: AtomicU64,
    dropped: [AtomicU64; Loss::NAMES.len()],
    retries: AtomicU64,
    failing: Mutex<Option<String>>,
    /// When the attempt began that is under way.
    attempt: Mutex<Option<Instant>>,
}

impl Counters {
    pub(crate) fn new(sink: &'static str, target: String, layout: Layout) -> Self {
        Self {
            sink,
            target,
            layout,
            ..Self::default()
        }
    }

    pub(crate) fn sink(&self) -> &'static str {
        self.sink
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Documents have no place in the layout.
    pub(crate) fn leave_out(&self, documents: u64) {
        self.left_out.fetch_add(documents, Relaxed);
    }

    /// Documents enter the queue.
    pub(crate) fn queue(&self, documents: u64) {
        self.waiting.fetch_add(documents, Relaxed);
        self.queued.fetch_add(documents, Relaxed);
    }

    /// Documents leave the queue: taken.
    pub(crate) fn send(&self, documents: u64) {
        self.waiting.fetch_sub(documents, Relaxed);
        self.sent.fetch_add(documents, Relaxed);
    }

    /// Documents leave the queue: refused.
    pub(crate) fn reject(&self, documents: u64) {
        self.waiting.fetch_sub(documents, Relaxed);
        self.rejected.fetch_add(documents, Relaxed);
    }

    /// Documents leave the queue: lost.
    pub(crate) fn drop_queued(&self, documents: u64, reason: Loss) {
        self.waiting.fetch_sub(documents, Relaxed);
        self.drop_unqueued(documents, reason);
    }

    /// Documents never entered the queue.
    pub(crate) fn drop_unqueued(&self, documents: u64, reason: Loss) {
        self.dropped[reason as usize].fetch_add(documents, Relaxed);
    }

    /// Documents that found the queue full.
    pub(crate) fn overflowed(&self) -> u64 {
        self.dropped[Loss::QueueFull as usize].load(Relaxed)
    }

    /// An attempt failed.
    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// What is wrong now, if anything.
    pub(crate) fn set_failing(&self, reason: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// An attempt begins, or has ended.
    pub(crate) fn set_attempt(&self, began: Option<Instant>) {
        *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) = began;
    }

    /// True if the last attempt failed, or the one under way has taken at least so long.
    pub(crate) fn is_in_trouble(&self, long: Duration) -> bool {
        let attempt = *self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.is_some() || attempt.is_some_and(|began| began.elapsed() >= long)
    }

    fn read(&self) -> SinkStats {
        let dropped = Loss::NAMES
            .into_iter()
            .zip(self.dropped.iter().map(|count| count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        SinkStats {
            sink: self.sink.into(),
            target: self.target.clone(),
            layout: self.layout,
            left_out: self.left_out.load(Relaxed),
            queued: self.queued.load(Relaxed),
            sent: self.sent.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            dropped,
            retries: self.retries.load(Relaxed),
            failing: self
                .failing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// Counters of all sinks; shared, and safe to read at any time.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    sinks: Vec<Arc<Counters>>,
}

impl Stats {
    pub(crate) fn new(sinks: Vec<Arc<Counters>>) -> Self {
        Self { sinks }
    }

    /// The counters now, one entry a sink in the order of the configuration.
    pub fn snapshot(&self) -> Vec<SinkStats> {
        self.sinks.iter().map(|counters| counters.read()).collect()
    }
}
