//! Ports in turn.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// TIME_WAIT lasts 60 s (TCP_TIMEWAIT_LEN): a port used longer ago is free again.
pub const WINDOW: Duration = Duration::from_secs(61);

/// Ports that are given out one after the other, each once a round. Shared by all data threads.
#[derive(Debug)]
pub struct Turn {
    ports: Vec<u16>,
    next: AtomicUsize,
    started: Instant,
    restarted_ms: AtomicU64,
}

impl Turn {
    /// These, in this order.
    pub fn new(ports: Vec<u16>) -> Self {
        Self {
            ports,
            next: AtomicUsize::new(0),
            started: Instant::now(),
            restarted_ms: AtomicU64::new(0),
        }
    }

    /// All of them.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The next port to try; nothing if there is none at all.
    pub fn next(&self) -> Option<u16> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let restarted = self.restarted_ms.load(Ordering::Relaxed);
        // From the front again once its ports have left TIME_WAIT, so that at moderate rates the first ones are enough.
        if now - restarted.min(now) > WINDOW.as_millis() as u64
            && self
                .restarted_ms
                .compare_exchange(restarted, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.next.store(0, Ordering::Relaxed);
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.ports.get(turn % self.ports.len().max(1)).copied()
    }
}
