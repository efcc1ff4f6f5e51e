//! The watcher of one connection: feeds its decoder, counts its bytes, turns exchanges into documents, and keeps the account
//! of it as a whole.
//!
//! It runs on the thread that relays, after the bytes were written. Nothing that goes wrong here reaches the traffic: a
//! decoder that panics is dropped and counted, and the connection goes on.

use crate::{
    dial::DialError,
    flows::{Open, party},
    metrics::WorkerMetrics,
    relay::{Observer, Pair},
    socket::Stream,
    worker::Documents,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use weir_capture::Transport;
use weir_protocols::{Close, Decoder, Exchange, Side};
use weir_records::{Flow, FlowEnd, Timestamp};

/// Time of a connection: the wall clock read once, then the monotonic one, so that it never runs backwards.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            start: Instant::now(),
        }
    }

    /// When it was started.
    pub fn started(&self) -> Timestamp {
        Timestamp(self.wall)
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.wall.saturating_add(self.elapsed()))
    }

    /// Nanoseconds since it was started.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Watches one connection. Dropped without [`Watcher::close`], it records the connection as abandoned.
pub struct Watcher {
    flow: Rc<Flow>,
    clock: Clock,
    decoder: Option<Decoder>,
    account: Option<Open>,
    documents: Rc<Documents>,
    metrics: Arc<WorkerMetrics>,
}

impl Watcher {
    /// A watcher; without a decoder it only counts, and without an account it says nothing of the connection as a whole.
    pub fn new(
        flow: Rc<Flow>,
        clock: Clock,
        decoder: Option<Decoder>,
        account: Option<Open>,
        documents: Rc<Documents>,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        Self {
            flow,
            clock,
            decoder,
            account,
            documents,
            metrics,
        }
    }

    /// These sockets carry the connection, for as long as they are there.
    pub fn carried_by(&self, pair: &Rc<Pair>) {
        if let Some(account) = &self.account {
            account.carried_by(pair);
        }
    }

    /// Takes down what the sockets know, before they are closed.
    pub fn measure(&self) {
        if let Some(account) = &self.account {
            account.measure();
        }
    }

    /// The connection is over.
    pub fn close(&mut self, how: Close) {
        self.close_decoder(how);
        let Some(account) = self.account.take() else {
            return;
        };
        let end = match (how, account.transport()) {
            (Close::Finished, _) => FlowEnd::Finished(account.first()),
            // Its machine has said that nobody listens there.
            (Close::Reset(Side::Server), Transport::Udp) => FlowEnd::Refused,
            (Close::Reset(side), _) => FlowEnd::Reset(party(side)),
            (Close::Abandoned, _) => FlowEnd::Idle,
        };
        account.end(end, None);
    }

    /// The same of the client's socket, where there is no other.
    pub fn measure_client(&self, client: &Stream) {
        if let Some(account) = &self.account {
            account.measure_client(client);
        }
    }

    /// The connection never came to be: this is all that there was of it.
    pub fn unreached(&mut self, error: &DialError) {
        let Some(account) = self.account.take() else {
            return;
        };
        let end = match error.reason {
            "refused" => FlowEnd::Refused,
            "client_gone" => FlowEnd::Reset(party(Side::Client)),
            _ => FlowEnd::Unanswered,
        };
        let said = match end {
            FlowEnd::Unanswered => Some((error.reason, error.source.to_string())),
            _ => None,
        };
        account.end(end, said);
    }

    fn close_decoder(&mut self, how: Close) {
        self.decode(|decoder, at, out| decoder.close(at, how, out));
        self.decoder = None;
    }

    /// Time has passed: what has waited for too long is recorded.
    pub fn tick(&mut self) {
        self.decode(|decoder, at, out| decoder.tick(at, out));
    }

    fn decode(&mut self, feed: impl FnOnce(&mut Decoder, Timestamp, &mut dyn FnMut(Exchange))) {
        let Some(decoder) = &mut self.decoder else { return };
        let at = self.clock.now();
        let (flow, documents, metrics) = (&self.flow, &*self.documents, &*self.metrics);
        let account = self.account.as_ref();
        let mut out = |exchange: Exchange| {
            metrics.exchange(&exchange);
            let protocol = documents.push(&exchange, flow);
            // What is in a tunnel is not what the connection speaks.
            if let (Some(account), false) = (account, matches!(exchange, Exchange::Tunnelled(_))) {
                account.spoke(protocol);
            }
        };
        if catch_unwind(AssertUnwindSafe(|| feed(decoder, at, &mut out))).is_err() {
            metrics.decoder_panics.add(1);
            tracing::error!(flow = %self.flow.id, "a decoder failed: this connection is relayed on, but no longer decoded");
            self.decoder = None;
        } else {
            metrics.events.add(decoder.take_events());
            if let Some(account) = account {
                account.found(decoder.protocol());
            }
        }
    }
}

impl Observer for Watcher {
    fn data(&mut self, side: Side, bytes: &[u8]) {
        self.metrics
            .of(self.flow.direction)
            .bytes(side)
            .add(bytes.len() as u64);
        if let Some(account) = &self.account {
            account.sent(side, bytes.len());
        }
        self.decode(|decoder, at, out| decoder.data(side, at, bytes, out));
        if self.decoder.as_ref().is_some_and(Decoder::is_opaque) {
            self.decoder = None;
            self.metrics.opaque.add(1);
        }
    }

    fn end(&mut self, side: Side) {
        self.decode(|decoder, at, out| decoder.end(side, at, out));
        if let Some(account) = &self.account {
            account.finished(side);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The account says by itself that nobody has ended it.
        self.close_decoder(Close::Abandoned);
    }
}
