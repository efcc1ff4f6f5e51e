//! Carries queries and answers.
//!
//! Each client's socket has, for each resolver that it asks, a connected socket of its own towards that resolver: a flow.
//! What comes from one side goes to the other as it is, whether it can be read as DNS or not, and no answer can reach
//! anybody but the socket that asked for it. A flow whose queries are answered goes soon; one that is not answered stays
//! for as long as a late answer may still be of use.

use super::{
    listen::Listener,
    socket::{QuerySocket, Received},
};
use crate::{
    legs::Leg,
    metrics::WorkerMetrics,
    observe::Watcher,
    original::{ClientAddress, OriginalDestination},
    own::Own,
    relay::Observer,
    seldom::Seldom,
    worker::{OpenTask, Worker},
};
use socket2::SockRef;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{Interest, Ready, unix::AsyncFd},
    net::UdpSocket,
    sync::watch,
    task::{AbortHandle, spawn_local, yield_now},
    time::{Instant, sleep_until},
};
use weir_capture::Transport;
use weir_protocols::{Close, Side, dns::TIMEOUT};
use weir_records::Direction;

/// Flows at once; each has a descriptor.
const MAX_FLOWS: usize = 8192;
/// Flows that make room at once when there are so many.
const MAKE_ROOM: usize = 256;
/// How long an answered flow stays: its socket may ask again, or be answered twice.
const LINGER: Duration = Duration::from_secs(2);
/// How long after its last query an unanswered one stays for an answer that is late.
const LATE: Duration = Duration::from_secs(30);
/// How often a flow looks at the time.
const LOOK: Duration = Duration::from_secs(1);
/// Datagrams that are taken from one socket before others have their turn.
const BURST: usize = 64;
/// Larger than any datagram.
const BUFFER: usize = 1 << 16;

/// The flows of all sockets.
struct Table {
    worker: Rc<Worker>,
    flows: RefCell<HashMap<Key, Entry>>,
    buffer: RefCell<Box<[u8]>>,
    /// The sidecar is ending: what is asked from now on does not hold it up.
    draining: Cell<bool>,
    /// Complaints about answers that can't be sent.
    no_reply: Seldom,
}

/// Who asks whom, and at which socket the query arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: SocketAddr,
    server: SocketAddr,
    local: SocketAddr,
}

struct Entry {
    flow: Rc<Flow>,
    task: AbortHandle,
}

/// One client's socket and one resolver.
struct Flow {
    upstream: UdpSocket,
    /// What is told of it, and of the client's socket.
    _legs: [Option<Leg>; 2],
    watcher: RefCell<Watcher>,
    waiting: Cell<u32>,
    last_query: Cell<Instant>,
    last: Cell<Instant>,
    /// Held while an answer may come in time.
    open: RefCell<Option<OpenTask>>,
}

/// Carries what arrives at these sockets, until the thread ends.
///
/// # Errors
/// A socket can't be watched: out of descriptors.
pub fn start(
    worker: &Rc<Worker>,
    listeners: Vec<Listener>,
    stopped: &watch::Receiver<bool>,
) -> io::Result<()> {
    let table = Rc::new(Table {
        worker: worker.clone(),
        flows: RefCell::default(),
        buffer: RefCell::new(vec![0; BUFFER].into_boxed_slice()),
        draining: Cell::new(false),
        no_reply: Seldom::default(),
    });
    for listener in listeners {
        let resolver = listener.resolver;
        let socket = Rc::new(listener.socket.watch()?);
        spawn_local(queries(table.clone(), socket, resolver, stopped.clone()));
    }
    Ok(())
}

type Socket = Rc<AsyncFd<QuerySocket>>;

async fn queries(
    table: Rc<Table>,
    socket: Socket,
    resolver: Option<SocketAddr>,
    stopped: watch::Receiver<bool>,
) {
    let mut stopped = Some(stopped);
    let mut overflow = 0;
    loop {
        let ready = match &mut stopped {
            None => socket.readable().await,
            Some(signal) => tokio::select! {
                ready = socket.readable() => ready,
                _ = signal.changed() => {
                    // Queries are carried for as long as connections are, for those need names.
                    table.draining.set(true);
                    stopped = None;
                    continue;
                }
            },
        };
        // It fails only if the reactor is gone, and everything with it.
        let Ok(mut guard) = ready else { return };
        let mut buffer = table.take_buffer();
        for _ in 0..BURST {
            match socket.get_ref().receive(&mut buffer) {
                Ok(received) => {
                    let lost = received.overflow.wrapping_sub(overflow);
                    overflow = received.overflow;
                    table.metrics().dns.lost("socket_buffer", lost.into());
                    table.query(&socket, resolver, received, &buffer[..received.length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                    break;
                }
                // About one datagram, such as one whose checksum is wrong.
                Err(_) => {}
            }
        }
        table.buffer.replace(buffer);
        yield_now().await;
    }
}

impl Table {
    fn metrics(&self) -> &WorkerMetrics {
        &self.worker.metrics
    }

    /// The thread's buffer: nobody else runs until it is back.
    fn take_buffer(&self) -> Box<[u8]> {
        self.buffer.take()
    }

    /// Passes one query on.
    fn query(
        self: &Rc<Self>,
        socket: &Socket,
        resolver: Option<SocketAddr>,
        received: Received,
        bytes: &[u8],
    ) {
        let Some(server) = received.asked.or(resolver) else {
            return self.metrics().dns.lost("no_resolver", 1);
        };
        if self.worker.dialer.is_own(received.client, server) {
            return self.metrics().dns.lost("loop", 1);
        }
        let key = Key {
            client: received.client,
            server,
            local: socket.get_ref().local(),
        };
        let from = received.asked.map(|asked| asked.ip());
        // Twice: where the resolver's machine has refused an earlier query, that is what the first `send` tells.
        for _ in 0..2 {
            let flow = match self.flow(key, socket, from) {
                Ok(flow) => flow,
                Err(reason) => return self.metrics().dns.lost(reason, 1),
            };
            match SockRef::from(&flow.upstream).send(bytes) {
                Ok(_) => return flow.asked(self, bytes),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused(&key, &flow),
                Err(_) => break,
            }
        }
        self.metrics().dns.lost("send_failed", 1);
    }

    fn flow(
        self: &Rc<Self>,
        key: Key,
        socket: &Socket,
        from: Option<IpAddr>,
    ) -> Result<Rc<Flow>, &'static str> {
        if let Some(entry) = self.flows.borrow().get(&key) {
            return Ok(entry.flow.clone());
        }
        if self.flows.borrow().len() >= MAX_FLOWS {
            self.make_room();
        }
        let upstream = connect(self.worker.dialer.own(), key.server).map_err(|_| "no_socket")?;
        let now = Instant::now();
        let ends = (ClientAddress(key.client), OriginalDestination(key.server));
        let port = key.server.port();
        let watcher = self.worker.watch(
            Direction::Egress,
            ends,
            self.worker.documents.clock(),
            Transport::Udp,
            None,
            |decoders| decoders.datagrams(port, false),
        );
        let dialer = &self.worker.dialer;
        let own = upstream.local_addr().ok();
        let flow = Rc::new(Flow {
            _legs: [
                dialer.accepted(key.client, key.server),
                own.and_then(|own| dialer.accepted(own, key.server)),
            ],
            upstream,
            watcher: RefCell::new(watcher),
            waiting: Cell::new(0),
            last_query: Cell::new(now),
            last: Cell::new(now),
            open: RefCell::default(),
        });
        let task = spawn_local(answers(self.clone(), key, flow.clone(), socket.clone(), from));
        let entry = Entry {
            flow: flow.clone(),
            task: task.abort_handle(),
        };
        self.flows.borrow_mut().insert(key, entry);
        Ok(flow)
    }

    /// Ends the flows that are worth least: those that are answered, then those that have waited for longest. Where a resolver
    /// is dead, queries to the next one find room.
    fn make_room(&self) {
        let mut flows = self.flows.borrow_mut();
        let worth = |(key, entry): (&Key, &Entry)| {
            let flow = &entry.flow;
            (flow.waiting.get() > 0, flow.last_query.get(), *key)
        };
        let mut all: Vec<_> = flows.iter().map(worth).collect();
        let least = MAKE_ROOM.min(all.len());
        if least > 0 {
            all.select_nth_unstable_by_key(least - 1, |(waits, asked, _)| (*waits, *asked));
        }
        for (waits, _, key) in all.into_iter().take(least) {
            if let Some(entry) = flows.remove(&key) {
                entry.task.abort();
                self.metrics().dns.lost("evicted", u64::from(waits));
            }
        }
    }

    fn not_passed_back(&self, error: &io::Error, socket: &QuerySocket, from: Option<IpAddr>) {
        self.metrics().dns.lost("reply_failed", 1);
        if self.no_reply.now() {
            let advice = match from {
                Some(_) if !socket.is_transparent() => {
                    "; to answer from a resolver's address the sidecar needs the capability NET_RAW"
                }
                _ => "",
            };
            tracing::warn!(%error, "an answer can't be passed back{advice}");
        }
    }

    /// Nobody listens at the resolver's address, its machine says.
    fn refused(&self, key: &Key, flow: &Rc<Flow>) {
        flow.watcher.borrow_mut().close(Close::Reset(Side::Server));
        if let Some(entry) = self.remove(key, flow) {
            entry.task.abort();
        }
    }

    fn remove(&self, key: &Key, flow: &Rc<Flow>) -> Option<Entry> {
        let mut flows = self.flows.borrow_mut();
        let same = flows.get(key).is_some_and(|entry| Rc::ptr_eq(&entry.flow, flow));
        same.then(|| flows.remove(key)).flatten()
    }
}

/// Passes answers back, and ends the flow when its time has come.
async fn answers(table: Rc<Table>, key: Key, flow: Rc<Flow>, socket: Socket, from: Option<IpAddr>) {
    loop {
        tokio::select! {
            ready = flow.upstream.ready(Interest::READABLE.add(Interest::ERROR)) => {
                let mut buffer = table.take_buffer();
                let result = ready.and_then(|ready| flow.pass_back(ready, &table, key.client, &socket, from, &mut buffer));
                table.buffer.replace(buffer);
                if result.is_err() {
                    break table.refused(&key, &flow);
                }
                yield_now().await;
            }
            () = sleep_until(Instant::now() + LOOK) => {
                flow.watcher.borrow_mut().tick();
                if flow.is_over() {
                    flow.watcher.borrow_mut().close(Close::Abandoned);
                    break drop(table.remove(&key, &flow));
                }
            }
        }
    }
}

impl Flow {
    /// A query has gone out.
    fn asked(&self, table: &Table, bytes: &[u8]) {
        table.metrics().dns.queries.add(1);
        let now = Instant::now();
        self.last_query.set(now);
        self.last.set(now);
        self.waiting.set(self.waiting.get().saturating_add(1));
        if !table.draining.get() {
            self.open
                .borrow_mut()
                .get_or_insert_with(|| OpenTask::new(&table.worker));
        }
        self.watcher.borrow_mut().data(Side::Client, bytes);
    }

    /// Passes on what has come from the resolver.
    fn pass_back(
        &self,
        ready: Ready,
        table: &Table,
        client: SocketAddr,
        socket: &Socket,
        from: Option<IpAddr>,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        for _ in 0..BURST {
            let length = match self.upstream.try_recv(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let answer = &buffer[..length];
            match socket.get_ref().send(answer, client, from) {
                Ok(()) => table.metrics().dns.answers.add(1),
                Err(error) => table.not_passed_back(&error, socket.get_ref(), from),
            }
            self.last.set(Instant::now());
            self.waiting.set(self.waiting.get().saturating_sub(1));
            if self.waiting.get() == 0 {
                self.open.take();
            }
            self.watcher.borrow_mut().data(Side::Server, answer);
        }
        // What its machine has said of the resolver (ICMP); without an error there, a query was told of it.
        if ready.is_error() {
            return Err(self
                .upstream
                .take_error()?
                .unwrap_or(io::ErrorKind::ConnectionRefused.into()));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        if self.last_query.get().elapsed() >= TIMEOUT {
            self.open.take();
        }
        let answered = self.waiting.get() == 0 && self.last.get().elapsed() >= LINGER;
        answered || self.last_query.get().elapsed() >= LATE
    }
}

/// A socket that takes nothing but this server's answers. Its port is the kernel's choice, at random.
fn connect(own: Own, server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = own.udp(server)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.connect(&server.into())?;
    UdpSocket::from_std(socket.into())
}
