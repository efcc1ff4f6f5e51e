//! The watcher of one connection: feeds its decoder, counts its bytes, turns exchanges into documents, and keeps the account
//! of it as a whole.
//!
//! It runs on the thread that relays, after the bytes were written. Nothing that goes wrong here reaches the traffic: a
//! decoder that panics is dropped and counted, and the connection goes on.
//!
//! What is watched is shared with the timer that tells decoders that time passes ([`Waiting`]).

use crate::{
    clock::Clock,
    dial::{DialError, Reason},
    flows::{Open, party},
    kept::Kept,
    metrics::WorkerMetrics,
    relay::{Observer, Pair},
    socket::Stream,
    waiting::Waiting,
    worker::Documents,
};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};
use weir_capture::Transport;
use weir_protocols::{Close, Decoder, Exchange, Side};
use weir_records::{Flow, FlowEnd, Timestamp};

/// Watches one connection. Dropped without [`Watcher::close`], it records the connection as abandoned.
#[derive(Debug)]
pub struct Watcher {
    watched: Rc<RefCell<Watched>>,
    /// The timer that is to know of a connection of TCP.
    waiting: Option<Rc<Waiting>>,
}

/// One connection that is watched.
#[derive(Debug)]
pub struct Watched {
    /// [`Waiting`] knows of it.
    listed: bool,
    flow: Rc<Flow>,
    clock: Clock,
    decoder: Option<Kept>,
    account: Option<Open>,
    documents: Rc<Documents>,
    metrics: Arc<WorkerMetrics>,
}

impl Watcher {
    /// A watcher; without a decoder it only counts, and without an account it says nothing of the connection as a whole.
    pub fn new(
        flow: Rc<Flow>,
        clock: Clock,
        decoder: Option<Kept>,
        account: Option<Open>,
        documents: Rc<Documents>,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        let watched = Watched {
            listed: false,
            flow,
            clock,
            decoder,
            account,
            documents,
            metrics,
        };
        Self {
            watched: Rc::new(RefCell::new(watched)),
            waiting: None,
        }
    }

    /// The same, whose decoder is told by this timer that time passes. Another one needs [`Watcher::tick`].
    pub fn timed_by(self, waiting: &Rc<Waiting>) -> Self {
        Self {
            waiting: Some(waiting.clone()),
            ..self
        }
    }

    /// These sockets carry the connection, for as long as they are there.
    pub fn carried_by(&self, pair: &Rc<Pair>) {
        if let Some(account) = &self.watched.borrow().account {
            account.carried_by(pair);
        }
    }

    /// Takes down what the sockets know, before they are closed.
    pub fn measure(&self) {
        if let Some(account) = &self.watched.borrow().account {
            account.measure();
        }
    }

    /// The same of the client's socket, where there is no other.
    pub fn measure_client(&self, client: &Stream) {
        if let Some(account) = &self.watched.borrow().account {
            account.measure_client(client);
        }
    }

    /// The connection is over.
    pub fn close(&mut self, how: Close) {
        self.watched.borrow_mut().close(how);
    }

    /// The connection never came to be: this is all that there was of it.
    pub fn unreached(&mut self, error: &DialError) {
        self.watched.borrow_mut().unreached(error);
    }

    /// Time has passed: what has waited for too long is recorded.
    pub fn tick(&mut self) {
        self.watched.borrow_mut().tick();
    }
}

impl Watched {
    fn close(&mut self, how: Close) {
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

    fn unreached(&mut self, error: &DialError) {
        let Some(account) = self.account.take() else {
            return;
        };
        let end = match error.reason {
            Reason::Refused => FlowEnd::Refused,
            Reason::Reset => FlowEnd::Reset(party(Side::Server)),
            Reason::ClientGone => FlowEnd::Reset(party(Side::Client)),
            _ => FlowEnd::Unanswered,
        };
        let said = match end {
            FlowEnd::Unanswered => Some((error.reason.name(), error.source.to_string())),
            _ => None,
        };
        account.end(end, said);
    }

    fn close_decoder(&mut self, how: Close) {
        self.decode(|decoder, at, out| decoder.close(at, how, out));
        self.decoder = None;
    }

    fn tick(&mut self) {
        self.decode(|decoder, at, out| decoder.tick(at, out));
    }

    /// Time has passed, as [`Waiting`] says; true if the decoder goes on to wait for that.
    pub(crate) fn look(&mut self) -> bool {
        self.tick();
        let waits = self
            .decoder
            .as_ref()
            .and_then(|kept| kept.with(|decoder| decoder.waits()));
        self.listed = waits == Some(true);
        self.listed
    }

    /// Has the decoder do something, if there is one, and drops it once nothing more can come out of it.
    fn decode(&mut self, feed: impl FnOnce(&mut Decoder, Timestamp, &mut dyn FnMut(Exchange))) {
        let Some(kept) = &self.decoder else { return };
        let clock = self.clock;
        let at = clock.now();
        let (flow, documents, metrics) = (&self.flow, &*self.documents, &*self.metrics);
        let account = self.account.as_ref();
        let mut out = |exchange: Exchange| {
            metrics.exchange(&exchange);
            let protocol = documents.push(&exchange, flow, Some(clock));
            // What is in a tunnel is not what the connection speaks.
            if let (Some(account), false) = (account, exchange.is_tunnelled()) {
                account.spoke(protocol);
            }
        };
        let fed = kept.with(|decoder| {
            catch_unwind(AssertUnwindSafe(|| feed(decoder, at, &mut out))).map(|()| {
                (
                    decoder.take_events(),
                    decoder.protocol(),
                    decoder.named(),
                    decoder.is_opaque(),
                    decoder.undecoded(),
                )
            })
        });
        match fed {
            Some(Ok((events, protocol, named, is_opaque, undecoded))) => {
                metrics.events.add(events);
                if let Some(account) = account {
                    account.found(protocol);
                    if let Some(named) = named {
                        account.names(named);
                    }
                }
                if is_opaque {
                    self.decoder = None;
                    undecoded.into_iter().for_each(|why| metrics.gave_up(why));
                }
            }
            Some(Err(_)) => {
                metrics.decoder_panics.add(1);
                tracing::error!(flow = %self.flow.id, "a decoder failed: this connection is relayed on, but no longer decoded");
                self.decoder = None;
            }
            // It has stepped aside for others.
            None => self.decoder = None,
        }
    }
}

impl Observer for Watcher {
    fn data(&mut self, side: Side, bytes: &[u8]) {
        let mut watched = self.watched.borrow_mut();
        watched.data(side, bytes);
        if let Some(waiting) = &self.waiting
            && !watched.listed
            && watched.decoder.is_some()
        {
            watched.listed = true;
            waiting.list(&self.watched);
        }
    }

    fn end(&mut self, side: Side) {
        self.watched.borrow_mut().end(side);
    }
}

impl Watched {
    fn data(&mut self, side: Side, bytes: &[u8]) {
        self.metrics
            .of(self.flow.direction)
            .bytes(side)
            .add(bytes.len() as u64);
        if let Some(account) = &self.account {
            account.sent(side, bytes.len());
        }
        self.decode(|decoder, at, out| decoder.data(side, at, bytes, out));
    }

    fn end(&mut self, side: Side) {
        self.decode(|decoder, at, out| decoder.end(side, at, out));
        if let Some(account) = &self.account {
            account.finished(side);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The account says by itself that nobody has ended it.
        self.close_decoder(Close::Abandoned);
    }
}
