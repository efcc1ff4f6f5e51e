//! What passes through a tunnel that CONNECT opened: another connection within the connection, whose protocol is found out
//! anew.

use crate::detect::{Dissector, Standing};
use crate::{Close, Decoder, Exchange, Limits, Side};
use std::sync::Arc;
use weir_records::{Document, DocumentId, Flow, Policy, Timestamp};

/// Tunnels within each other that are looked into.
pub(crate) const DEEPEST: u8 = 3;

/// An exchange within a tunnel.
#[derive(Clone, Debug)]
pub struct Tunnelled {
    exchange: Exchange,
    tunnel: Arc<Tunnel>,
}

/// The request that opened it.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// What was asked for.
    pub target: Vec<u8>,
    /// Which exchange of its connection it was.
    pub sequence: u64,
    /// The beginning of that connection was not seen.
    pub late: bool,
}

/// The decoder of what is within.
#[derive(Debug)]
struct Inside {
    tunnel: Arc<Tunnel>,
    decoder: Decoder,
}

/// Makes it. The tunnel is within `depth` others.
pub(crate) fn open(limits: &Arc<Limits>, tunnel: Tunnel, depth: u8) -> Box<dyn Dissector> {
    Box::new(Inside {
        tunnel: Arc::new(tunnel),
        decoder: Decoder::within(limits, depth + 1),
    })
}

impl Tunnelled {
    pub(crate) fn protocol(&self) -> &'static str {
        self.exchange.protocol()
    }

    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        // The connection within counts its exchanges from the first again.
        let within = Flow {
            id: DocumentId::exchange(flow.id, "tunnel", self.tunnel.sequence),
            ..flow.clone()
        };
        let mut document = self.exchange.document(&within, policy);
        document.weir.flow_id = flow.id;
        document.weir.late_join |= self.tunnel.late;
        let through = policy.url(&self.tunnel.target);
        if let Some(size) = through.original {
            document.weir.truncated = true;
            document
                .weir
                .original_sizes
                .insert("weir.tunnel".to_owned(), size);
        }
        // Of tunnels within each other the innermost is what says most.
        document.weir.tunnel.get_or_insert(through.value.into_owned());
        document
    }
}

impl Inside {
    fn feed(
        &mut self,
        out: &mut dyn FnMut(Exchange),
        feed: impl FnOnce(&mut Decoder, &mut dyn FnMut(Exchange)),
    ) {
        let Self { tunnel, decoder } = self;
        feed(decoder, &mut |exchange| {
            out(Exchange::Tunnelled(Box::new(Tunnelled {
                exchange,
                tunnel: Arc::clone(tunnel),
            })));
        });
    }
}

impl Dissector for Inside {
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

    fn take_events(&mut self) -> u64 {
        self.decoder.take_events()
    }

    fn standing(&self) -> Standing {
        Standing::Confirmed
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.tunnel.target.len() + self.decoder.held()
    }

    fn is_opaque(&self) -> bool {
        self.decoder.is_opaque()
    }
}
