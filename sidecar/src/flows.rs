//! What is told of a connection as a whole, when it ends and while it lasts: its `weir.flow` documents.
//!
//! Bytes are those that were relayed. All else is the kernel's, asked for only when there is a document to make: each socket
//! of a connection tells of one leg of it, and [`Account::progress`] says what of that is known of either peer. One timer
//! of the data thread serves all of its connections.

use crate::{clock::Clock, relay::Pair, socket::Stream, tcp_info::TcpInfo, worker::Documents};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::yield_now, time::sleep};
use weir_capture::Transport;
use weir_protocols::{Protocol, Side};
use weir_records::{Direction, Flow, FlowEnd, Party, Progress, Reported, Sent, Timestamp};

/// Shortest time between two looks for flows that are to be told of.
const LOOK: Duration = Duration::from_secs(1);
/// Flows that are told of before the traffic has its turn again.
const BURST: usize = 16;

/// The flows of a data thread that are open.
#[derive(Debug)]
pub struct Flows {
    interval: Option<Duration>,
    documents: Rc<Documents>,
    started: Instant,
    /// By when they are to be told of next, and their number: to find those costs nothing for the others.
    open: RefCell<BTreeMap<(Due, u64), Rc<Account>>>,
    next: Cell<u64>,
    /// Woken when the first of them opens.
    opened: Notify,
}

/// Since the thread has started; nothing for never.
type Due = Option<Duration>;

impl Flows {
    /// None so far. Without an interval they are told of at their end alone.
    pub fn new(interval: Option<Duration>, documents: Rc<Documents>) -> Self {
        Self {
            interval,
            documents,
            started: Instant::now(),
            open: RefCell::default(),
            next: Cell::new(0),
            opened: Notify::new(),
        }
    }

    /// Begins a flow's account, which ends when what it gives is ended or dropped.
    pub fn open(self: &Rc<Self>, flow: Rc<Flow>, clock: Clock, transport: Transport) -> Open {
        let number = self.next.get();
        self.next.set(number + 1);
        let account = Rc::new(Account::new(flow, clock, transport, self.due()));
        let key = (account.due.get(), number);
        if self.open.borrow().is_empty() {
            self.opened.notify_one();
        }
        self.open.borrow_mut().insert(key, account.clone());
        Open {
            flows: self.clone(),
            number,
            account,
        }
    }

    /// When one that is told of now is to be told of next.
    fn due(&self) -> Due {
        Some(self.started.elapsed() + self.interval?)
    }

    /// Those whose time has come, which from now on are due at another.
    fn take_due(&self) -> Vec<Rc<Account>> {
        let (now, next) = (self.started.elapsed(), self.due());
        let mut open = self.open.borrow_mut();
        let mut due = Vec::new();
        while let Some(first) = open.first_entry()
            && first.key().0.is_some_and(|due| due <= now)
        {
            due.push(first.remove_entry());
        }
        let again = due.into_iter().map(|((_, number), account)| {
            account.due.set(next);
            open.insert((next, number), account.clone());
            account
        });
        again.collect()
    }

    /// How long it is until the first of them is to be told of; nothing if none is open.
    fn first_due(&self) -> Option<Duration> {
        let open = self.open.borrow();
        let ((due, _), _) = open.first_key_value()?;
        Some((*due)?.saturating_sub(self.started.elapsed()))
    }

    /// Tells of those that have been open for an interval, for ever. Wakes up only if there are any.
    pub async fn follow(self: Rc<Self>) {
        let Some(interval) = self.interval else { return };
        loop {
            let Some(due) = self.first_due() else {
                self.opened.notified().await;
                continue;
            };
            // A little later than the first one: others are due by then too.
            sleep(due.max(LOOK.min(interval / 8))).await;
            for some in self.take_due().chunks(BURST) {
                for account in some {
                    account.report(&self.documents, None, None);
                }
                yield_now().await;
            }
        }
    }
}

/// A flow that is open. Dropped without [`Open::end`], its observation has ended first.
#[derive(Debug)]
pub struct Open {
    flows: Rc<Flows>,
    number: u64,
    account: Rc<Account>,
}

impl Open {
    /// `side` sent these bytes, and they went on to the other.
    pub fn sent(&self, side: Side, bytes: usize) {
        let [total, pieces] = match side {
            Side::Client => &self.account.source,
            Side::Server => &self.account.destination,
        };
        total.set(total.get() + bytes as u64);
        pieces.set(pieces.get() + 1);
    }

    /// `side` will send no more.
    pub fn finished(&self, side: Side) {
        if self.account.first.get().is_none() {
            self.account.first.set(Some(side));
        }
    }

    /// A document of an exchange has called its protocol so.
    pub fn spoke(&self, protocol: Option<&'static str>) {
        if protocol.is_some() {
            self.account.protocol.set(protocol);
        }
    }

    /// Its decoder takes it for this, which counts as long as there is no document.
    pub fn found(&self, protocol: Protocol) {
        if self.account.protocol.get().is_none() {
            self.account.protocol.set(protocol.name());
        }
    }

    /// A PROXY header names these ends.
    pub fn names(&self, named: (SocketAddr, SocketAddr)) {
        self.account.named.set(Some(named));
    }

    /// It is carried by these sockets, for as long as they are there.
    pub fn carried_by(&self, pair: &Rc<Pair>) {
        self.account.pair.replace(Rc::downgrade(pair));
    }

    /// Takes down what its sockets know, before they are closed.
    pub fn measure(&self) {
        self.account.measure();
    }

    /// The same of the client's socket, where there is no other.
    pub fn measure_client(&self, client: &Stream) {
        let [_, server] = self.account.legs.get();
        self.account.legs.set([TcpInfo::of(client.get()), server]);
    }

    /// It is over; `error` is why it never came to be.
    pub fn end(self, end: FlowEnd, error: Option<(&'static str, String)>) {
        self.last(end, error);
    }

    /// Who was first to say that it will send no more.
    pub fn first(&self) -> Option<Party> {
        self.account.first.get().map(party)
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        self.account.transport
    }

    fn last(&self, end: FlowEnd, error: Option<(&'static str, String)>) {
        // Nothing is left to be told when it is dropped after.
        let key = (self.account.due.get(), self.number);
        let open = self.flows.open.borrow_mut().remove(&key);
        if open.is_some() {
            self.account.report(&self.flows.documents, Some(end), error);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.last(FlowEnd::Unobserved, None);
    }
}

/// What is known of one flow.
#[derive(Debug)]
struct Account {
    flow: Rc<Flow>,
    clock: Clock,
    transport: Transport,
    /// What each side sent: bytes, and in how many pieces.
    source: [Cell<u64>; 2],
    destination: [Cell<u64>; 2],
    protocol: Cell<Option<&'static str>>,
    /// The ends that a PROXY header names.
    named: Cell<Option<(SocketAddr, SocketAddr)>>,
    first: Cell<Option<Side>>,
    pair: RefCell<Weak<Pair>>,
    /// What the sockets last said: that of the client, that of the server.
    legs: Cell<[Option<TcpInfo>; 2]>,
    /// Its place among those that are open.
    due: Cell<Due>,
    /// Nothing once it is over.
    reported: Cell<Option<Reported>>,
}

impl Account {
    fn new(flow: Rc<Flow>, clock: Clock, transport: Transport, due: Due) -> Self {
        Self {
            reported: Cell::new(Some(Reported::new(flow.opened))),
            due: Cell::new(due),
            flow,
            clock,
            transport,
            source: Default::default(),
            destination: Default::default(),
            protocol: Cell::new(None),
            named: Cell::new(None),
            first: Cell::new(None),
            pair: RefCell::default(),
            legs: Cell::default(),
        }
    }

    /// What can't be asked any more stays as it was.
    fn measure(&self) {
        let Some(pair) = self.pair.borrow().upgrade() else {
            return;
        };
        let [client, server] = self.legs.get();
        self.legs.set([
            TcpInfo::of(pair.client.get()).or(client),
            TcpInfo::of(pair.server.get()).or(server),
        ]);
    }

    /// A socket counts what came from its peer, and measures the way there by what the relay itself sends: in the name of
    /// the other side. What a peer had to send again, no socket here can know; what the relay had to send again is told of
    /// the side whose machine this is, for that is the leg that goes over the network.
    fn progress(&self) -> Progress {
        let [client, server] = self.legs.get().map(Option::unwrap_or_default);
        let (ingress, tcp) = (
            self.flow.direction == Direction::Ingress,
            self.transport == Transport::Tcp,
        );
        let sent = |[bytes, pieces]: &[Cell<u64>; 2], from: TcpInfo, to: TcpInfo, is_here: bool| Sent {
            bytes: bytes.get(),
            packets: match tcp {
                true => from.received.unwrap_or(0),
                false => pieces.get(),
            },
            out_of_order: from.out_of_order,
            retransmits: to.retransmits.filter(|_| is_here),
            rtt: to.rtt,
            rtt_variation: to.rtt_variation,
            ..Sent::default()
        };
        let source = sent(&self.source, client, server, !ingress);
        let destination = sent(&self.destination, server, client, ingress);
        Progress {
            established: match tcp {
                true => self.flow.connect.is_some(),
                false => source.packets + destination.packets > 0,
            },
            handshake: self.flow.connect,
            source,
            destination: match self.transport == Transport::Udp || self.flow.connect.is_some() {
                true => destination,
                // It was never reached: there is nothing that it could have sent.
                false => Sent::default(),
            },
        }
    }

    fn report(&self, documents: &Documents, end: Option<FlowEnd>, error: Option<(&'static str, String)>) {
        let Some(mut reported) = self.reported.get() else {
            return;
        };
        self.measure();
        let now = self.progress();
        if end.is_none() && reported.is_quiet(&now) {
            return;
        }
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let mut report = reported.next(self.now(), now, transport);
        (report.end, report.error, report.protocol) = (end, error, self.protocol.get());
        report.named = self.named.get();
        self.reported.set(end.is_none().then_some(reported));
        documents.report(report, &self.flow, Some(self.clock));
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Which party of a flow sits on that side.
pub fn party(side: Side) -> Party {
    match side {
        Side::Client => Party::Source,
        Side::Server => Party::Destination,
    }
}
