//! Between producers and the queues of sinks in layout `datakit`: where documents become points.
//!
//! Each producer sums up its own documents, and hands its sums on as often as it hands batches on; a thread adds up those
//! of all producers and at the end of each interval writes the points into the queues of the sinks. A data thread thus
//! never waits, and never writes a point: where the thread here is late, sums stay with their producer and go on growing,
//! within the bound that an [`Aggregate`] has.

use crate::{batch::Batch, queue::QueueIn};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use weir_config::{Layout, Points};
use weir_records::{
    Document, Timestamp,
    datakit::{Aggregate, Measurement},
};

/// Sums that wait to be added up.
const WAITING: usize = 4;

/// What the thread is told.
#[derive(Debug)]
enum Message {
    /// What a producer has summed up.
    Sums(Box<Aggregate>),
    /// No more comes: write what is there, and end.
    End,
}

/// The thread, and whom it writes for.
#[derive(Debug)]
pub(crate) struct Stage {
    settings: Points,
    sender: SyncSender<Message>,
    queues: Vec<QueueIn>,
    thread: Option<JoinHandle<()>>,
    /// What the thread takes, until that has been started.
    unstarted: Arc<Mutex<Option<Unstarted>>>,
}

/// What runs in the thread.
type Unstarted = (Adder, Receiver<Message>);

/// A producer's sums.
#[derive(Debug)]
pub(crate) struct Lane {
    settings: Points,
    sums: Aggregate,
    sender: SyncSender<Message>,
    queues: Vec<QueueIn>,
}

impl Stage {
    /// For sinks whose points are made in this way. The thread is still to be started.
    pub(crate) fn new(settings: Points, queues: Vec<QueueIn>) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let adder = Adder {
            settings,
            sums: Aggregate::new(&settings),
            queues: queues.clone(),
        };
        Self {
            settings,
            sender,
            queues,
            thread: None,
            unstarted: Arc::new(Mutex::new(Some((adder, receiver)))),
        }
    }

    /// Starts the thread, unless it has been started. Where the system has no thread to give, sums stay with the producers.
    pub(crate) fn start_thread(&mut self) {
        if self.thread.is_some() {
            return;
        }
        let place = self.unstarted.clone();
        let spawned = std::thread::Builder::new()
            .name("weir-points".into())
            .spawn(move || {
                let taken = take(&place);
                if let Some((adder, receiver)) = taken {
                    adder.run(&receiver);
                }
            });
        match spawned {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => tracing::warn!(%error, "the thread that makes points cannot be started"),
        }
    }

    /// For one more producer.
    pub(crate) fn lane(&self) -> Lane {
        Lane {
            settings: self.settings,
            sums: Aggregate::new(&self.settings),
            sender: self.sender.clone(),
            queues: self.queues.clone(),
        }
    }

    /// Has everything that producers handed on written into the queues. It waits for nobody but the thread, which waits for
    /// nobody.
    pub(crate) fn finish(mut self) {
        let unstarted = self.thread.is_none().then(|| take(&self.unstarted)).flatten();
        if let Some((adder, receiver)) = unstarted {
            // This call does it itself: there was no room for a thread.
            drop(self.sender);
            return adder.run(&receiver);
        }
        // It fails only where the thread is gone already.
        let _ = self.sender.send(Message::End);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(
                "the thread that makes points failed by a bug; those of the last interval are lost"
            );
        }
    }
}

fn take(place: &Mutex<Option<Unstarted>>) -> Option<Unstarted> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Lane {
    /// Adds a document.
    pub(crate) fn push(&mut self, document: &Document) {
        if !self.sums.add(document) {
            self.queues.iter().for_each(|queue| queue.leave_out(1));
        }
    }

    /// Hands the sums on, if there is room. Never blocks.
    pub(crate) fn flush(&mut self) {
        if let Some(message) = self.take()
            && let Err(error) = self.sender.try_send(message)
        {
            match error {
                TrySendError::Full(Message::Sums(sums)) => self.sums = *sums,
                TrySendError::Full(Message::End) => {}
                TrySendError::Disconnected(message) => self.lose(&message),
            }
        }
    }

    /// True if sums wait to be handed on.
    pub(crate) fn has_sums(&self) -> bool {
        !self.sums.is_empty()
    }

    fn take(&mut self) -> Option<Message> {
        let sums = (!self.sums.is_empty())
            .then(|| std::mem::replace(&mut self.sums, Aggregate::new(&self.settings)))?;
        Some(Message::Sums(Box::new(sums)))
    }

    fn lose(&self, message: &Message) {
        if let Message::Sums(sums) = message {
            self.queues.iter().for_each(|queue| queue.lose(sums.documents()));
        }
    }
}

impl Drop for Lane {
    /// Waits for room: nobody comes back for what is left.
    fn drop(&mut self) {
        if let Some(message) = self.take()
            && let Err(error) = self.sender.send(message)
        {
            self.lose(&error.0);
        }
    }
}

/// What the thread has.
#[derive(Debug)]
struct Adder {
    settings: Points,
    sums: Aggregate,
    queues: Vec<QueueIn>,
}

impl Adder {
    fn run(mut self, receiver: &Receiver<Message>) {
        let start = Instant::now();
        let mut due = Measurement::ALL.map(|measurement| start + measurement.interval(&self.settings));
        loop {
            let next = due.iter().min().copied().unwrap_or(start);
            match receiver.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Message::Sums(sums)) => {
                    let left_out = self.sums.merge(*sums);
                    self.queues.iter().for_each(|queue| queue.leave_out(left_out));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            for (measurement, due) in Measurement::ALL.into_iter().zip(&mut due) {
                if *due <= now {
                    self.write(measurement);
                    *due = following(*due, measurement.interval(&self.settings), now);
                }
            }
        }
        Measurement::ALL
            .into_iter()
            .for_each(|measurement| self.write(measurement));
    }

    /// Puts the points of what was seen since the last time into the queues.
    fn write(&mut self, measurement: Measurement) {
        let mut batch = Batch::of(Layout::Datakit);
        for point in self.sums.drain(measurement, now()) {
            batch.push_point(&point);
            if batch.is_full() {
                self.offer(&mut batch);
            }
        }
        self.offer(&mut batch);
    }

    fn offer(&self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        let batch = Arc::new(batch.take());
        self.queues.iter().for_each(|queue| queue.offer(&batch));
    }
}

/// The end of the next interval: those that passed while nobody ran are one.
fn following(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = due + interval;
    if next > now { next } else { now + interval }
}

fn now() -> Timestamp {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
