//! Mode `tap`: a data thread that only looks. Packets come from a packet socket, and the decoders are fed from them; nothing
//! is accepted, dialled or relayed.
//!
//! [`own`] tells the sidecar's own traffic from what is observed, and [`beside`] what a relay beside it leaves.

pub mod beside;
pub mod own;

use crate::{
    metrics::WorkerMetrics,
    worker::{Command, Documents},
};
use std::{
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    time::{Duration, Instant, sleep_until},
};
use weir_capture::{Settings, Sink, Tap, Tracker};
use weir_config::{Config, Pinned};
use weir_export::Producer;
use weir_protocols::Exchange;
use weir_records::{Flow, Names, Policy, Report, Timestamp};

/// Full blocks that are read before anything else gets its turn.
const BLOCKS: usize = 16;
/// Between two looks at the interfaces, at what waits for too long, and at what was lost.
const PERIOD: Duration = Duration::from_secs(1);
/// The same while no flow is followed. (Packets that come after a time of silence have the interfaces looked at again first.)
const IDLE_PERIOD: Duration = Duration::from_secs(16);

/// The parts that a data thread is made of; sent to it.
#[derive(Debug)]
pub struct Parts {
    /// Its packets.
    pub tap: Tap,
    /// What the tracker is told.
    pub settings: Settings,
    /// What documents may hold.
    pub policy: Arc<Policy>,
    /// What addresses are called, as all threads have seen it.
    pub names: Arc<Names>,
    /// Its counters.
    pub metrics: Arc<WorkerMetrics>,
    /// Its way to the sinks.
    pub producer: Producer,
    /// What the main thread has to say.
    pub commands: mpsc::Receiver<Command>,
}

/// What is to be seen, by the configuration.
pub fn selection(config: &Config) -> weir_capture::Selection {
    weir_capture::Selection {
        interfaces: weir_capture::Interfaces::Except(config.interception.exclude_interfaces.0.clone()),
        dns: config.decoding.protocols.ports(Pinned::Dns),
        datagrams: match config.flows.enabled {
            true => weir_capture::Datagrams::Headers,
            false => weir_capture::Datagrams::None,
        },
        snaplen: u32::try_from(config.capture.snaplen.0).unwrap_or(u32::MAX),
        ..weir_capture::Selection::default()
    }
}

/// Runs until drained.
///
/// # Errors
/// The runtime can't be made or the socket can't be watched: out of descriptors.
pub fn run(parts: Parts) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut worker = Worker {
        tracker: Tracker::new(parts.settings),
        outlet: Outlet {
            documents: Documents::new(parts.producer, parts.policy, parts.names),
            metrics: parts.metrics,
        },
        lost: 0,
    };
    let result = runtime.block_on(worker.follow(parts.tap, parts.commands));
    worker.tracker.finish(&mut worker.outlet);
    worker.count();
    worker.outlet.documents.flush();
    result
}

struct Worker {
    tracker: Tracker,
    outlet: Outlet,
    /// Packets that found no room in the ring.
    lost: u64,
}

/// Takes what the tracker finds.
struct Outlet {
    documents: Documents,
    metrics: Arc<WorkerMetrics>,
}

impl Sink for Outlet {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        self.metrics.exchange(&exchange);
        self.documents.push(&exchange, flow, None);
    }

    fn flow(&mut self, flow: &Flow, report: Report) {
        self.documents.report(report, flow, None);
    }
}

impl Worker {
    async fn follow(&mut self, tap: Tap, mut commands: mpsc::Receiver<Command>) -> io::Result<()> {
        let mut tap = watch(tap)?;
        // Who finds the sidecar ready finds its counters.
        self.count();
        let mut looked = Instant::now();
        // When the counters and documents of the packets that were read are handed on.
        let mut flush = None;
        loop {
            let period = if self.tracker.is_idle() {
                IDLE_PERIOD
            } else {
                PERIOD
            };
            tokio::select! {
                ready = tap.readable_mut() => {
                    let mut ready = ready?;
                    if looked.elapsed() >= PERIOD {
                        looked = Instant::now();
                        self.look(ready.get_inner_mut());
                    }
                    flush.get_or_insert_with(|| Instant::now() + Producer::FLUSH_INTERVAL);
                    if !self.read(ready.get_inner_mut()) {
                        ready.clear_ready();
                    }
                    // Other tasks have their turn, though there may be more.
                    tokio::task::yield_now().await;
                }
                () = sleep_until(flush.unwrap_or_else(Instant::now)), if flush.is_some() => {
                    // Counted before they are handed on: who has the documents sees them in the counters.
                    self.count();
                    let stayed = self.outlet.documents.flush();
                    flush = stayed.then(|| Instant::now() + Producer::FLUSH_INTERVAL);
                }
                () = sleep_until(looked + period) => {
                    looked = Instant::now();
                    self.look(tap.get_mut());
                    self.count();
                    if self.outlet.documents.are_waiting() {
                        flush.get_or_insert_with(|| Instant::now() + Producer::FLUSH_INTERVAL);
                    }
                }
                command = commands.recv() => match command {
                    // The asker may have stopped waiting.
                    Some(Command::Ping(answer)) => drop(answer.send(())),
                    // Sockets of a relay are a relay's.
                    Some(Command::Adopt(_)) => {}
                    Some(Command::Drain(_)) | None => {
                        // What has been seen so far.
                        tokio::time::sleep(Tap::DELAY).await;
                        while self.read(tap.get_mut()) {}
                        return Ok(());
                    }
                },
            }
        }
    }

    /// Reads blocks; true if there may be more.
    fn read(&mut self, tap: &mut Tap) -> bool {
        // What was lost so far is told to the flows whose packets are there now.
        self.ask_for_losses(tap);
        let Self { tracker, outlet, .. } = self;
        (0..BLOCKS).all(|_| tap.read(&mut |packet| tracker.packet(packet, outlet)).is_some())
    }

    fn look(&mut self, tap: &mut Tap) {
        self.ask_for_losses(tap);
        self.tracker.tick(now(), &mut self.outlet);
        if let Err(error) = tap.refresh() {
            tracing::warn!(%error, "cannot look for interfaces");
        }
    }

    fn ask_for_losses(&mut self, tap: &Tap) {
        match tap.statistics() {
            Ok(statistics) => {
                let lost = u64::from(statistics.dropped);
                self.lost += lost;
                self.tracker.lost(lost);
            }
            Err(error) => tracing::warn!(%error, "cannot ask what was lost"),
        }
    }

    fn count(&self) {
        self.outlet.metrics.captured(self.tracker.counters(), self.lost);
    }
}

/// Has the runtime watch it for packets.
#[allow(unsafe_code, reason = "a registration, which has no safe form")]
fn watch(tap: Tap) -> io::Result<AsyncFd<Tap>> {
    // SAFETY: the tap owns its descriptor, which stays open and the same until it is dropped, and that is with the AsyncFd.
    Ok(unsafe { AsyncFd::register_with_interest(tap, Interest::READABLE) }?)
}

/// The clock by which the kernel notes when it saw a packet.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
