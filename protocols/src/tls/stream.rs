//! The decoder of one connection: reads the hellos and follows the handshake, then counts.

use super::{
    exchange::Exchange,
    hello::{ClientHello, ServerHello},
    record::{CLIENT_HELLO, Found, Records, SERVER_HELLO},
};
use crate::detect::{Dissector, Standing};
use crate::{Close, Limits, Side};
use std::sync::Arc;
use weir_records::Timestamp;

#[derive(Debug)]
struct Stream {
    exchange: Exchange,
    /// Each side's records, until nothing of it is read any more.
    records: [Option<Box<Records>>; 2],
    /// A hello that could be read is certain.
    standing: Standing,
    begun: bool,
    /// How long the connection goes on, in ns, before that is told, if it is still to be.
    patience: Option<u64>,
    told: bool,
}

/// Makes it.
pub(super) fn open(limits: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    Box::new(Stream {
        exchange: Exchange::new(late),
        records: [Some(Box::default()), Some(Box::default())],
        standing: Standing::Guess,
        begun: false,
        patience: limits.patience(),
        told: false,
    })
}

fn place(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

impl Stream {
    fn see(&mut self, at: Timestamp) {
        if !self.begun {
            self.begun = true;
            self.exchange.first = at;
        }
        self.exchange.last = at;
    }

    /// True while this side may have more to read.
    fn take(&mut self, side: Side, at: Timestamp, found: Found) -> bool {
        let exchange = &mut self.exchange;
        match found {
            Found::Hello(CLIENT_HELLO, body) if side == Side::Client => {
                self.client_hello(at, ClientHello::read(&body))
            }
            Found::OldHello(body) if side == Side::Client && exchange.client.is_none() => {
                self.client_hello(at, ClientHello::read_old(&body))
            }
            Found::Hello(SERVER_HELLO, body) if side == Side::Server => {
                self.server_hello(at, ServerHello::read(&body))
            }
            Found::Alert(level, what) => {
                if exchange.fatal().is_none() {
                    exchange.alert = Some((side, level, what));
                }
                exchange.fatal().is_none()
            }
            Found::TooLong => {
                exchange.lost = true;
                false
            }
            _ if exchange.hellos[place(side)].is_none() && !exchange.late => {
                self.refute(side);
                false
            }
            Found::Message(kind) => {
                exchange.progress.message(side, kind);
                true
            }
            Found::ChangeCipherSpec => {
                exchange.progress.change(side);
                if let Some(records) = self.records[place(side)]
                    .as_mut()
                    .filter(|_| exchange.progress.is_old())
                {
                    records.encrypt();
                }
                true
            }
            Found::Sealed(kind, length) => {
                exchange.progress.sealed(side, kind, length);
                true
            }
            Found::Hello(..) | Found::OldHello(_) | Found::Opaque => {
                exchange.lost = true;
                false
            }
        }
    }

    fn client_hello(&mut self, at: Timestamp, hello: Option<ClientHello>) -> bool {
        // The second one, after a retry, offers the same but for keys.
        if self.exchange.client.is_some() {
            return true;
        }
        if hello.is_none() {
            self.refute(Side::Client);
            return true;
        }
        self.exchange.client = hello;
        self.exchange.hellos[0] = Some(at);
        self.standing.settle(Standing::Confirmed);
        true
    }

    fn server_hello(&mut self, at: Timestamp, hello: Option<ServerHello>) -> bool {
        let Some(hello) = hello else {
            self.refute(Side::Server);
            return false;
        };
        self.standing.settle(Standing::Confirmed);
        let exchange = &mut self.exchange;
        if !hello.is_retry {
            let early_data = exchange.client.as_ref().is_some_and(|client| client.early_data);
            exchange
                .progress
                .begin(hello.version, hello.pre_shared_key, early_data);
        }
        exchange.server = Some(hello);
        exchange.hellos[1] = Some(at);
        true
    }

    /// Once it is known how the handshake went, nothing more is read.
    fn settle(&mut self) {
        if self.exchange.progress.established || self.exchange.fatal().is_some() {
            self.records = [None, None];
        }
    }

    /// What this side sent in place of its hello is none.
    fn refute(&mut self, side: Side) {
        self.exchange.odd.get_or_insert(side);
        self.standing.settle(Standing::Refuted);
    }
}

impl Dissector for Stream {
    fn data(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], _: &mut dyn FnMut(crate::Exchange)) {
        self.see(at);
        self.exchange.bytes[place(side)] += bytes.len() as u64;
        while let Some(records) = &mut self.records[place(side)] {
            let Some(found) = records.feed(&mut bytes) else {
                return;
            };
            if !self.take(side, at, found) {
                self.records[place(side)] = None;
            }
            self.settle();
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, _: &mut dyn FnMut(crate::Exchange)) {
        self.see(at);
        self.exchange.bytes[place(side)] += missed.unwrap_or_default();
        let records = &mut self.records[place(side)];
        let followed = match (records.as_mut(), missed) {
            (None, missed) => missed.is_some(),
            (Some(records), missed) => missed.is_some_and(|missed| records.skip(missed)),
        };
        if !followed {
            self.exchange.gaps = true;
            *records = None;
        }
    }

    fn end(&mut self, _: Side, at: Timestamp, _: &mut dyn FnMut(crate::Exchange)) {
        self.see(at);
    }

    fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(crate::Exchange)) {
        let overdue = |patience: &u64| at.since(self.exchange.first) >= *patience;
        if self.waits() && self.patience.as_ref().is_some_and(overdue) {
            self.patience = None;
            let mut copy = self.exchange.clone();
            copy.open = Some(at);
            out(crate::Exchange::Tls(Box::new(copy)));
        }
    }

    fn waits(&self) -> bool {
        self.begun && !self.told && self.patience.is_some()
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(crate::Exchange)) {
        self.see(at);
        if !self.told {
            self.told = true;
            let mut exchange = std::mem::replace(&mut self.exchange, Exchange::new(false));
            exchange.close = how;
            out(crate::Exchange::Tls(Box::new(exchange)));
        }
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn held(&self) -> usize {
        let records = self.records.iter().flatten().map(|records| records.held());
        size_of::<Self>() + records.sum::<usize>()
    }

    fn is_opaque(&self) -> bool {
        self.told
    }
}
