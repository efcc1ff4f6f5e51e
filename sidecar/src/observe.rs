//! The watcher of one connection: feeds its decoder, counts its bytes, turns exchanges into documents.
//!
//! It runs on the thread that relays, after the bytes were written. Nothing that goes wrong here reaches the traffic: a
//! decoder that panics is dropped and counted, and the connection goes on.

use crate::{metrics::WorkerMetrics, relay::Observer, worker::Documents};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use weir_protocols::{Close, Decoder, Exchange, Side};
use weir_records::{Flow, Timestamp};

/// Time of a connection: the wall clock read once, then the monotonic one, so that it never runs backwards.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            start: Instant::now(),
        }
    }

    /// When it was started.
    pub fn started(&self) -> Timestamp {
        Timestamp(self.wall)
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.wall.saturating_add(self.elapsed()))
    }

    /// Nanoseconds since it was started.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Watches one connection. Dropped without [`Watcher::close`], it records the connection as abandoned.
pub struct Watcher {
    flow: Flow,
    clock: Clock,
    decoder: Option<Decoder>,
    documents: Rc<Documents>,
    metrics: Arc<WorkerMetrics>,
}

impl Watcher {
    /// A watcher; without a decoder it only counts.
    pub fn new(
        flow: Flow,
        clock: Clock,
        decoder: Option<Decoder>,
        documents: Rc<Documents>,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        Self {
            flow,
            clock,
            decoder,
            documents,
            metrics,
        }
    }

    /// The connection is over.
    pub fn close(&mut self, how: Close) {
        self.decode(|decoder, at, out| decoder.close(at, how, out));
        self.decoder = None;
    }

    /// Time has passed: what has waited for too long is recorded.
    pub fn tick(&mut self) {
        self.decode(|decoder, at, out| decoder.tick(at, out));
    }

    fn decode(&mut self, feed: impl FnOnce(&mut Decoder, Timestamp, &mut dyn FnMut(Exchange))) {
        let Some(decoder) = &mut self.decoder else { return };
        let at = self.clock.now();
        let (flow, documents, metrics) = (&self.flow, &*self.documents, &*self.metrics);
        let mut out = |exchange: Exchange| {
            metrics.exchange(&exchange);
            documents.push(&exchange, flow);
        };
        if catch_unwind(AssertUnwindSafe(|| feed(decoder, at, &mut out))).is_err() {
            metrics.decoder_panics.add(1);
            tracing::error!(flow = %self.flow.id, "a decoder failed: this connection is relayed on, but no longer decoded");
            self.decoder = None;
        } else {
            metrics.events.add(decoder.take_events());
        }
    }
}

impl Observer for Watcher {
    fn data(&mut self, side: Side, bytes: &[u8]) {
        self.metrics
            .of(self.flow.direction)
            .bytes(side)
            .add(bytes.len() as u64);
        self.decode(|decoder, at, out| decoder.data(side, at, bytes, out));
        if self.decoder.as_ref().is_some_and(Decoder::is_opaque) {
            self.decoder = None;
            self.metrics.opaque.add(1);
        }
    }

    fn end(&mut self, side: Side) {
        self.decode(|decoder, at, out| decoder.end(side, at, out));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.close(Close::Abandoned);
    }
}
