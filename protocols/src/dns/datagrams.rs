//! DNS over UDP: each piece of data is one message.

use super::exchange::Transport;
use super::pairing::{Pairing, Piece};
use crate::detect::Dissector;
use crate::{Close, Exchange, Limits, Side};
use std::sync::Arc;
use weir_records::Timestamp;

/// The decoder of the datagrams between one client's socket and one server.
#[derive(Debug)]
struct Datagrams(Pairing);

/// Makes it.
pub(crate) fn open(limits: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    Box::new(Datagrams(Pairing::new(Transport::Udp, limits.max_pending, late)))
}

impl Dissector for Datagrams {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        let piece = Piece {
            first: at,
            last: at,
            bytes,
            size: bytes.len() as u64,
            cut: false,
        };
        self.0.message(side, piece, &mut |exchange| out(exchange.into()));
    }

    /// A datagram that was missed is one that was lost: its query is not answered.
    fn gap(&mut self, _: Side, _: Timestamp, _: Option<u64>, _: &mut dyn FnMut(Exchange)) {}

    fn end(&mut self, _: Side, _: Timestamp, _: &mut dyn FnMut(Exchange)) {}

    fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        self.0.tick(at, &mut |exchange| out(exchange.into()));
    }

    fn waits(&self) -> bool {
        self.0.waits()
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        self.tick(at, out);
        self.0.close(at, how, &mut |exchange| out(exchange.into()));
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.0.held()
    }

    fn is_opaque(&self) -> bool {
        false
    }
}
