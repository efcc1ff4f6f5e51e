//! Counters of DNS over UDP.

use super::{Counter, Labels, Metrics, WorkerMetrics, counters};
use prometheus_client::encoding::DescriptorEncoder;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

/// Why a datagram was not passed on.
pub const LOSSES: [&str; 7] = [
    "loop",
    "no_resolver",
    "evicted",
    "no_socket",
    "send_failed",
    "reply_failed",
    "socket_buffer",
];

/// Counters of DNS over UDP.
#[derive(Debug, Default)]
pub struct DnsMetrics {
    /// Datagrams passed on to resolvers.
    pub queries: Counter,
    /// Datagrams passed back.
    pub answers: Counter,
    /// Queries that were not answered in time.
    pub timeouts: Counter,
    pub(super) losses: [Counter; LOSSES.len()],
}

impl DnsMetrics {
    /// So many datagrams were not passed on, for one of [`LOSSES`].
    pub fn lost(&self, reason: &str, n: u64) {
        super::count(&LOSSES, &self.losses, reason, n);
    }
}

type Family = (&'static str, &'static str, fn(&WorkerMetrics) -> &Counter);

const FAMILIES: [Family; 3] = [
    (
        "weir_dns_queries",
        "Queries over UDP passed on to resolvers",
        |worker| &worker.dns.queries,
    ),
    ("weir_dns_answers", "Answers over UDP passed back", |worker| {
        &worker.dns.answers
    }),
    (
        "weir_dns_timeouts",
        "Queries over UDP not answered in time",
        |worker| &worker.dns.timeouts,
    ),
];

impl Metrics {
    fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let lost = |(i, reason): (usize, &&'static str)| (*reason, self.sum(|worker| &worker.dns.losses[i]));
        LOSSES.iter().enumerate().map(lost)
    }

    pub(super) fn dns_stats(&self) -> Value {
        json!({
            "queries": self.sum(|worker| &worker.dns.queries),
            "answers": self.sum(|worker| &worker.dns.answers),
            "timeouts": self.sum(|worker| &worker.dns.timeouts),
            "dropped": self.losses().collect::<BTreeMap<_, _>>(),
        })
    }

    pub(super) fn dns(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, get) in FAMILIES {
            counters(encoder, name, help, vec![(Labels::new(), self.sum(get))])?;
        }
        counters(
            encoder,
            "weir_dns_dropped",
            "Queries and answers over UDP that were not passed on, by reason",
            self.losses()
                .map(|(reason, lost)| (vec![("reason", reason.into())], lost))
                .collect(),
        )
    }
}
