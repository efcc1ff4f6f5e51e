//! Counters of mode `tap`, and of a tap beside a relay: packets seen, and what was lost or could not be read. They are
//! there only where packets are looked at.

use super::{Labels, Metrics, WorkerMetrics, counters};
use prometheus_client::encoding::DescriptorEncoder;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};
use weir_capture::Counters;

/// A data thread's counters as it told them last.
#[derive(Debug, Default)]
pub(super) struct Captured(Mutex<Option<Told>>);

#[derive(Clone, Debug)]
struct Told {
    counters: Counters,
    lost: u64,
}

/// The threads' counters added up.
#[derive(Debug, Default)]
struct Total {
    packets: u64,
    connections: u64,
    /// By reason.
    losses: BTreeMap<&'static str, u64>,
}

impl WorkerMetrics {
    /// The thread has counted this so far; so many packets were lost for want of room.
    pub fn captured(&self, counters: &Counters, lost: u64) {
        // The thread's own counters, which only ever rise.
        self.events.add(counters.events - self.events.get());
        self.decoder_panics
            .add(counters.decoder_panics - self.decoder_panics.get());
        self.memory_bound
            .add(counters.decoders_dropped - self.memory_bound.get());
        let told = Told {
            counters: counters.clone(),
            lost,
        };
        *self.captured.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }
}

impl Metrics {
    fn captured(&self) -> Option<Total> {
        let mut total = None;
        for worker in &self.workers {
            let told = worker.captured.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(told) = told.as_ref() else { continue };
            let total = total.get_or_insert_with(Total::default);
            total.packets += told.counters.packets;
            total.connections += told.counters.connections;
            *total.losses.entry("ring_full").or_default() += told.lost;
            for (reason, _, count) in told.counters.reasons() {
                *total.losses.entry(reason).or_default() += count;
            }
        }
        total
    }

    pub(super) fn capture_stats(&self) -> Value {
        self.captured().map_or(Value::Null, |total| {
            json!({
                "packets": total.packets,
                "connections": total.connections,
                "losses": total.losses,
            })
        })
    }

    pub(super) fn capture(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(total) = self.captured() else {
            return Ok(());
        };
        let one = |count| vec![(Labels::new(), count)];
        counters(
            encoder,
            "weir_capture_packets",
            "Packets that were read",
            one(total.packets),
        )?;
        counters(
            encoder,
            "weir_capture_connections",
            "TCP connections that were seen",
            one(total.connections),
        )?;
        counters(
            encoder,
            "weir_capture_losses",
            "What was lost or could not be read in full, by reason: packets (ring_full: for want of room), bytes, connections",
            total
                .losses
                .into_iter()
                .map(|(reason, count)| (vec![("reason", reason.into())], count))
                .collect(),
        )
    }
}
