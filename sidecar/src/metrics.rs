//! Counters. Each data thread has its own, written without a lock by that thread alone and added up when somebody asks.

mod capture;
mod dns;

use capture::Captured;
pub use dns::DnsMetrics;

use crate::{
    condition::{Condition, Restart},
    dial::Reason,
    source::NotKept,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use weir_export::Stats;
use weir_protocols::{Exchange, Side, Undecoded};
use weir_records::Direction;

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; to be called by the owning thread alone.
    pub fn add(&self, n: u64) {
        // A plain load and store: there is no other writer.
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    fn subtract(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How connections end.
const ENDS: [&str; 5] = ["finished", "client_reset", "server_reset", "idle", "abandoned"];
/// Why a client's address was not kept.
const NOT_KEPT: [&str; 6] = crate::source::REASONS;
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// A data thread's counters.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    ingress: DirectionMetrics,
    egress: DirectionMetrics,
    /// Destinations that could not be reached and are left alone until they can.
    pub left_alone: Counter,
    /// Connections that could not be accepted: out of descriptors or memory.
    pub accept_errors: Counter,
    /// Exchanges that were decoded.
    pub exchanges: Counter,
    /// Heartbeats and other messages that are counted and not recorded.
    pub events: Counter,
    /// Connections that are not decoded, or no longer, by reason.
    opaque: [Counter; Undecoded::ALL.len()],
    /// Decoders that failed by a bug.
    pub decoder_panics: Counter,
    /// Decoders that stepped aside because all of them together kept too much.
    pub memory_bound: Counter,
    not_kept: [Counter; NOT_KEPT.len()],
    /// DNS over UDP.
    pub dns: DnsMetrics,
    captured: Captured,
}

/// Those of one direction.
#[derive(Debug, Default)]
pub struct DirectionMetrics {
    opened: Counter,
    active: Counter,
    ends: [Counter; ENDS.len()],
    dial_failures: [Counter; Reason::ALL.len()],
    /// Connections that were dialled at the listener itself or loop.
    pub looped: Counter,
    from_client: Counter,
    from_server: Counter,
}

/// An open connection; counted as active for as long as it lives.
#[derive(Debug)]
pub struct Open<'a>(&'a DirectionMetrics);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.active.subtract(1);
    }
}

impl WorkerMetrics {
    /// The counters of a direction; a redirected connection always has one.
    pub fn of(&self, direction: Direction) -> &DirectionMetrics {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress | Direction::Unknown => &self.egress,
        }
    }

    /// An exchange was decoded, or is told of while it is under way.
    pub fn exchange(&self, exchange: &Exchange) {
        if exchange.is_waiting() {
            return; // it comes again
        }
        self.exchanges.add(1);
        if matches!(exchange, Exchange::Dns(exchange) if exchange.is_timeout()) {
            self.dns.timeouts.add(1);
        }
    }

    /// A connection is not decoded, or no longer, for this reason.
    pub fn gave_up(&self, why: Undecoded) {
        let all = Undecoded::ALL.iter().zip(&self.opaque);
        all.filter(|(reason, _)| **reason == why)
            .for_each(|(_, counter)| counter.add(1));
    }

    /// A dial had another address than the connection it was for.
    pub fn source_not_kept(&self, why: NotKept) {
        count(&NOT_KEPT, &self.not_kept, why.0, 1);
    }
}

fn count(names: &[&str], counters: &[Counter], name: &str, n: u64) {
    if let Some(at) = names.iter().position(|known| *known == name) {
        counters[at].add(n);
    }
}

impl DirectionMetrics {
    /// A connection was accepted.
    pub fn open(&self) -> Open<'_> {
        self.opened.add(1);
        self.active.add(1);
        Open(self)
    }

    /// A relayed connection ended so.
    pub fn closed(&self, how: &str) {
        count(&ENDS, &self.ends, how, 1);
    }

    /// The destination of a connection was not reached.
    pub fn dial_failed(&self, reason: Reason) {
        self.dial_failures[reason as usize].add(1);
    }

    /// Bytes that this side has sent.
    pub fn bytes(&self, side: Side) -> &Counter {
        match side {
            Side::Client => &self.from_client,
            Side::Server => &self.from_server,
        }
    }
}

/// Everything that is counted, for `/metrics` and `/stats`.
#[derive(Debug, Clone)]
pub struct Metrics {
    workers: Vec<Arc<WorkerMetrics>>,
    export: Arc<Stats>,
    condition: Arc<Condition>,
}

impl Metrics {
    /// Over these threads' counters and the sinks'.
    pub fn new(workers: Vec<Arc<WorkerMetrics>>, export: Arc<Stats>) -> Self {
        Self {
            workers,
            export,
            condition: Arc::default(),
        }
    }

    /// With the sidecar's own condition.
    pub fn about(self, condition: Arc<Condition>) -> Self {
        Self { condition, ..self }
    }

    /// What goes on.
    pub fn activity(&self) -> Activity {
        let of_both = |counter: fn(&DirectionMetrics) -> &Counter| -> u64 {
            DIRECTIONS
                .into_iter()
                .map(|direction| self.sum_of(direction, counter))
                .sum()
        };
        Activity {
            open: of_both(|d| &d.active),
            begun: of_both(|d| &d.opened) + self.sum(|worker| &worker.dns.queries),
        }
    }

    fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers
            .iter()
            .map(|worker| counter(worker).get())
            .fold(0, u64::wrapping_add)
    }

    fn sum_of(&self, direction: Direction, counter: impl Fn(&DirectionMetrics) -> &Counter) -> u64 {
        self.sum(|worker| counter(worker.of(direction)))
    }

    /// All counters as one JSON object.
    pub fn stats(&self) -> Value {
        let named = |names: &[&str], get: &dyn Fn(usize) -> u64| -> BTreeMap<String, u64> {
            names
                .iter()
                .enumerate()
                .map(|(i, name)| ((*name).to_string(), get(i)))
                .collect()
        };
        let direction = |direction| {
            json!({
                "opened": self.sum_of(direction, |d| &d.opened),
                "active": self.sum_of(direction, |d| &d.active),
                "closed": named(&ENDS, &|i| self.sum_of(direction, |d| &d.ends[i])),
                "dial_failures": named(&Reason::ALL.map(Reason::name), &|i| self.sum_of(direction, |d| &d.dial_failures[i])),
                "refused_loops": self.sum_of(direction, |d| &d.looped),
                "bytes": { "client": self.sum_of(direction, |d| &d.from_client), "server": self.sum_of(direction, |d| &d.from_server) },
            })
        };
        json!({
            "connections": { "ingress": direction(Direction::Ingress), "egress": direction(Direction::Egress) },
            "source_not_kept": named(&NOT_KEPT, &|i| self.sum(|w| &w.not_kept[i])),
            "accept_errors": self.sum(|w| &w.accept_errors),
            "exchanges": self.sum(|w| &w.exchanges),
            "events": self.sum(|w| &w.events),
            "opaque_connections": named(&Undecoded::ALL.map(Undecoded::name), &|i| self.sum(|w| &w.opaque[i])),
            "decoder_panics": self.sum(|w| &w.decoder_panics),
            "decoders_dropped": { "memory": self.sum(|w| &w.memory_bound) },
            "dns": self.dns_stats(),
            "capture": self.capture_stats(),
            "sinks": self.export.snapshot(),
            "restarts": Restart::ALL.map(|reason| (reason.name(), self.condition.restarts(reason))).into_iter().collect::<BTreeMap<_, _>>(),
            "degraded": self.condition.degraded().into_iter().map(|(what, why)| (what.name(), why)).collect::<BTreeMap<_, _>>(),
        })
    }

    /// All counters in OpenMetrics' text format.
    ///
    /// # Errors
    /// Never seen; the encoder's own.
    pub fn openmetrics(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// What goes on at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Connections that are open.
    pub open: u64,
    /// Connections and queries that ever began.
    pub begun: u64,
}

type Labels = Vec<(&'static str, String)>;

/// A family of counters: its name, its help and its values by label.
fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(Labels, u64)>,
) -> fmt::Result {
    let any = ConstCounter::new(0u64);
    let mut family = encoder.encode_descriptor(name, help, None, any.metric_type())?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

impl Metrics {
    fn by_direction(&self, counter: impl Fn(&DirectionMetrics) -> &Counter) -> Vec<(Labels, u64)> {
        DIRECTIONS
            .iter()
            .map(|d| (vec![("direction", name(*d).into())], self.sum_of(*d, &counter)))
            .collect()
    }

    fn by_direction_and(
        &self,
        label: &'static str,
        names: &[&str],
        counter: impl Fn(&DirectionMetrics, usize) -> &Counter,
    ) -> Vec<(Labels, u64)> {
        let mut values = Vec::new();
        for direction in DIRECTIONS {
            for (i, value) in names.iter().enumerate() {
                let labels = vec![("direction", name(direction).into()), (label, (*value).into())];
                values.push((labels, self.sum_of(direction, |d| counter(d, i))));
            }
        }
        values
    }

    fn sinks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sinks = self.export.snapshot();
        let labels = |sink: &weir_export::SinkStats| {
            vec![
                ("sink", sink.sink.clone()),
                ("target", sink.target.clone()),
                ("layout", sink.layout.to_string()),
            ]
        };
        type Get = fn(&weir_export::SinkStats) -> u64;
        let families: [(&str, &str, Get); 5] = [
            (
                "weir_sink_left_out_documents",
                "Documents that have no place in the sink's layout",
                |s| s.left_out,
            ),
            (
                "weir_sink_queued_documents",
                "Documents that entered the sink's queue",
                |s| s.queued,
            ),
            (
                "weir_sink_sent_documents",
                "Documents that the sink has taken for good",
                |s| s.sent,
            ),
            (
                "weir_sink_rejected_documents",
                "Documents that the sink refused for good",
                |s| s.rejected,
            ),
            (
                "weir_sink_retries",
                "Attempts that failed and are made again",
                |s| s.retries,
            ),
        ];
        for (name, help, get) in families {
            counters(
                encoder,
                name,
                help,
                sinks.iter().map(|sink| (labels(sink), get(sink))).collect(),
            )?;
        }
        let dropped = |sink: &weir_export::SinkStats| -> Vec<(Labels, u64)> {
            let with_reason = |reason: &str| {
                let mut labels = labels(sink);
                labels.push(("reason", reason.into()));
                labels
            };
            sink.dropped
                .iter()
                .map(|(reason, n)| (with_reason(reason), *n))
                .collect()
        };
        counters(
            encoder,
            "weir_sink_dropped_documents",
            "Documents that were lost, by reason",
            sinks.iter().flat_map(dropped).collect(),
        )?;
        gauges(
            encoder,
            "weir_sink_failing",
            "1 while the sink cannot be opened or its last attempt failed, else 0",
            sinks
                .iter()
                .map(|sink| (labels(sink), u64::from(sink.failing.is_some())))
                .collect(),
        )
    }

    fn condition(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = |name: &str| vec![("reason", name.to_owned())];
        counters(
            encoder,
            "weir_restarts",
            "Times that the worker process was started anew, by reason",
            Restart::ALL
                .map(|reason| (labels(reason.name()), self.condition.restarts(reason)))
                .into(),
        )?;
        gauges(
            encoder,
            "weir_degraded",
            "1 for each reason for which the sidecar does less than it was asked to",
            self.condition
                .degraded()
                .keys()
                .map(|what| (labels(what.name()), 1))
                .collect(),
        )
    }
}

/// A family of gauges: its name, its help and its values by label.
fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(Labels, u64)>,
) -> fmt::Result {
    let any = ConstGauge::new(0i64);
    let mut family = encoder.encode_descriptor(name, help, None, any.metric_type())?;
    for (labels, value) in values {
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
        Direction::Unknown => "unknown",
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        counters(
            encoder,
            "weir_connections",
            "Redirected connections that were accepted",
            self.by_direction(|d| &d.opened),
        )?;
        counters(
            encoder,
            "weir_connections_closed",
            "Relayed connections that ended, by how",
            self.by_direction_and("how", &ENDS, |d, i| &d.ends[i]),
        )?;
        counters(
            encoder,
            "weir_dial_failures",
            "Connections whose original destination was not reached, by reason",
            self.by_direction_and("reason", &Reason::ALL.map(Reason::name), |d, i| {
                &d.dial_failures[i]
            }),
        )?;
        counters(
            encoder,
            "weir_refused_loops",
            "Connections dialled at a listener itself",
            self.by_direction(|d| &d.looped),
        )?;
        counters(
            encoder,
            "weir_bytes",
            "Bytes relayed, by the side that sent them",
            {
                self.by_direction_and("side", &["client", "server"], |d, i| {
                    if i == 0 { &d.from_client } else { &d.from_server }
                })
            },
        )?;
        let opaque = |(i, why): (usize, &Undecoded)| {
            let labels: Labels = vec![("reason", why.name().into())];
            (labels, self.sum(|worker| &worker.opaque[i]))
        };
        let not_kept = |(i, reason): (usize, &&str)| {
            let labels: Labels = vec![("reason", (*reason).into())];
            (labels, self.sum(|worker| &worker.not_kept[i]))
        };
        counters(
            encoder,
            "weir_source_not_kept",
            "Connections that were dialled from another address than the client's (inbound) or the application's (outbound) although they were to have it, by reason",
            NOT_KEPT.iter().enumerate().map(not_kept).collect(),
        )?;
        let total = |get: fn(&WorkerMetrics) -> &Counter| vec![(Labels::new(), self.sum(get))];
        counters(
            encoder,
            "weir_destinations_left_alone",
            "Destinations that could not be reached; in mode ebpf connections to them pass unseen until they can",
            total(|worker| &worker.left_alone),
        )?;
        counters(
            encoder,
            "weir_accept_errors",
            "Connections that could not be accepted",
            total(|w| &w.accept_errors),
        )?;
        counters(
            encoder,
            "weir_exchanges",
            "Exchanges decoded",
            total(|w| &w.exchanges),
        )?;
        counters(
            encoder,
            "weir_events",
            "Heartbeats and other messages that keep a connection and are not recorded",
            total(|w| &w.events),
        )?;
        counters(
            encoder,
            "weir_opaque_connections",
            "Connections that are not decoded, or no longer, by reason",
            Undecoded::ALL.iter().enumerate().map(opaque).collect(),
        )?;
        counters(
            encoder,
            "weir_decoders_dropped",
            "Connections no longer decoded because of a bound on what all decoders keep, by reason",
            vec![(
                vec![("reason", "memory".into())],
                self.sum(|worker| &worker.memory_bound),
            )],
        )?;
        counters(
            encoder,
            "weir_decoder_panics",
            "Decoders that failed by a bug",
            total(|w| &w.decoder_panics),
        )?;
        self.dns(encoder)?;
        self.capture(encoder)?;
        self.sinks(encoder)?;
        self.condition(encoder)?;
        gauges(
            encoder,
            "weir_connections_active",
            "Redirected connections now open",
            self.by_direction(|d| &d.active),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_threads_counted_is_added_up() {
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerMetrics::default())).collect();
        let metrics = Metrics::new(workers.clone(), Arc::new(Stats::default()));
        let open = workers[0].of(Direction::Ingress).open();
        drop(workers[1].of(Direction::Ingress).open());
        workers[1].of(Direction::Egress).dial_failed(Reason::Refused);
        workers[0].of(Direction::Ingress).closed("finished");
        workers[1].dns.lost("evicted", 2);
        workers[0].dns.lost("evicted", 1);
        let text = metrics.openmetrics().unwrap();
        for line in [
            "weir_connections_total{direction=\"ingress\"} 2",
            "weir_connections_active{direction=\"ingress\"} 1",
            "weir_dial_failures_total{direction=\"egress\",reason=\"refused\"} 1",
            "weir_connections_closed_total{direction=\"ingress\",how=\"finished\"} 1",
            "weir_dns_dropped_total{reason=\"evicted\"} 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert_eq!(metrics.stats()["connections"]["ingress"]["active"], 1);
        drop(open);
        assert_eq!(metrics.stats()["connections"]["ingress"]["active"], 0);
    }

    #[test]
    fn sinks_of_one_target_are_told_apart_by_their_layout() {
        let sinks: Vec<_> = ["ndjson:/dev/null", "ndjson+pipy:/dev/null"]
            .iter()
            .map(|text| match text.parse() {
                Ok(weir_config::Export::To(sink)) => sink,
                other => panic!("{other:?}"),
            })
            .collect();
        let pipeline = weir_export::Pipeline::start(&sinks).unwrap();
        let metrics = Metrics::new(Vec::new(), pipeline.stats());
        let text = metrics.openmetrics().unwrap();
        for layout in ["ecs", "pipy"] {
            for name in ["left_out", "queued", "sent", "rejected"] {
                let labels = format!("sink=\"ndjson\",target=\"/dev/null\",layout=\"{layout}\"");
                let line = format!("weir_sink_{name}_documents_total{{{labels}}} 0");
                assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
            }
        }
    }
}
