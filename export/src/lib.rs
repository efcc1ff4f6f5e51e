//! Where documents go: one bounded queue and one thread a sink, fed with batches that the data threads serialise.
//!
//! A data thread owns a [`Producer`] and pushes documents into it; a full batch is handed to every sink's queue. A
//! queue that is full drops the batch and counts its documents: nothing here ever waits for a sink.
#![forbid(unsafe_code)]

use std::{path::PathBuf, sync::Arc, time::Duration};
use weir_config::Sink;
use weir_records::Document;

/// A sink that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file sink can't be opened.
    #[error("cannot open {path} for {sink}: {reason}")]
    Open {
        /// The kind of sink.
        sink: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
}

/// What became of the documents of one sink. `queued` = `sent` + `rejected` + the sum of `dropped` after `queued` + waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SinkStats {
    /// `ndjson`, `sqlite`, `elasticsearch`.
    pub sink: String,
    /// Where it writes, without credentials.
    pub target: String,
    /// Documents that entered the queue.
    pub queued: u64,
    /// Documents that the sink has taken for good.
    pub sent: u64,
    /// Documents that the sink refused one by one, for good.
    pub rejected: u64,
    /// Documents that were lost, by reason (`queue_full`, `shutdown`, …).
    pub dropped: std::collections::BTreeMap<&'static str, u64>,
    /// Attempts that failed and were, or will be, made again.
    pub retries: u64,
}

/// Counters of all sinks; shared, and safe to read at any time.
#[derive(Clone, Debug, Default)]
pub struct Stats {}

impl Stats {
    /// The counters now, one entry a sink in the order of the configuration.
    pub fn snapshot(&self) -> Vec<SinkStats> {
        Vec::new()
    }
}

/// All sinks.
#[derive(Debug)]
pub struct Pipeline {}

/// A data thread's way into the pipeline. Documents wait here until a batch is full or [`Producer::flush`] is called,
/// which the owner does every [`Producer::FLUSH_INTERVAL`].
#[derive(Debug)]
pub struct Producer {}

impl Pipeline {
    /// Opens every sink and starts its thread. A server that can't be reached is no error: documents wait for it.
    ///
    /// # Errors
    /// A file or database that can't be opened.
    pub fn start(sinks: &[Sink]) -> Result<Self, ExportError> {
        let _ = sinks;
        Ok(Self {})
    }

    /// A producer for one data thread.
    pub fn producer(&self) -> Producer {
        Producer {}
    }

    /// The counters.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::new(Stats {})
    }

    /// Delivers what is queued, then stops every sink. What a sink has not taken when `patience` is over is dropped and
    /// counted as `shutdown`. Every producer must have been flushed and dropped before. Blocks: never call it on a data thread.
    pub fn shutdown(self, patience: Duration) {
        let _ = patience;
    }
}

impl Producer {
    /// How often the owner calls [`Producer::flush`].
    pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

    /// Serialises a document into the current batch. Does nothing without sinks.
    pub fn push(&mut self, document: &Document) {
        let _ = document;
    }

    /// Hands the current batch to the sinks. Never blocks.
    pub fn flush(&mut self) {}

    /// False if there is no sink, so that nobody needs to build a document.
    pub fn is_wanted(&self) -> bool {
        false
    }
}
