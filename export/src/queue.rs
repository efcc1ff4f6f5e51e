//! A sink's queue: batches in order, bounded by the memory that they take. Putting one in never blocks.

use crate::{
    batch::Batch,
    stats::{Counters, Loss},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    time::Duration,
};
use weir_config::Layout;

/// The memory that waiting batches may take.
#[derive(Debug)]
struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// A batch in the queue, or just taken from it: its memory is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    batch: Arc<Batch>,
    budget: Arc<Budget>,
}

impl Lease {
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.batch.bytes(), Relaxed);
    }
}

/// The end that producers hold.
#[derive(Clone, Debug)]
pub(crate) struct QueueIn {
    sender: Sender<Option<Lease>>,
    budget: Arc<Budget>,
    counters: Arc<Counters>,
}

/// The end that the sink's thread holds.
#[derive(Debug)]
pub(crate) struct QueueOut {
    receiver: Receiver<Option<Lease>>,
}

/// What waiting for a batch gave.
pub(crate) enum Next {
    /// A batch.
    Batch(Lease),
    /// Nothing came in time, or somebody called [`QueueIn::wake`].
    Nothing,
    /// Every producer is gone and the queue is empty.
    End,
}

/// A queue for batches of so many bytes.
pub(crate) fn queue(limit: usize, counters: Arc<Counters>) -> (QueueIn, QueueOut) {
    let (sender, receiver) = channel();
    let budget = Arc::new(Budget {
        limit,
        used: AtomicUsize::new(0),
    });
    let inlet = QueueIn {
        sender,
        budget,
        counters,
    };
    (inlet, QueueOut { receiver })
}

impl QueueIn {
    /// Puts a batch in, or counts its documents as dropped. An empty queue takes any batch, however small its limit.
    pub(crate) fn offer(&self, batch: &Arc<Batch>) {
        let documents = batch.len() as u64;
        let bytes = batch.bytes();
        let fits = |used: usize| (used == 0 || used + bytes <= self.budget.limit).then_some(used + bytes);
        if self.budget.used.fetch_update(Relaxed, Relaxed, fits).is_err() {
            self.counters.drop_unqueued(documents, Loss::QueueFull);
            return;
        }
        let lease = Lease {
            batch: batch.clone(),
            budget: self.budget.clone(),
        };
        self.counters.queue(documents);
        if self.sender.send(Some(lease)).is_err() {
            self.counters.drop_queued(documents, Loss::Shutdown);
        }
    }

    /// How the sink's documents are laid out.
    pub(crate) fn layout(&self) -> Layout {
        self.counters.layout()
    }

    /// Counts documents that have no place in the sink's layout.
    pub(crate) fn leave_out(&self, documents: u64) {
        self.counters.leave_out(documents);
    }

    /// Counts documents that came when nobody took them any more.
    pub(crate) fn lose(&self, documents: u64) {
        self.counters.drop_unqueued(documents, Loss::Shutdown);
    }

    /// Counts a document that could not be serialised.
    pub(crate) fn skip(&self) {
        self.counters.drop_unqueued(1, Loss::Unserialisable);
    }

    /// Ends a wait of the sink's thread.
    pub(crate) fn wake(&self) {
        // It fails only where the thread is gone already.
        let _ = self.sender.send(None);
    }
}

impl QueueOut {
    /// The next batch, within this time.
    pub(crate) fn next(&self, wait: Duration) -> Next {
        match self.receiver.recv_timeout(wait) {
            Ok(Some(lease)) => Next::Batch(lease),
            Ok(None) | Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// The next batch that is there now; wake-up calls before it are passed over.
    pub(crate) fn next_now(&self) -> Next {
        loop {
            match self.receiver.try_recv() {
                Ok(Some(lease)) => return Next::Batch(lease),
                Ok(None) => {}
                Err(TryRecvError::Empty) => return Next::Nothing,
                Err(TryRecvError::Disconnected) => return Next::End,
            }
        }
    }
}
