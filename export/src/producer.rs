//! A data thread's way into the pipeline.

use crate::{batch::Batch, queue::QueueIn};
use std::{sync::Arc, time::Duration};
use weir_records::Document;

/// A data thread's way into the pipeline. Documents wait here until a batch is full or [`Producer::flush`] is called,
/// which the owner does every [`Producer::FLUSH_INTERVAL`]. A producer that is dropped flushes.
#[derive(Debug)]
pub struct Producer {
    batch: Batch,
    queues: Vec<QueueIn>,
}

impl Producer {
    /// How often the owner calls [`Producer::flush`].
    pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

    pub(crate) fn new(queues: Vec<QueueIn>) -> Self {
        Self {
            batch: Batch::default(),
            queues,
        }
    }

    /// Serialises a document into the current batch. Does nothing without sinks.
    pub fn push(&mut self, document: &Document) {
        if !self.is_wanted() {
            return;
        }
        if !self.batch.push(document) {
            self.queues.iter().for_each(QueueIn::skip);
        }
        if self.batch.is_full() {
            self.flush();
        }
    }

    /// Hands the current batch to the sinks. Never blocks.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = Arc::new(self.batch.take());
        for queue in &self.queues {
            queue.offer(&batch);
        }
    }

    /// False if there is no sink, so that nobody needs to build a document.
    pub fn is_wanted(&self) -> bool {
        !self.queues.is_empty()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.flush();
    }
}
