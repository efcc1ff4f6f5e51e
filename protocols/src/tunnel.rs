//! What passes through a tunnel that CONNECT, or SOCKS, opened: another connection within the connection, whose protocol is found out
//! anew.

use crate::detect::Dissector;
use crate::within::{Around, Within};
use crate::{Exchange, Limits};
use std::sync::Arc;
use weir_records::{Document, DocumentId, Flow, Policy};

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

/// The decoder of what is within. The tunnel is within `depth` others.
pub(crate) fn open(limits: &Arc<Limits>, tunnel: Tunnel, depth: u8) -> Box<dyn Dissector> {
    Box::new(Within::new(limits, tunnel, depth))
}

impl Tunnelled {
    pub(crate) fn protocol(&self) -> &'static str {
        self.exchange.protocol()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.exchange.is_waiting()
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
        document.weir.truncated |= through.is_cut();
        let through = through.keep(&mut document.weir.original_sizes, || "weir.tunnel".to_owned());
        // Of tunnels within each other the innermost is what says most.
        document.weir.tunnel.through(through);
        document
    }
}

impl Around for Tunnel {
    fn wrap(self: &Arc<Self>, exchange: Exchange) -> Exchange {
        Exchange::Tunnelled(Box::new(Tunnelled {
            exchange,
            tunnel: Arc::clone(self),
        }))
    }

    fn held(&self) -> usize {
        self.target.len()
    }
}
