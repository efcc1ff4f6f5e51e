//! The composition root: makes every part from the configuration, starts them, and ends them in order. [`ground`] is
//! what is opened before the first thread exists; [`relay`] and [`tap`] are the two kinds of data threads, the second of
//! which may run beside the first; [`crew`] is all data threads together; [`orders`] is what ends them.

mod crew;
mod ground;
mod idle;
mod orders;
mod relay;
mod tap;

pub use crew::Share;
pub(crate) use ground::{Ground, Role};

use crate::{
    admin::{self, State},
    condition::{Condition, Degraded, Restarts},
    drain::{self, OwnListeners, Why},
    legs::Legs,
    metrics::Metrics,
    mode::{self, InForce, Reader},
    own::Known,
    privilege::Privileges,
    supervisor::{self, Word},
};
use anyhow::Context;
use crew::{Crew, Source};
use orders::{Order, Orders};
use std::{
    os::unix::net::UnixStream,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, runtime::Runtime};
use weir_config::{Config, Mode, OnFailure};
use weir_export::Pipeline;
use weir_records::Names;

/// How long sinks that work may take to deliver what is queued once the connections have ended.
const SINK_PATIENCE: Duration = Duration::from_secs(3);
/// The same where the end is to come at once.
const HURRIED_PATIENCE: Duration = Duration::from_millis(500);
/// How long the parent may take to close its listening sockets.
const PARENT_PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries to start what the system had no thread for.
const TEND_PERIOD: Duration = Duration::from_secs(5);

/// Runs the sidecar until SIGTERM or SIGINT and the end of the drain.
///
/// # Errors
/// Something that was asked for can't be had; the error says what to do.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let Some(ground) = ground_or_idle(config)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if config.relay.supervise && ground.can_relay() {
        return supervisor::run(config, ground);
    }
    match serve(config, ground, Life::default())? {
        End::Well => Ok(ExitCode::SUCCESS),
        End::RoleChanged => anyhow::bail!(
            "traffic is now redirected here: start the sidecar again, so that it relays; without --supervise off it does so by itself"
        ),
    }
}

/// Opens what must be opened first. Where Weir's own failure must not hold the application up, waits until that can be
/// had; nothing if the end came before.
fn ground_or_idle(config: &Config) -> anyhow::Result<Option<Ground>> {
    loop {
        match Ground::open(config) {
            Ok(ground) => return Ok(Some(ground)),
            Err(error) if config.on_failure == OnFailure::Degrade => {
                if !idle::wait(config, &format!("{error:#}"))? {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a worker process is told by the parent that starts it.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// The way to the parent and back; nothing without a parent.
    pub(crate) link: Option<UnixStream>,
    /// Earlier workers.
    pub(crate) restarts: Restarts,
    /// Why nothing is to be decoded or exported, if so.
    pub(crate) relay_only: Option<String>,
    /// The end of the drain period, if draining has begun already.
    pub(crate) drain_until: Option<Instant>,
}

/// How a worker's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to end.
    Well,
    /// An installation has come, and what was a tap must become a relay.
    RoleChanged,
}

/// Carries and observes traffic until it is asked to end.
///
/// # Errors
/// Something that is needed can't be had, or every data thread has failed.
pub(crate) fn serve(config: &Config, ground: Ground, life: Life) -> anyhow::Result<End> {
    let condition = Arc::new(Condition::after(life.restarts.clone()));
    let mut config = config.clone();
    if let Some(why) = &life.relay_only {
        condition.degrade(Degraded::RelayOnly, why.as_str());
        config.decoding.enabled = false;
        config.flows.enabled = false;
        config.capture.beside = false;
        config.sinks.clear();
    }
    for why in ground.missing_endpoints() {
        condition.degrade(Degraded::Endpoint, why);
    }
    // A runtime of this thread alone: capabilities are a thread's own, and there is no other one yet.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the main runtime")?;
    let orders = {
        let _inside = runtime.enter();
        Orders::new(life.link.as_ref()).context("cannot wait for signals")?
    };
    let worker = Worker::assemble(&config, &runtime, ground, condition)?;
    worker.run(&config, runtime, orders, life)
}

/// Everything that was opened, before it is started.
struct Worker {
    role: Role,
    /// It may become a relay.
    can_relay: bool,
    mode: Arc<InForce>,
    /// The mode of redirection that is installed, whatever this worker does.
    installed: Arc<InForce>,
    reader: Option<Reader>,
    sources: Vec<Source>,
    endpoints: Vec<(admin::Endpoint, std::net::TcpListener)>,
    own: OwnListeners,
    condition: Arc<Condition>,
}

impl Worker {
    fn assemble(
        config: &Config,
        runtime: &Runtime,
        mut ground: Ground,
        condition: Arc<Condition>,
    ) -> anyhow::Result<Self> {
        let installed = Arc::new(InForce::default());
        let reader = {
            let _inside = runtime.enter();
            Reader::open()
        };
        let reader =
            reader.inspect_err(|error| tracing::warn!(%error, "cannot ask for the mode of redirection"));
        let mut reader = reader.ok();
        if let Some(reader) = &mut reader {
            runtime.block_on(reader.read(&installed));
        }
        let role = ground.role();
        let mode = match role {
            Role::Relay => installed.clone(),
            Role::Tap => Arc::new(InForce::of(Mode::Tap)),
        };
        let own = ground.own();
        let can_relay = ground.can_relay();
        let opened = open_sources(config, &mut ground, &mode, &condition);
        let sources = match opened {
            Ok(sources) => sources,
            Err(error) if config.on_failure == OnFailure::Degrade => {
                condition.degrade(Degraded::NotWorking, format!("{error:#}"));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            role,
            can_relay,
            mode,
            installed,
            reader,
            sources,
            endpoints: ground.into_endpoints(),
            own,
            condition,
        })
    }

    fn run(mut self, config: &Config, runtime: Runtime, orders: Orders, life: Life) -> anyhow::Result<End> {
        let mut pipeline = Pipeline::prepare(&config.sinks)?;
        let privileges = self
            .sources
            .first()
            .map_or(Privileges::default(), |source| source.privileges);
        let listens_on = self
            .sources
            .first()
            .map_or("no port".to_owned(), |source| source.listens_on.clone());
        let sources = std::mem::take(&mut self.sources);
        let crew = match Crew::start(sources, &pipeline, &self.condition) {
            Err(error) if config.on_failure == OnFailure::Degrade => {
                self.condition.degrade(Degraded::NotWorking, format!("{error:#}"));
                Crew::default()
            }
            started => started?,
        };
        // Where threads are short, those that carry traffic have come first.
        pipeline.tend();
        if crew.len() == 0 && mode::refuses_without_relay(self.installed.get()) {
            self.condition
                .refuse(Some("traffic is redirected here, and nobody relays it".into()));
        }
        tracing::info!(
            threads = crew.len(),
            listeners = %listens_on,
            mode = self.mode.name(),
            net_raw = privileges.foreign_source,
            "started"
        );
        let state = Arc::new(State {
            config: config.to_yaml().map_err(anyhow::Error::msg)?,
            metrics: Metrics::new(crew.metrics(), pipeline.stats()).about(self.condition.clone()),
            workers: crew.commands(),
            mode: self.mode.clone(),
            privileges,
            condition: self.condition.clone(),
            draining: AtomicBool::new(false),
        });
        let mut parts = Running {
            worker: self,
            state,
            crew,
            orders,
        };
        let result = runtime.block_on(parts.attend(config, &mut pipeline, &life));
        let Running { crew, mut orders, .. } = parts;
        crew.join();
        // Nothing is carried any more, and what is left is the sinks' affair.
        pipeline.shutdown(match orders.is_hurried() {
            true => HURRIED_PATIENCE,
            false => SINK_PATIENCE,
        });
        if matches!(result, Ok(End::Well)) {
            tracing::info!("ended");
        }
        result
    }
}

/// A worker while it runs.
struct Running {
    worker: Worker,
    state: Arc<State>,
    crew: Crew,
    orders: Orders,
}

impl Running {
    async fn attend(&mut self, config: &Config, pipeline: &mut Pipeline, life: &Life) -> anyhow::Result<End> {
        for (endpoint, listener) in std::mem::take(&mut self.worker.endpoints) {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(admin::serve(endpoint, listener, self.state.clone()))),
                Err(error) => self
                    .worker
                    .condition
                    .degrade(Degraded::Endpoint, format!("the {endpoint:?} endpoint: {error}")),
            }
        }
        let mut watched = self.follow_mode(config);
        if self.crew.len() == 0 {
            // Whoever connects is refused rather than left to wait.
            self.orders.tell(Word::Closing);
        }
        self.orders.tell(Word::Started);
        if let Some(until) = life.drain_until {
            self.drain(until).await;
            return Ok(End::Well);
        }
        let mut tend = tokio::time::interval(TEND_PERIOD);
        let role_changed = loop {
            tokio::select! {
                order = self.orders.next() => {
                    let period = if order == Order::Now { Duration::ZERO } else { config.relay.drain.0 };
                    self.drain(Instant::now() + period).await;
                    break false;
                }
                () = self.crew.one_ended() => {
                    if !self.crew.take_over(&self.worker.condition) {
                        self.state.draining.store(true, Ordering::Relaxed);
                        anyhow::bail!("every data thread has failed");
                    }
                }
                () = installation(&mut watched, &self.worker.installed) => {
                    if self.worker.is_wanted_as_relay() {
                        break true;
                    }
                }
                _ = tend.tick() => pipeline.tend(),
            }
        };
        if role_changed {
            tracing::info!(
                mode = self.worker.installed.name(),
                "traffic is now redirected here: the tap ends, and a relay begins"
            );
            self.crew.drain(Duration::ZERO).await;
            return Ok(End::RoleChanged);
        }
        Ok(End::Well)
    }

    /// A relay follows the mode by itself; a tap gives the reader back, to be waited for.
    fn follow_mode(&mut self, config: &Config) -> Option<Reader> {
        let reader = self.worker.reader.take()?;
        if self.worker.role == Role::Tap {
            self.worker.is_wanted_as_relay();
            return Some(reader);
        }
        let (tell, condition) = (self.orders.teller(), self.worker.condition.clone());
        let (mode, privileges) = (self.worker.mode.clone(), self.state.privileges);
        let told = move |in_force: &InForce| {
            tell(Word::Mode(in_force.get()));
            match mode::unseen(in_force, privileges) {
                Some(why) => condition.degrade(Degraded::Unseen, why),
                None => condition.recover(Degraded::Unseen),
            }
        };
        told(&mode);
        tokio::spawn(reader.follow(mode, privileges, config.relay.source_address, told));
        None
    }

    /// Serves until nobody needs it any more or the time has come, then closes the listeners and ends what is open.
    async fn drain(&mut self, until: Instant) {
        self.state.draining.store(true, Ordering::Relaxed);
        if self.worker.role == Role::Relay && !self.orders.is_hurried() {
            let period = until.saturating_duration_since(Instant::now());
            tracing::info!(
                ?period,
                "draining: connections are served until the application has stopped listening and nothing is open"
            );
            // What listens on a whole machine says nothing of one application.
            let own = (self.state.mode.get() != Some(Mode::PortMap)).then_some(&self.worker.own);
            tokio::select! {
                why = drain::until_idle(&self.state.metrics, own, until) => {
                    if why == Why::Over {
                        tracing::warn!("the drain period is over");
                    }
                }
                () = self.orders.hurry() => tracing::warn!("asked again: ending at once"),
            }
        }
        // A listening socket that somebody keeps open would take connections that nobody serves.
        self.orders.tell(Word::Closing);
        self.orders.wait_for_parent(PARENT_PATIENCE).await;
        let left = match self.orders.is_hurried() {
            true => Duration::ZERO,
            false => until.saturating_duration_since(Instant::now()),
        };
        tokio::select! {
            () = self.crew.drain(left) => return,
            () = self.orders.hurry() => {}
        }
        self.crew.drain(Duration::ZERO).await;
    }
}

impl Worker {
    /// Whether this tap must become a relay. One that cannot says that traffic is refused.
    fn is_wanted_as_relay(&self) -> bool {
        let refusing = mode::refuses_without_relay(self.installed.get());
        if self.can_relay && self.installed.get().is_some() {
            return true;
        }
        let mode = self.installed.name();
        self.condition.refuse(refusing.then(|| {
            format!(
                "mode {mode} redirects traffic here and nobody relays it: this sidecar only looks; start it with --mode auto and as \
                 its own user, or run weir-init remove"
            )
        }));
        false
    }
}

/// Waits until the installed mode is another one; for ever without a reader.
async fn installation(reader: &mut Option<Reader>, installed: &InForce) {
    match reader {
        Some(reader) => reader.changed(installed).await,
        None => std::future::pending().await,
    }
}

/// Opens what carries or observes traffic, and gives up the capability that it took.
fn open_sources(
    config: &Config,
    ground: &mut Ground,
    mode: &Arc<InForce>,
    condition: &Condition,
) -> anyhow::Result<Vec<Source>> {
    let names = Arc::new(Names::default());
    let (Role::Relay, Some(identity)) = (ground.role(), ground.identity()) else {
        return Ok(vec![tap::open(config, &names)?]);
    };
    let sockets = ground.take_sockets(config)?;
    let legs = Arc::new(Legs::default());
    let beside = config.capture.beside.then(|| {
        // Before the relay gives up the capability that it takes.
        tap::beside(config, &legs, mode, &names)
    });
    let beside = match beside {
        Some(Err(error)) => {
            let why = format!(
                "no tap beside the relay, which goes on: what is not redirected is not seen: {error:#}"
            );
            condition.degrade(Degraded::TapBeside, why);
            None
        }
        Some(Ok(beside)) => Some(beside),
        None => None,
    };
    // Whoever is not known by its user looks whether its own connections come back to it.
    let told = (beside.is_some() || identity.known != Known::User).then_some(legs);
    let relay = relay::open(config, identity, sockets, mode, &names, told)?;
    Ok([relay].into_iter().chain(beside).collect())
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
