//! A data thread: its own listeners, its own runtime, its own connections, from accept to the last byte.

use crate::{
    app::Share,
    clock::{Clock, Timeline},
    connection,
    dial::Dialer,
    dns,
    flows::Flows,
    kept::Pool,
    listen::Arrival,
    metrics::WorkerMetrics,
    mode::InForce,
    observe::Watcher,
    original::Way,
    original::{ClientAddress, OriginalDestination},
    relay::Scratch,
    seldom::Seldom,
    socket::Acceptor,
    source::Source,
    waiting::Waiting,
};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::{LocalSet, spawn_local},
    time::sleep,
};
use weir_capture::Transport;
use weir_config::SourceAddress;
use weir_export::Producer;
use weir_protocols::{Decoder, Decoders, Exchange};
use weir_records::{Capture, Direction, Document, Flow, Names, Policy, Report};

/// Rest after a failed accept: whatever is short (descriptors, memory) does not come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What all data threads share.
#[derive(Debug)]
pub struct Settings {
    /// How connections are redirected, for the documents.
    pub mode: Arc<InForce>,
    /// Whose address the application is to see.
    pub source: SourceAddress,
    /// Silence before peers are probed.
    pub keepalive: Option<Duration>,
    /// Silence after which a connection is closed.
    pub idle: Option<Duration>,
    /// Largest read.
    pub max_buffer: usize,
    /// What makes the decoders; nothing where decoding is off.
    pub decoders: Option<Decoders>,
    /// Memory that the decoders of one thread may keep together.
    pub decoder_memory: usize,
    /// How often decoders that wait are told that time passes.
    pub look: Duration,
    /// What documents may hold.
    pub policy: Arc<Policy>,
    /// Name of the observed host or container.
    pub host: Option<Arc<str>>,
    /// Whether and when connections are told of as a whole.
    pub flows: weir_config::Flows,
    /// What addresses are called.
    pub names: Arc<Names>,
}

impl Settings {
    /// Which address a connection's dial is to have: a connection that came by NAT tells nothing of the routing that
    /// answers to its client's address need.
    pub fn source_of(
        &self,
        direction: Direction,
        way: Way,
        (client, server): (SocketAddr, SocketAddr),
    ) -> Source {
        match (self.source, direction, way) {
            (_, Direction::Egress, _) => Source::Application(client),
            // Applications may trust a client that is on this machine, and no other is to look like one.
            (_, _, Way::Mapped) if is_same_machine(client.ip(), server.ip()) => Source::Own,
            (SourceAddress::Client, Direction::Ingress, Way::InPlace) => Source::Client(client.ip()),
            _ => Source::Spare,
        }
    }
}

/// True if client and server are known to be one machine by their addresses alone.
fn is_same_machine(client: IpAddr, server: IpAddr) -> bool {
    client == server || (client.is_loopback() && server.is_loopback())
}

/// Where a thread's documents go.
#[derive(Debug)]
pub struct Documents {
    producer: RefCell<Producer>,
    wanted: bool,
    /// True while a document waits to be handed on.
    waiting: Cell<bool>,
    /// Woken by the first document that waits.
    filled: Notify,
    policy: Arc<Policy>,
    names: Arc<Names>,
    timeline: Timeline,
}

impl Documents {
    /// Documents under this policy, by this way; answers that they are about give the names of addresses.
    pub fn new(producer: Producer, policy: Arc<Policy>, names: Arc<Names>) -> Self {
        Self {
            wanted: producer.is_wanted(),
            producer: RefCell::new(producer),
            waiting: Cell::new(false),
            filled: Notify::new(),
            policy,
            names,
            timeline: Timeline::default(),
        }
    }

    /// A clock for a connection that begins now.
    pub fn clock(&self) -> Clock {
        self.timeline.start()
    }

    /// False if nobody wants them.
    pub fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// Hands on what waits; to be called [`Producer::FLUSH_INTERVAL`] after [`Self::filled`]. True if some had to stay.
    pub fn flush(&self) -> bool {
        self.waiting.set(self.producer.borrow_mut().flush());
        self.waiting.get()
    }

    /// True if some wait to be handed on.
    pub fn are_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// Waits until a document waits: without documents nobody wakes up to hand them on.
    pub async fn filled(&self) {
        while !self.waiting.get() {
            self.filled.notified().await;
        }
    }

    /// The document's times are those of this clock, or else those of packets, which are the wall clock's.
    fn hand_over(&self, document: &mut Document, clock: Option<Clock>) {
        let correction = clock.map_or(0, |clock| self.timeline.correction(clock));
        if correction != 0 {
            document.shift(correction);
        }
        self.producer.borrow_mut().push(document);
        if !self.waiting.replace(true) {
            self.filled.notify_one();
        }
    }

    /// Makes the exchange's document and hands it on, if anybody wants it; gives what the document calls its protocol.
    pub fn push(&self, exchange: &Exchange, flow: &Flow, clock: Option<Clock>) -> Option<&'static str> {
        if !self.wanted {
            return None;
        }
        let mut document = exchange.document(flow, &self.policy);
        self.names.learn(&document);
        self.hand_over(&mut document, clock);
        document.network.protocol
    }

    /// Makes the document of a flow as a whole, with the name of its destination, and hands it on.
    pub fn report(&self, mut report: Report, flow: &Flow, clock: Option<Clock>) {
        report.domain = self
            .names
            .of(flow.server.ip())
            .map(|name| name.as_ref().to_owned());
        self.hand_over(&mut report.document(flow), clock);
    }
}

/// What a data thread's connections share.
#[derive(Debug)]
pub struct Worker {
    /// The settings of all threads.
    pub settings: Arc<Settings>,
    /// Connects to original destinations.
    pub dialer: Arc<Dialer>,
    /// This thread's counters.
    pub metrics: Arc<WorkerMetrics>,
    /// This thread's documents.
    pub documents: Rc<Documents>,
    /// Its connections' decoders.
    pub decoders: Rc<Pool>,
    /// Those of its connections on which something may wait.
    pub waiting: Rc<Waiting>,
    /// The accounts of its connections, if they are told of as a whole.
    pub flows: Option<Rc<Flows>>,
    /// This thread's read buffer.
    pub scratch: Scratch,
    /// Complaints about addresses and ports that are missing.
    pub no_address: Seldom,
    no_accept: Seldom,
    open: Cell<usize>,
    empty: Notify,
}

impl Worker {
    /// Observes what goes on between a client and a server from now on. `connect` is what reaching the server took, in
    /// nanoseconds; `decoder` makes the decoder, if there is to be one.
    pub fn watch(
        &self,
        direction: Direction,
        (ClientAddress(client), OriginalDestination(server)): (ClientAddress, OriginalDestination),
        clock: Clock,
        transport: Transport,
        connect: Option<u64>,
        decoder: impl FnOnce(&Decoders) -> Option<Decoder>,
    ) -> Watcher {
        let host = self.settings.host.clone();
        let flow = Rc::new(Flow {
            id: Flow::identify(host.as_deref(), client, server, clock.started()),
            capture: Capture::Relay,
            mode: Some(self.settings.mode.name()),
            direction,
            client,
            server,
            opened: clock.started(),
            connect,
            host,
            wrapping: None,
        });
        let decoder = self.settings.decoders.as_ref().and_then(decoder);
        let decoder = decoder.map(|decoder| self.decoders.keep(decoder));
        let account = self.flows.as_ref();
        let account = account.map(|flows| flows.open(flow.clone(), clock, transport));
        let (documents, metrics) = (self.documents.clone(), self.metrics.clone());
        let watcher = Watcher::new(flow, clock, decoder, account, documents, metrics);
        match transport {
            Transport::Tcp => watcher.timed_by(&self.waiting),
            Transport::Udp => watcher,
        }
    }
}

/// What the main thread says to a data thread.
#[derive(Debug)]
pub enum Command {
    /// Answer: the way from here to there works.
    Ping(oneshot::Sender<()>),
    /// Serve these sockets too: the thread that had them has failed.
    Adopt(Share),
    /// Accept no more, and end once the open connections have, or so much later.
    Drain(Duration),
}

/// The parts that a data thread is made of; sent to it.
#[derive(Debug)]
pub struct Parts {
    /// Its sockets.
    pub share: Share,
    /// What it shares with the others.
    pub settings: Arc<Settings>,
    /// What it shares with the others.
    pub dialer: Arc<Dialer>,
    /// Its counters.
    pub metrics: Arc<WorkerMetrics>,
    /// Its way to the sinks.
    pub producer: Producer,
    /// What the main thread has to say.
    pub commands: mpsc::Receiver<Command>,
}

/// Runs until drained.
///
/// # Errors
/// The runtime can't be made or a listener can't be watched: out of descriptors.
pub fn run(parts: Parts) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let settings = &parts.settings;
    let documents = Rc::new(Documents::new(
        parts.producer,
        settings.policy.clone(),
        settings.names.clone(),
    ));
    let (decoder_memory, look) = (settings.decoder_memory, settings.look);
    let told_of = settings.flows.enabled && documents.are_wanted();
    let interval = settings.flows.interval.non_zero();
    let worker = Rc::new(Worker {
        scratch: RefCell::new(vec![0; parts.settings.max_buffer].into_boxed_slice()),
        settings: parts.settings,
        dialer: parts.dialer,
        decoders: Rc::new(Pool::new(decoder_memory, parts.metrics.clone())),
        metrics: parts.metrics,
        waiting: Rc::new(Waiting::new(look)),
        flows: told_of.then(|| Rc::new(Flows::new(interval, documents.clone()))),
        documents,
        no_address: Seldom::default(),
        no_accept: Seldom::default(),
        open: Cell::new(0),
        empty: Notify::new(),
    });
    let connections = LocalSet::new();
    let result = connections.block_on(&runtime, govern(worker.clone(), parts.share, parts.commands));
    // Whatever is still open is reset here, and recorded as abandoned.
    runtime.block_on(async { drop(connections) });
    worker.documents.flush();
    result
}

async fn govern(worker: Rc<Worker>, share: Share, mut commands: mpsc::Receiver<Command>) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    open(&worker, share, &stopped)?;
    drop(stopped);
    spawn_local(flush(worker.clone()));
    spawn_local(worker.waiting.clone().follow());
    if let Some(flows) = &worker.flows {
        spawn_local(flows.clone().follow());
    }
    while let Some(command) = commands.recv().await {
        match command {
            // The asker may have stopped waiting.
            Command::Ping(answer) => drop(answer.send(())),
            Command::Adopt(share) => open(&worker, share, &stop.subscribe())?,
            Command::Drain(deadline) => {
                // Nobody listens if there are no listeners.
                let _ = stop.send(true);
                // Every listener has emptied its queue and is closed.
                stop.closed().await;
                drain(&worker, deadline, &mut commands).await;
                break;
            }
        }
    }
    Ok(())
}

/// Serves these sockets until `stopped` says so.
fn open(worker: &Rc<Worker>, share: Share, stopped: &watch::Receiver<bool>) -> io::Result<()> {
    for listener in share.listeners {
        let socket = Acceptor::new(listener.socket, worker.settings.keepalive)?;
        spawn_local(accept(worker.clone(), listener.arrival, socket, stopped.clone()));
    }
    dns::relay::start(worker, share.dns, stopped)
}

/// Waits until every connection has ended, or the time has come, which a later command may bring forward.
async fn drain(worker: &Rc<Worker>, deadline: Duration, commands: &mut mpsc::Receiver<Command>) {
    let mut over = std::pin::pin!(sleep(deadline));
    loop {
        tokio::select! {
            () = all_closed(worker) => return,
            () = &mut over => {
                tracing::warn!(open = worker.open.get(), "the drain period is over: connections are reset");
                return;
            }
            command = commands.recv() => match command {
                Some(Command::Drain(sooner)) => over.set(sleep(sooner)),
                Some(Command::Ping(answer)) => drop(answer.send(())),
                Some(Command::Adopt(_)) => {}
                None => return all_closed(worker).await,
            },
        }
    }
}

async fn all_closed(worker: &Worker) {
    while worker.open.get() > 0 {
        worker.empty.notified().await;
    }
}

async fn flush(worker: Rc<Worker>) {
    loop {
        worker.documents.filled().await;
        sleep(Producer::FLUSH_INTERVAL).await;
        worker.documents.flush();
    }
}

async fn accept(worker: Rc<Worker>, arrival: Arrival, socket: Acceptor, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = poll_fn(|cx| socket.poll_accept(cx)) => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => spawn(&worker, arrival, stream, peer),
            Err(error) if is_about_the_connection(&error) => {}
            Err(error) => {
                worker.metrics.accept_errors.add(1);
                if worker.no_accept.now() {
                    tracing::warn!(%error, port = arrival.port, "cannot accept; is the limit of open files too low?");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Those that are in the queue were told that they are connected.
    while let Some((stream, peer)) = poll_fn(|cx| Poll::Ready(waiting(&socket, cx))).await {
        spawn(&worker, arrival, stream, peer);
    }
}

/// A connection that is there already.
fn waiting(socket: &Acceptor, cx: &mut Context<'_>) -> Option<(std::net::TcpStream, SocketAddr)> {
    match socket.poll_accept(cx) {
        Poll::Ready(Ok(accepted)) => Some(accepted),
        _ => None,
    }
}

/// A connection that was gone before it was accepted (accept(2), "Error handling").
fn is_about_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
    )
}

fn spawn(worker: &Rc<Worker>, arrival: Arrival, stream: std::net::TcpStream, peer: SocketAddr) {
    let open = OpenTask::new(worker);
    spawn_local(async move {
        let open = open;
        connection::serve(open.0.clone(), arrival, stream, peer).await;
    });
}

/// A connection's task, or a query that waits; tells the thread when the last one has gone.
#[derive(Debug)]
pub struct OpenTask(Rc<Worker>);

impl OpenTask {
    /// Something that the thread waits for when it drains.
    pub fn new(worker: &Rc<Worker>) -> Self {
        worker.open.set(worker.open.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for OpenTask {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0 {
            self.0.empty.notify_one();
        }
    }
}
