//! The decoder of one connection: reads the hellos, then counts.

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
    told: bool,
}

/// Makes it.
pub(super) fn open(_: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    Box::new(Stream {
        exchange: Exchange {
            first: Timestamp::default(),
            last: Timestamp::default(),
            client: None,
            server: None,
            hellos: [None; 2],
            alert: None,
            bytes: [0; 2],
            gaps: false,
            odd: None,
            late,
            close: Close::Abandoned,
        },
        records: [Some(Box::default()), Some(Box::default())],
        standing: Standing::Guess,
        begun: false,
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

    /// True while this side may have more to read in the open.
    fn take(&mut self, side: Side, at: Timestamp, found: Found) -> bool {
        let exchange = &mut self.exchange;
        match found {
            Found::Hello(CLIENT_HELLO, body) if side == Side::Client => {
                // The second one, after a retry, offers the same but for keys.
                if exchange.client.is_none() {
                    let Some(hello) = ClientHello::read(&body) else {
                        self.refute(side);
                        return true;
                    };
                    exchange.client = Some(hello);
                    exchange.hellos[0] = Some(at);
                    self.standing.settle(Standing::Confirmed);
                }
                true
            }
            Found::Hello(SERVER_HELLO, body) if side == Side::Server => {
                let Some(hello) = ServerHello::read(&body) else {
                    self.refute(side);
                    return false;
                };
                self.standing.settle(Standing::Confirmed);
                let goes_on = hello.is_retry;
                exchange.server = Some(hello);
                exchange.hellos[1] = Some(at);
                goes_on
            }
            Found::Alert(level, what) => {
                exchange.alert = Some((side, level, what));
                false
            }
            Found::TooLong => false,
            Found::Hello(..) | Found::Opaque => {
                if self.exchange.hellos[place(side)].is_none() && !self.exchange.late {
                    self.refute(side);
                }
                false
            }
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
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, _: &mut dyn FnMut(crate::Exchange)) {
        self.see(at);
        self.exchange.bytes[place(side)] += missed.unwrap_or_default();
        self.exchange.gaps |= missed.is_none() || self.records[place(side)].is_some();
        self.records[place(side)] = None;
    }

    fn end(&mut self, _: Side, at: Timestamp, _: &mut dyn FnMut(crate::Exchange)) {
        self.see(at);
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(crate::Exchange)) {
        self.see(at);
        if !self.told {
            self.told = true;
            self.exchange.close = how;
            out(crate::Exchange::Tls(Box::new(self.exchange.clone())));
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
