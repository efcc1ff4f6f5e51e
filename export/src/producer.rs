//! A data thread's way into the pipeline.

use crate::{
    batch::{Batch, Pushed},
    points,
    queue::QueueIn,
};
use std::{sync::Arc, time::Duration};
use weir_records::Document;

/// A data thread's way into the pipeline: a document is serialised once for all sinks of a layout, and in no layout that no
/// sink wants. Documents wait here until a batch is full or [`Producer::flush`] is called,
/// which the owner does [`Producer::FLUSH_INTERVAL`] after it has pushed the first of them. A producer that is dropped flushes.
///
/// Where points are wanted (layout `datakit`), documents are summed up here, and the sums go to the thread that adds up those
/// of all producers.
#[derive(Debug)]
pub struct Producer {
    lanes: Vec<Lane>,
    points: Vec<points::Lane>,
}

/// The sinks of one layout, and the batch that is being filled for them.
#[derive(Debug)]
struct Lane {
    batch: Batch,
    queues: Vec<QueueIn>,
}

impl Producer {
    /// How long the owner lets a document wait before it calls [`Producer::flush`].
    pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

    pub(crate) fn new(queues: Vec<QueueIn>, points: Vec<points::Lane>) -> Self {
        let mut lanes: Vec<Lane> = Vec::new();
        for queue in queues {
            match lanes
                .iter_mut()
                .find(|lane| lane.batch.layout() == queue.layout())
            {
                Some(lane) => lane.queues.push(queue),
                None => lanes.push(Lane {
                    batch: Batch::of(queue.layout()),
                    queues: vec![queue],
                }),
            }
        }
        Self { lanes, points }
    }

    /// Serialises a document into the current batches. Does nothing without sinks.
    pub fn push(&mut self, document: &Document) {
        self.lanes.iter_mut().for_each(|lane| lane.push(document));
        self.points.iter_mut().for_each(|lane| lane.push(document));
    }

    /// Hands the current batches and sums on; true if there was no room for some sums, which wait for the next call. Never
    /// blocks.
    pub fn flush(&mut self) -> bool {
        self.lanes.iter_mut().for_each(Lane::flush);
        self.points.iter_mut().for_each(points::Lane::flush);
        self.points.iter().any(points::Lane::has_sums)
    }

    /// False if there is no sink, so that nobody needs to build a document.
    pub fn is_wanted(&self) -> bool {
        !(self.lanes.is_empty() && self.points.is_empty())
    }
}

impl Lane {
    fn push(&mut self, document: &Document) {
        match self.batch.push(document) {
            Pushed::Taken => {}
            Pushed::LeftOut => self.queues.iter().for_each(|queue| queue.leave_out(1)),
            Pushed::Unserialisable => self.queues.iter().for_each(QueueIn::skip),
        }
        if self.batch.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = Arc::new(self.batch.take());
        for queue in &self.queues {
            queue.offer(&batch);
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.flush();
    }
}
