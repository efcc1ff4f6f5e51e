//! Which decoder a flow gets: the one that its server's port is pinned to, or one that finds out what is spoken.

use crate::{Decoder, Limits, Side};
use std::sync::Arc;
use weir_config::{Config, Pinned, Pins};

/// The port of DNS over UDP, which is known by it alone.
const DNS: u16 = 53;

/// Makes decoders.
#[derive(Clone, Debug)]
pub struct Decoders {
    limits: Arc<Limits>,
    pins: Pins,
}

impl From<&Config> for Decoders {
    fn from(settings: &Config) -> Self {
        Self {
            limits: Arc::new(Limits::from(settings)),
            pins: settings.decoding.protocols.clone(),
        }
    }
}

impl Default for Decoders {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl Decoders {
    /// For a connection to this port of a server; `late` where its beginning was missed.
    pub fn connection(&self, server: u16, late: bool) -> Decoder {
        match self.pins.get(server) {
            Some(protocol) => Decoder::pinned(&self.limits, protocol, late),
            None if late => Decoder::late(&self.limits),
            None => Decoder::new(&self.limits),
        }
    }

    /// For the datagrams between a client's socket and this port of a server, if they are to be decoded; `late` where its
    /// first queries may have been missed.
    pub fn datagrams(&self, server: u16, late: bool) -> Option<Decoder> {
        match (self.is_dns(server), late) {
            (false, _) => None,
            (true, true) => Some(Decoder::late_dns_datagrams(&self.limits)),
            (true, false) => Some(Decoder::dns_datagrams(&self.limits)),
        }
    }

    /// Datagrams to this port are DNS's.
    pub fn is_dns(&self, port: u16) -> bool {
        match self.pins.get(port) {
            Some(protocol) => protocol == Pinned::Dns,
            None => port == DNS,
        }
    }

    /// Which of the two ports of a connection is the server's, if one of them alone is pinned: who sent the first packet
    /// from `source` to `destination`.
    pub fn sender(&self, source: u16, destination: u16) -> Option<Side> {
        match (self.pins.get(source), self.pins.get(destination)) {
            (Some(_), None) => Some(Side::Server),
            (None, Some(_)) => Some(Side::Client),
            _ => None,
        }
    }
}
