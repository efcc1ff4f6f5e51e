//! One thread a sink: fills deliveries from the queue, tries until they are taken, keeps the counters. What a sink
//! itself must know is only how to take documents.

mod backoff;
mod health;

use crate::{
    batch::Doc,
    queue::{Lease, Next, QueueOut},
    stats::{Counters, Loss},
    stop::Stop,
};
use backoff::Backoff;
use health::Health;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often an idle sink may tidy up.
const TEND_INTERVAL: Duration = Duration::from_secs(10);
/// A delivery never shrinks below this, so that it can grow again.
const SMALLEST_DELIVERY: usize = 1 << 10;

/// A destination of documents. It does one attempt at a time; order, repetition and counting are the runner's.
pub(crate) trait Sink: Send {
    /// How much it likes to take at once.
    fn appetite(&self) -> Appetite;

    /// What must be done before the first delivery. Called again until it succeeds.
    fn prepare(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Takes documents and says of each what became of it; one whose verdict stays [`Verdict::Waiting`] is offered again,
    /// as the first of the next delivery and in the same order.
    fn deliver(&mut self, documents: &[Doc], verdicts: &mut [Verdict]) -> Result<(), Failure>;

    /// Tidies up; called now and then, whether documents come or not.
    fn tend(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// How much a sink likes to take at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appetite {
    /// Text of the documents of one delivery.
    pub(crate) bytes: usize,
    /// How long documents wait for a delivery to fill.
    pub(crate) wait: Duration,
}

/// What became of one document of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not known, or not tried.
    #[default]
    Waiting,
    /// Taken for good.
    Taken,
    /// Refused for now, with the reason.
    Again(String),
    /// Refused for good, with the reason.
    Rejected(String),
}

/// An attempt that failed as a whole, or from some document on.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// For the log: what failed, why, and what to do.
    pub(crate) reason: String,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Try again.
    Retry,
    /// Try again, but only somebody's help can mend it: no hurry.
    Slow,
    /// Try again with less.
    Congested,
    /// Try half of it at once: it is too large, or one of it is bad. A single document is refused for good.
    Split,
    /// The destination is gone for ever.
    Closed,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { kind, reason }
    }
}

/// A sink with its queue and counters.
pub(crate) struct Runner {
    sink: Box<dyn Sink>,
    queue: QueueOut,
    counters: Arc<Counters>,
    stop: Arc<Stop>,
    /// Taken from the queue, in order.
    work: VecDeque<Doc>,
    work_bytes: usize,
    /// When the oldest of `work` came.
    since: Instant,
    /// Text of a delivery at most: shrinks when the sink is overwhelmed, grows while it is not.
    ceiling: usize,
    backoff: Backoff,
    health: Health,
    tended: Instant,
}

impl Runner {
    pub(crate) fn new(
        sink: Box<dyn Sink>,
        queue: QueueOut,
        counters: Arc<Counters>,
        stop: Arc<Stop>,
    ) -> Self {
        let now = Instant::now();
        Self {
            ceiling: sink.appetite().bytes,
            sink,
            queue,
            health: Health::new(counters.clone()),
            counters,
            stop,
            work: VecDeque::new(),
            work_bytes: 0,
            since: now,
            backoff: Backoff::default(),
            tended: now,
        }
    }

    /// Serves the sink until the end is called and the queue is empty, or the patience over.
    pub(crate) fn run(mut self) {
        self.prepare();
        while self.gather() {
            self.attempt();
            self.tend();
        }
        self.abandon(Loss::Shutdown);
        self.health.overflows();
    }

    /// Counts all that waits as lost: there is no thread to deliver it.
    pub(crate) fn give_up(mut self) {
        self.abandon(Loss::Shutdown);
    }

    fn prepare(&mut self) {
        loop {
            self.counters.set_attempt(Some(Instant::now()));
            let result = self.sink.prepare();
            self.counters.set_attempt(None);
            let Err(failure) = result else { break };
            let idle = self.stop.is_called() && self.counters.waiting() == 0;
            if idle || self.stop.is_over() {
                return;
            }
            self.fail(&failure);
            self.say_overflow();
        }
        self.ceiling = self.sink.appetite().bytes;
        self.health.works();
    }

    /// Fills `work` up to the sink's appetite. False when all is done, or the patience over.
    fn gather(&mut self) -> bool {
        let appetite = self.sink.appetite();
        loop {
            if self.stop.is_over() {
                return false;
            }
            if self.work_bytes >= appetite.bytes {
                return true;
            }
            let stopping = self.stop.is_called();
            let next = match self.patience(appetite.wait) {
                Some(wait) if !stopping => self.queue.next(wait),
                _ => self.queue.next_now(),
            };
            match next {
                Next::Batch(lease) => self.add(lease),
                Next::Nothing if self.work.is_empty() && stopping => return false,
                Next::Nothing if self.work.is_empty() => self.tend(),
                Next::Nothing if stopping || self.patience(appetite.wait).is_none() => return true,
                Next::Nothing => {}
                Next::End => return !self.work.is_empty(),
            }
        }
    }

    /// How long to wait for more; nothing if what is there has waited long enough.
    fn patience(&self, wait: Duration) -> Option<Duration> {
        if self.work.is_empty() {
            return Some(TEND_INTERVAL);
        }
        Some(wait.saturating_sub(self.since.elapsed())).filter(|left| !left.is_zero())
    }

    fn add(&mut self, lease: Lease) {
        if self.work.is_empty() {
            self.since = Instant::now();
        }
        for document in Doc::all(lease) {
            self.work_bytes += document.line().len();
            self.work.push_back(document);
        }
    }

    /// One delivery.
    fn attempt(&mut self) {
        let (count, bytes) = self.portion();
        let mut verdicts = vec![Verdict::Waiting; count];
        let documents = &self.work.make_contiguous()[..count];
        self.counters.set_attempt(Some(Instant::now()));
        let result = self.sink.deliver(documents, &mut verdicts);
        self.counters.set_attempt(None);
        let again = self.settle(verdicts);
        match (result, again) {
            (Ok(()), None) => self.succeed(),
            (Ok(()), Some(reason)) => self.fail(&Failure::new(FailureKind::Retry, reason)),
            (Err(failure), _) => self.recover(&failure, count, bytes),
        }
    }

    /// The documents of the next delivery: as many as the ceiling allows, one at least.
    fn portion(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for document in &self.work {
            let size = document.line().len();
            if count > 0 && bytes + size > self.ceiling {
                break;
            }
            count += 1;
            bytes += size;
        }
        (count, bytes)
    }

    /// Counts what is done with and keeps the rest, in order. Gives the first reason why documents must be tried again.
    fn settle(&mut self, verdicts: Vec<Verdict>) -> Option<String> {
        let (mut sent, mut rejected, mut again) = (0, 0, None);
        let mut left = Vec::new();
        for (document, verdict) in self.work.drain(..verdicts.len()).zip(verdicts) {
            match verdict {
                Verdict::Taken => sent += 1,
                Verdict::Rejected(reason) => {
                    rejected += 1;
                    self.health.rejected(&reason);
                }
                Verdict::Again(reason) => {
                    again.get_or_insert(reason);
                    left.push(document);
                    continue;
                }
                Verdict::Waiting => {
                    left.push(document);
                    continue;
                }
            }
            self.work_bytes -= document.line().len();
        }
        left.into_iter()
            .rev()
            .for_each(|document| self.work.push_front(document));
        self.counters.send(sent);
        self.counters.reject(rejected);
        if sent > 0 {
            self.backoff.reset();
        }
        again
    }

    fn succeed(&mut self) {
        self.health.works();
        self.backoff.reset();
        let growth = self.ceiling / 32 + SMALLEST_DELIVERY / 4;
        self.ceiling = (self.ceiling + growth).min(self.sink.appetite().bytes);
    }

    fn recover(&mut self, failure: &Failure, count: usize, bytes: usize) {
        match failure.kind {
            FailureKind::Retry | FailureKind::Slow => self.fail(failure),
            FailureKind::Congested => {
                self.shrink(bytes);
                self.fail(failure);
            }
            FailureKind::Split if count == 1 => {
                self.settle(vec![Verdict::Rejected(failure.reason.clone())]);
            }
            FailureKind::Split => {
                self.counters.retry();
                self.shrink(bytes);
            }
            FailureKind::Closed => {
                self.health.closed(&failure.reason);
                self.discard();
            }
        }
    }

    fn shrink(&mut self, bytes: usize) {
        self.ceiling = (bytes / 2).max(SMALLEST_DELIVERY);
    }

    /// Notes a failed attempt and waits before the next one.
    fn fail(&mut self, failure: &Failure) {
        if self.stop.is_over() {
            return;
        }
        self.counters.retry();
        self.health.fails(&failure.reason);
        let slow = failure.kind == FailureKind::Slow;
        self.stop.pause(self.backoff.next(slow));
    }

    /// Says now and then how much found the queue full. False if that was said lately.
    fn say_overflow(&mut self) -> bool {
        let due = self.tended.elapsed() >= TEND_INTERVAL;
        if due {
            self.tended = Instant::now();
            self.health.overflows();
        }
        due
    }

    fn tend(&mut self) {
        if !self.say_overflow() {
            return;
        }
        if let Err(failure) = self.sink.tend() {
            self.health.fails(&failure.reason);
        }
    }

    /// The destination is gone for ever: whatever comes is counted as lost.
    fn discard(&mut self) {
        self.abandon(Loss::Closed);
        loop {
            let next = match self.stop.is_called() {
                true => self.queue.next_now(),
                false => self.queue.next(TEND_INTERVAL),
            };
            match next {
                Next::Batch(lease) => {
                    self.counters
                        .drop_queued(lease.batch().len() as u64, Loss::Closed);
                }
                Next::Nothing if !self.stop.is_called() => {}
                Next::Nothing | Next::End => return,
            }
        }
    }

    /// Counts all that waits as lost.
    fn abandon(&mut self, reason: Loss) {
        let mut lost = self.work.len() as u64;
        self.work.clear();
        self.work_bytes = 0;
        while let Next::Batch(lease) = self.queue.next_now() {
            lost += lease.batch().len() as u64;
        }
        if lost > 0 {
            self.counters.drop_queued(lost, reason);
            self.health.lost(lost, reason);
        }
    }
}

#[cfg(test)]
mod tests;
