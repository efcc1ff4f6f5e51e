//! What mode `tap` is made of: packet sockets, and data threads that look.

use super::{
    crew::{Handle, Planned, Share, Source, spawn},
    host_name,
};
use crate::{
    identity,
    legs::Legs,
    limits,
    metrics::WorkerMetrics,
    mode::InForce,
    privilege::Privileges,
    tap::{self, Parts, beside::Beside, own::Observed},
};
use std::sync::Arc;
use tokio::sync::mpsc;
use weir_capture::{Bounds, FlowSettings, Select, Settings, Tap, TapSettings};
use weir_config::Config;
use weir_export::Pipeline;
use weir_protocols::Decoders;
use weir_records::{Capture, Names, Policy};

/// Opens a packet socket for each data thread, and gives up the capability that it took.
///
/// # Errors
/// NET_RAW is missing, or the memory for the rings.
pub(super) fn open(config: &Config, names: &Arc<Names>) -> anyhow::Result<Source> {
    let taps = sockets(config)?;
    identity::give_up_net_raw()?;
    tracing::info!(
        "tap: nothing is redirected and nothing held; TLS stays closed, and under overload packets may be missed, which is \
         counted (weir_capture_losses)"
    );
    Ok(source(config, taps, Arc::new(Observed::new(config)), names))
}

/// The same beside a relay, whose sockets are `legs`: sees what is not redirected. Whoever opens the relay gives up the
/// capability.
///
/// # Errors
/// As [`open`].
pub(super) fn beside(
    config: &Config,
    legs: &Arc<Legs>,
    mode: &Arc<InForce>,
    names: &Arc<Names>,
) -> anyhow::Result<Source> {
    let taps = sockets(config)?;
    tracing::info!("tap: beside the relay, what is not redirected is looked at");
    let select = Beside::new(config, legs.clone(), mode.clone());
    Ok(source(config, taps, Arc::new(select), names))
}

fn sockets(config: &Config) -> anyhow::Result<Vec<Tap>> {
    anyhow::ensure!(
        config.decoding.enabled,
        "a tap does nothing but decode: leave decoding on, or choose a mode that relays, without a tap beside it"
    );
    let threads = limits::threads(config.relay.threads);
    let ring = usize::try_from(config.capture.ring.0).unwrap_or(usize::MAX);
    let settings = TapSettings {
        selection: tap::selection(config),
        ring_bytes: limits::share(ring, threads),
    };
    Ok(Tap::open_all(&settings, threads)?)
}

fn source(config: &Config, taps: Vec<Tap>, select: Arc<dyn Select>, names: &Arc<Names>) -> Source {
    let settings = settings(config, select, taps.len());
    let policy = Arc::new(Policy::new(&config.records));
    let names = names.clone();
    let plan = |(n, tap): (usize, Tap)| {
        let (settings, policy, names) = (settings.clone(), policy.clone(), names.clone());
        let start = move |pipeline: &Pipeline| start_worker(n, tap, &settings, (&policy, &names), pipeline);
        Planned {
            share: Share::default(),
            start: Box::new(start),
        }
    };
    Source {
        privileges: Privileges::default(),
        listens_on: "no port".to_owned(),
        threads: taps.into_iter().enumerate().map(plan).collect(),
    }
}

fn settings(config: &Config, select: Arc<dyn Select>, threads: usize) -> Settings {
    Settings {
        capture: Capture::Tap,
        host: host_name(&config.records.host_name),
        local: Vec::new(),
        select: Some(select),
        decoders: Decoders::from(config),
        bounds: Bounds {
            decoder_bytes: usize::try_from(config.decoding.memory.0).unwrap_or(usize::MAX),
            ..Bounds::default()
        }
        .shared_by(threads),
        flows: config.flows.enabled.then(|| FlowSettings {
            interval: config.flows.interval.non_zero(),
        }),
    }
}

fn start_worker(
    n: usize,
    tap: Tap,
    settings: &Settings,
    (policy, names): (&Arc<Policy>, &Arc<Names>),
    pipeline: &Pipeline,
) -> anyhow::Result<Handle> {
    let (commands, received) = mpsc::channel(16);
    let metrics = Arc::new(WorkerMetrics::default());
    let parts = Parts {
        tap,
        settings: settings.clone(),
        policy: policy.clone(),
        names: names.clone(),
        metrics: metrics.clone(),
        producer: pipeline.producer(),
        commands: received,
    };
    spawn(n, commands, metrics, move || tap::run(parts))
}
