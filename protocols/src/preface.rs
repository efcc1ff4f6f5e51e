//! What stands on a connection before its own protocol: it is taken off, and what follows is found out anew, as if the
//! connection began there. Each document of what follows names what was taken off.
//!
//! `proxy` reads the headers of the PROXY protocol; `starttls` watches protocols that go over to TLS.

pub(crate) mod proxy;
pub(crate) mod starttls;

use crate::detect::Dissector;
use crate::within::{Around, Within};
use crate::{Exchange, Limits};
use std::{net::SocketAddr, sync::Arc};
use weir_records::{Document, Flow, Policy, Preface};

/// What was taken off.
#[derive(Debug)]
pub(crate) struct Taken {
    pub preface: Preface,
    /// What a PROXY header says.
    pub proxy: Option<proxy::Said>,
    /// The two ends that it names: the client, and whom the client had connected to.
    pub ends: Option<(SocketAddr, SocketAddr)>,
}

/// An exchange behind what was taken off.
#[derive(Clone, Debug)]
pub struct Prefaced {
    exchange: Exchange,
    taken: Arc<Taken>,
}

/// The decoder of what follows, with what is around both in `depth`.
pub(crate) fn open(limits: &Arc<Limits>, preface: Preface, depth: u8) -> Box<dyn Dissector> {
    Box::new(Within::new(limits, Taken::from(preface), depth))
}

impl From<Preface> for Taken {
    /// Nothing but its name is told of this one.
    fn from(preface: Preface) -> Self {
        Self {
            preface,
            proxy: None,
            ends: None,
        }
    }
}

impl Around for Taken {
    fn wrap(self: &Arc<Self>, exchange: Exchange) -> Exchange {
        Exchange::Prefaced(Box::new(Prefaced {
            exchange,
            taken: Arc::clone(self),
        }))
    }

    fn held(&self) -> usize {
        self.proxy.as_ref().map_or(0, proxy::Said::held)
    }
}

impl Prefaced {
    pub(crate) fn protocol(&self) -> &'static str {
        self.exchange.protocol()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.exchange.is_waiting()
    }

    pub(crate) fn is_tunnelled(&self) -> bool {
        self.exchange.is_tunnelled()
    }

    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let mut document = self.exchange.document(flow, policy);
        let taken = &*self.taken;
        document.weir.preface.insert(0, taken.preface);
        // Of PROXY headers behind each other the first is the one that the server goes by.
        if let Some(said) = &taken.proxy {
            let ends = taken
                .ends
                .map(|(client, server)| (Box::new(client.into()), Box::new(server.into())));
            (document.client, document.server) = ends.unzip();
            said.tell(&mut document, policy);
        }
        document
    }
}
