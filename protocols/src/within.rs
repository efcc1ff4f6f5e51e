//! A connection within a connection: what follows a tunnel's opening, or what was taken off. Its protocol is found out anew,
//! and each of its exchanges says what it came through.

use crate::detect::{Dissector, Standing};
use crate::{Close, Decoder, Exchange, Limits, Protocol, Side};
use std::{fmt, sync::Arc};
use weir_records::Timestamp;

/// Connections within each other that are looked into.
pub(crate) const DEEPEST: u8 = 3;

/// What is around a connection.
pub(crate) trait Around: fmt::Debug + Send + Sync {
    /// The exchange, with what is around it.
    fn wrap(self: &Arc<Self>, exchange: Exchange) -> Exchange;
    /// Memory that it takes beside itself, in bytes.
    fn held(&self) -> usize;
}

/// The decoder of what is within.
#[derive(Debug)]
pub(crate) struct Within<A> {
    around: Arc<A>,
    decoder: Decoder,
}

impl<A: Around> Within<A> {
    /// `depth` other connections are around both.
    pub fn new(limits: &Arc<Limits>, around: A, depth: u8) -> Self {
        Self {
            around: Arc::new(around),
            decoder: Decoder::within(limits, depth + 1),
        }
    }

    /// What is around it.
    pub fn around(&self) -> &A {
        &self.around
    }

    fn feed(
        &mut self,
        out: &mut dyn FnMut(Exchange),
        feed: impl FnOnce(&mut Decoder, &mut dyn FnMut(Exchange)),
    ) {
        let Self { around, decoder } = self;
        feed(decoder, &mut |exchange| out(around.wrap(exchange)));
    }
}

impl<A: Around> Dissector for Within<A> {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        self.feed(out, |decoder, out| decoder.data(side, at, bytes, out));
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Exchange)) {
        self.feed(out, |decoder, out| decoder.gap(side, at, missed, out));
    }

    fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        self.feed(out, |decoder, out| decoder.end(side, at, out));
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        self.feed(out, |decoder, out| decoder.close(at, how, out));
    }

    fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        self.feed(out, |decoder, out| decoder.tick(at, out));
    }

    fn waits(&self) -> bool {
        self.decoder.waits()
    }

    fn take_events(&mut self) -> u64 {
        self.decoder.take_events()
    }

    fn standing(&self) -> Standing {
        Standing::Confirmed
    }

    fn found(&self) -> Option<Protocol> {
        Some(self.decoder.protocol())
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.around.held() + self.decoder.held()
    }

    fn is_opaque(&self) -> bool {
        self.decoder.is_opaque()
    }
}
