//! What mode `tap` is made of: packet sockets, and data threads that look.

use super::{Handle, Source, host_name, spawn, thread_count};
use crate::{
    identity,
    metrics::WorkerMetrics,
    privilege::Privileges,
    tap::{self, Parts, own::Observed},
};
use std::sync::Arc;
use tokio::sync::mpsc;
use weir_capture::{Bounds, FlowSettings, Settings, Tap, TapSettings};
use weir_config::Config;
use weir_export::Pipeline;
use weir_protocols::Decoders;
use weir_records::{Capture, Names, Policy};

/// Opens a packet socket for each data thread, and gives up the capability that it took.
///
/// # Errors
/// NET_RAW is missing, or the memory for the rings.
pub(super) fn open(config: &Config) -> anyhow::Result<Source> {
    anyhow::ensure!(
        config.decoding.enabled,
        "mode tap does nothing but decode: leave decoding on, or choose another mode"
    );
    let threads = thread_count(config);
    // A number that nobody else in this namespace takes by accident.
    let group = (threads > 1).then(|| std::process::id() as u16);
    let taps = (0..threads)
        .map(|_| {
            Tap::open(&TapSettings {
                selection: tap::selection(config),
                ring_bytes: usize::try_from(config.capture.ring.0).unwrap_or(usize::MAX),
                group,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    identity::give_up_net_raw()?;
    tracing::info!(
        "tap: nothing is redirected and nothing held; TLS stays closed, and under overload packets may be missed, which is \
         counted (weir_capture_losses)"
    );
    let settings = settings(config);
    let policy = Arc::new(Policy::new(&config.records));
    let names = Arc::new(Names::default());
    let start = move |pipeline: &Pipeline| {
        let threads = taps.into_iter().enumerate();
        threads
            .map(|(n, tap)| start_worker(n, tap, &settings, (&policy, &names), pipeline))
            .collect()
    };
    Ok(Source {
        privileges: Privileges::default(),
        listens_on: "no port".to_owned(),
        start: Box::new(start),
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        capture: Capture::Tap,
        host: host_name(&config.records.host_name),
        local: Vec::new(),
        select: Some(Arc::new(Observed::new(config))),
        decoders: Decoders::from(config),
        bounds: Bounds::default(),
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
