//! DNS over TCP: each message has its length in two bytes before it (RFC 1035, 4.2.2; RFC 7766).

use super::exchange::Transport;
use super::message::{Header, Kind};
use super::pairing::Pairing;
use crate::detect::{Dissector, Standing};
use crate::{Close, Exchange, Limits, Side};
use std::sync::Arc;
use weir_records::Timestamp;

/// The decoder of one connection.
#[derive(Debug)]
struct Stream {
    pairing: Pairing,
    client: Framing,
    server: Framing,
    /// The number of bytes that a message has is as its header says: with a whole one it is certain.
    standing: Standing,
    opaque: bool,
}

/// The message that is arriving, its length before it. Holds no memory between messages, and never more than 64 KiB.
#[derive(Debug, Default)]
struct Framing {
    part: Vec<u8>,
    first: Timestamp,
}

/// Makes it.
pub(super) fn open(limits: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    Box::new(Stream {
        pairing: Pairing::new(Transport::Tcp, limits.max_pending, late),
        client: Framing::default(),
        server: Framing::default(),
        standing: Standing::Guess,
        opaque: false,
    })
}

impl Framing {
    /// Bytes that are missing of the message, or of its length.
    fn missing(&self) -> usize {
        match self.part.first_chunk::<2>() {
            Some(length) => 2 + usize::from(u16::from_be_bytes(*length)) - self.part.len(),
            None => 2 - self.part.len(),
        }
    }

    /// Takes from `bytes` what belongs to the message; true once it is whole.
    fn take(&mut self, at: Timestamp, bytes: &mut &[u8]) -> bool {
        if self.part.is_empty() {
            self.first = at;
        }
        for _ in 0..2 {
            let (taken, rest) = bytes.split_at(self.missing().min(bytes.len()));
            self.part.extend_from_slice(taken);
            *bytes = rest;
        }
        self.part.len() >= 2 && self.missing() == 0
    }
}

impl Stream {
    fn framing(&mut self, side: Side) -> &mut Framing {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// What has come of the server's message may be the answer to a query; its length may be anything.
    fn may_answer(&self) -> bool {
        let header = self.server.part.get(2..).and_then(Header::read);
        header.is_none_or(|header| {
            header.kind() == Kind::Response && (self.pairing.late() || self.pairing.waits_for(header.id))
        })
    }

    /// Nothing more is told of this connection.
    fn step_aside(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        self.opaque = true;
        self.pairing
            .close(at, Close::Abandoned, &mut |exchange| out(exchange.into()));
        (self.client, self.server) = (Framing::default(), Framing::default());
    }
}

impl Dissector for Stream {
    fn data(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        while !bytes.is_empty() && !self.opaque {
            let framing = self.framing(side);
            let whole = framing.take(at, &mut bytes);
            if self.standing == Standing::Guess && side == Side::Server && !self.may_answer() {
                self.standing = Standing::Refuted;
            }
            if !whole {
                return;
            }
            let framing = self.framing(side);
            let (message, first) = (std::mem::take(&mut framing.part), framing.first);
            if message.len() < 2 + Header::SIZE {
                self.standing.settle(Standing::Refuted);
                return self.step_aside(at, out);
            }
            let out = &mut |exchange: super::Exchange| out(exchange.into());
            if self.pairing.message(side, (first, at), &message[2..], out) {
                self.standing.settle(Standing::Confirmed);
            }
        }
    }

    /// Where the next message begins is not known any more.
    fn gap(&mut self, _: Side, at: Timestamp, _: Option<u64>, out: &mut dyn FnMut(Exchange)) {
        self.step_aside(at, out);
    }

    fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        if side == Side::Server {
            self.pairing
                .close(at, Close::Finished, &mut |exchange| out(exchange.into()));
        }
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        self.pairing.close(at, how, &mut |exchange| out(exchange.into()));
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.pairing.held() + self.client.part.capacity() + self.server.part.capacity()
    }

    fn is_opaque(&self) -> bool {
        self.opaque
    }
}
