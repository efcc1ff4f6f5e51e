//! The composition root: makes every part from the configuration, starts them, and ends them in order.

use crate::{
    admin::{self, Endpoint, State},
    dial::Dialer,
    dns,
    identity::{self, Identity},
    listen::{self, Listener},
    metrics::{Metrics, WorkerMetrics},
    mode::{self, InForce, Reader},
    privilege::Privileges,
    worker::{self, Command, Parts, Settings},
};
use anyhow::Context;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use weir_config::{Config, Interception, Mode, SourceAddress};
use weir_export::Pipeline;
use weir_protocols::Decoders;
use weir_records::{Direction, Policy};

/// How long the sinks may take to deliver what is queued once the connections have ended.
const SINK_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the sidecar until SIGTERM or SIGINT and the end of the drain.
///
/// # Errors
/// Something that was asked for can't be had; the error says what to do.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let files = identity::raise_open_files();
    let set = &config.interception;
    let identity = identity::assume(set.proxy_uid, set.proxy_gid)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the main runtime")?;
    // Its own endpoints first: their ports are exclusive, so that a second sidecar in the same namespace ends here and
    // not beside the first one's listeners, which can be shared.
    let endpoints = {
        let _inside = runtime.enter();
        open_endpoints(config)?
    };
    let threads = thread_count(config);
    let listeners = (0..threads)
        .map(|_| open_listeners(config, identity))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut dns = match set.port_map.0.is_empty() {
        true => open_dns(set)?,
        false => Vec::new(),
    };
    let mode = Arc::new(InForce::default());
    let reader = {
        let _inside = runtime.enter();
        Reader::open().context("cannot ask for routes")?
    };
    runtime.block_on(reader.read(&mode));
    // The last moment: capabilities are a thread's own, and from here on there are more threads.
    let privileges = reduce(identity, &mode, config)?;
    mode::advise(mode.get(), privileges, config.relay.source_address);
    if mode.get() == Some(Mode::Ebpf) && !privileges.transparent {
        // Nobody could answer from the resolver's address. Without a socket the programs let queries pass.
        dns.clear();
    }

    let pipeline = Pipeline::start(&config.sinks)?;
    let settings = Arc::new(settings(config, &mode));
    let dialer = Arc::new(Dialer::new(
        config.relay.connect_timeout.non_zero(),
        config.relay.keepalive.non_zero(),
        identity.marks.then(|| set.own_mark()),
    ));
    let workers = listeners
        .into_iter()
        .enumerate()
        .map(|(n, listeners)| {
            start_worker(
                n,
                listeners,
                std::mem::take(&mut dns),
                &settings,
                &dialer,
                &pipeline,
            )
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    tracing::info!(
        threads,
        files,
        listeners = %listens_on(set),
        mode = mode.name(),
        net_raw = privileges.foreign_source,
        "started"
    );

    let state = State {
        config: config.to_yaml().map_err(anyhow::Error::msg)?,
        metrics: Metrics::new(
            workers.iter().map(|w| w.metrics.clone()).collect(),
            pipeline.stats(),
        ),
        workers: workers.iter().map(|w| w.commands.clone()).collect(),
        mode: mode.clone(),
        privileges,
        draining: AtomicBool::new(false),
    };
    runtime.spawn(reader.follow(mode, privileges, config.relay.source_address));
    runtime.block_on(serve_until_signal(config, endpoints, Arc::new(state), &workers))?;

    for worker in workers {
        drop(worker.commands);
        match worker.thread.join() {
            Ok(result) => result.context("a data thread failed")?,
            Err(_) => anyhow::bail!("a data thread failed by a bug"),
        }
    }
    pipeline.shutdown(SINK_PATIENCE);
    tracing::info!("ended");
    Ok(())
}

/// A data thread, seen from the main one.
#[derive(Debug)]
struct Handle {
    metrics: Arc<WorkerMetrics>,
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<std::io::Result<()>>,
}

fn settings(config: &Config, mode: &Arc<InForce>) -> Settings {
    Settings {
        mode: mode.clone(),
        source: config.relay.source_address,
        keepalive: config.relay.keepalive.non_zero(),
        idle: config.relay.idle_timeout.non_zero(),
        max_buffer: usize::try_from(config.relay.max_buffer.0).unwrap_or(usize::MAX),
        decoders: config.decoding.enabled.then(|| Decoders::from(config)),
        policy: Policy::new(&config.records),
        host: host_name(&config.records.host_name),
    }
}

fn host_name(configured: &str) -> Option<Arc<str>> {
    if !configured.is_empty() {
        return Some(configured.into());
    }
    nix::unistd::gethostname()
        .ok()?
        .into_string()
        .ok()
        .map(Into::into)
}

fn thread_count(config: &Config) -> usize {
    match config.relay.threads {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        n => n,
    }
}

fn open_listeners(config: &Config, identity: Identity) -> anyhow::Result<Vec<Listener>> {
    let set = &config.interception;
    let net_raw = identity.net_raw;
    if !set.port_map.0.is_empty() {
        let mut listeners = Vec::new();
        for pair in &set.port_map.0 {
            listeners.extend(listen::mapped(*pair, identity.marks.then(|| set.own_mark()))?);
        }
        return Ok(listeners);
    }
    let mut listeners = listen::listeners(Direction::Egress, set.outbound_port, net_raw)?;
    listeners.extend(listen::listeners(Direction::Ingress, set.inbound_port, net_raw)?);
    match listen::listeners(Direction::Egress, set.dns_port, net_raw) {
        Ok(opened) => listeners.extend(opened),
        Err(error) => without_dns(set, error)?,
    }
    Ok(listeners)
}

/// The listeners' ports, for people.
fn listens_on(set: &Interception) -> String {
    match set.port_map.0.is_empty() {
        true => format!("inbound {}, outbound {}", set.inbound_port, set.outbound_port),
        false => format!("port map {}", set.port_map),
    }
}

/// Keeps NET_RAW only where it is of use, or may be: before an installation nobody knows the mode.
fn reduce(identity: Identity, mode: &InForce, config: &Config) -> anyhow::Result<Privileges> {
    let of_use = config.relay.source_address == SourceAddress::Client || identity.marks;
    let mapped_alone = config.interception.mode == Mode::PortMap && !identity.marks;
    let keep = identity.net_raw && of_use && !mapped_alone && mode.get() != Some(Mode::Redirect);
    if !keep {
        identity::give_up_net_raw()?;
    }
    Ok(Privileges {
        transparent: identity.net_raw,
        foreign_source: keep,
    })
}

/// The sockets for DNS over UDP. They are there whether DNS is redirected or not, for the sidecar is not told.
fn open_dns(set: &Interception) -> anyhow::Result<Vec<dns::listen::Listener>> {
    match dns::listen::listeners(set) {
        Ok(opened) => Ok(opened),
        Err(error) => without_dns(set, error).map(|()| Vec::new()),
    }
}

/// A port for DNS that is taken is no failure unless DNS is known to be redirected there.
fn without_dns(
    set: &Interception,
    error: impl std::error::Error + Send + Sync + 'static,
) -> anyhow::Result<()> {
    if set.dns {
        return Err(error.into());
    }
    tracing::warn!(%error, "DNS can't be carried if it is redirected");
    Ok(())
}

fn start_worker(
    n: usize,
    listeners: Vec<Listener>,
    dns: Vec<dns::listen::Listener>,
    settings: &Arc<Settings>,
    dialer: &Arc<Dialer>,
    pipeline: &Pipeline,
) -> anyhow::Result<Handle> {
    let (commands, received) = mpsc::channel(16);
    let metrics = Arc::new(WorkerMetrics::default());
    let parts = Parts {
        listeners,
        dns,
        settings: settings.clone(),
        dialer: dialer.clone(),
        metrics: metrics.clone(),
        producer: pipeline.producer(),
        commands: received,
    };
    let thread = std::thread::Builder::new()
        .name(format!("weir-data-{n}"))
        .spawn(move || worker::run(parts))
        .context("cannot start a data thread")?;
    Ok(Handle {
        metrics,
        commands,
        thread,
    })
}

fn open_endpoints(config: &Config) -> anyhow::Result<Vec<(Endpoint, TcpListener)>> {
    let relay = &config.relay;
    [
        (Endpoint::Admin, relay.admin_port),
        (Endpoint::Health, relay.health_port),
        (Endpoint::Metrics, relay.metrics_port),
    ]
    .into_iter()
    .filter(|(_, port)| *port != 0)
    .map(|(endpoint, port)| Ok((endpoint, admin::listen(endpoint, port)?)))
    .collect()
}

async fn serve_until_signal(
    config: &Config,
    endpoints: Vec<(Endpoint, TcpListener)>,
    state: Arc<State>,
    workers: &[Handle],
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for (endpoint, listener) in endpoints {
        tokio::spawn(admin::serve(endpoint, listener, state.clone()));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = any_ended(workers) => tracing::error!("a data thread has ended: giving up"),
    }
    state.draining.store(true, Ordering::Relaxed);
    tracing::info!(period = %config.relay.drain, "draining: no new connections, the open ones may end");
    for worker in workers {
        // A thread that has ended already has nothing to drain.
        let _ = worker.commands.send(Command::Drain(config.relay.drain.0)).await;
    }
    for worker in workers {
        // The endpoints go on answering while the connections end.
        worker.commands.closed().await;
    }
    Ok(())
}

/// A data thread ends by itself only if it fails.
async fn any_ended(workers: &[Handle]) {
    let mut ends: Vec<_> = workers
        .iter()
        .map(|worker| Box::pin(worker.commands.closed()))
        .collect();
    std::future::poll_fn(
        |cx| match ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        },
    )
    .await;
}
