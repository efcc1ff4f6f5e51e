//! The composition root: makes every part from the configuration, starts them, and ends them in order. [`relay`] and
//! [`tap`] are the two kinds of data threads; the second may run beside the first.

mod relay;
mod tap;

use crate::{
    admin::{self, Endpoint, State},
    identity::{self, Identity},
    legs::Legs,
    metrics::{Metrics, WorkerMetrics},
    mode::{InForce, Reader},
    own::Known,
    privilege::Privileges,
    worker::Command,
};
use anyhow::Context;
use std::{
    io,
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
use weir_config::{Config, Mode};
use weir_export::Pipeline;
use weir_records::Names;

/// How long the sinks may take to deliver what is queued once the connections have ended.
const SINK_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the sidecar until SIGTERM or SIGINT and the end of the drain.
///
/// # Errors
/// Something that was asked for can't be had; the error says what to do.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let files = identity::raise_open_files();
    let set = &config.interception;
    // A runtime of this thread alone: capabilities are a thread's own, and there is no other one yet.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the main runtime")?;
    let reader = {
        let _inside = runtime.enter();
        Reader::open().context("cannot ask for routes")?
    };
    let mut mode = Arc::new(InForce::default());
    runtime.block_on(reader.read(&mode));
    let is_tap = match set.mode {
        Mode::Tap => true,
        Mode::Auto => mode.get().is_none(),
        _ => false,
    };
    let identity = match is_tap {
        true => identity::for_tap(set.proxy_uid, set.proxy_gid).map(|()| None),
        false => identity::assume(set.proxy_uid, set.proxy_gid, set.own_mark()).map(Some),
    }?;
    // Its own endpoints first: their ports are exclusive, so that a second sidecar in the same namespace ends here and
    // not beside the first one's listeners, which can be shared.
    let endpoints = {
        let _inside = runtime.enter();
        open_endpoints(config)?
    };
    let names = Arc::new(Names::default());
    let (source, beside) = match identity {
        Some(identity) => relay_with_tap(config, identity, &mode, &names)?,
        None => {
            mode = Arc::new(InForce::of(Mode::Tap));
            (tap::open(config, &names)?, None)
        }
    };

    let pipeline = Pipeline::start(&config.sinks)?;
    let privileges = source.privileges;
    let mut workers = (source.start)(&pipeline)?;
    if let Some(beside) = beside {
        workers.extend((beside.start)(&pipeline)?);
    }
    tracing::info!(
        threads = workers.len(),
        files,
        listeners = %source.listens_on,
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
    if !is_tap {
        runtime.spawn(reader.follow(mode, privileges, config.relay.source_address));
    }
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

/// A relay, and beside it a tap if one is wanted and to be had.
fn relay_with_tap(
    config: &Config,
    identity: Identity,
    mode: &Arc<InForce>,
    names: &Arc<Names>,
) -> anyhow::Result<(Source, Option<Source>)> {
    let legs = Arc::new(Legs::default());
    let beside = config.capture.beside.then(|| {
        // Before the relay gives up the capability that it takes.
        tap::beside(config, &legs, mode, names).inspect_err(|error| {
            tracing::warn!(
                "no tap beside the relay, which goes on: what is not redirected is not seen: {error:#}"
            );
        })
    });
    let beside = beside.and_then(Result::ok);
    // Whoever is not known by its user looks whether its own connections come back to it.
    let told = (beside.is_some() || identity.known != Known::User).then_some(legs);
    Ok((relay::open(config, identity, mode, names, told)?, beside))
}

/// What is observed, opened and ready to start.
struct Source {
    /// What the process may still do.
    privileges: Privileges,
    /// Its ports, for people.
    listens_on: String,
    /// Starts the data threads.
    start: Start,
}

type Start = Box<dyn FnOnce(&Pipeline) -> anyhow::Result<Vec<Handle>>>;

/// A data thread, seen from the main one.
#[derive(Debug)]
struct Handle {
    metrics: Arc<WorkerMetrics>,
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<io::Result<()>>,
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

fn spawn(
    n: usize,
    commands: mpsc::Sender<Command>,
    metrics: Arc<WorkerMetrics>,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> anyhow::Result<Handle> {
    let thread = std::thread::Builder::new()
        .name(format!("weir-data-{n}"))
        .spawn(run)
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
