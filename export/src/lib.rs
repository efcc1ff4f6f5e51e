//! Where documents go: one bounded queue and one thread a sink, fed with batches that the data threads serialise.
//!
//! A data thread owns a [`Producer`] and pushes documents into it; a full batch is handed to every sink's queue. A
//! queue that is full drops the batch and counts its documents: nothing here ever waits for a sink.
//!
//! ```text
//! Producer ─ batch ─▶ queue (bounded) ─▶ runner (one thread a sink: order, retries, counters) ─▶ Sink (takes documents)
//! ```
//!
//! Between producers and the queues of sinks that take points (layout `datakit`) stands a thread that adds them up.
//!
//! A new sink is one file with an implementation of `runner::Sink` and one line in `pipeline::plan`.
#![forbid(unsafe_code)]

mod batch;
mod datakit;
mod elasticsearch;
mod file;
mod http;
mod late;
mod lines;
mod lookup;
mod pipeline;
mod points;
mod producer;
mod queue;
mod runner;
#[cfg(test)]
mod samples;
mod sockets;
mod sqlite;
mod stats;
mod stop;

pub use lookup::is_own_lookup;
pub use pipeline::Pipeline;
pub use producer::Producer;
pub use sockets::prepare_sockets;
pub use sqlite::schema as store;
pub use stats::{SinkStats, Stats};

use std::path::PathBuf;

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
    /// A server's address, credentials or certificates can't be used.
    #[error("cannot use {target} for {sink}: {reason}")]
    Target {
        /// The kind of sink.
        sink: &'static str,
        /// The address, without credentials.
        target: String,
        /// Why not, and what to do.
        reason: String,
    },
}
