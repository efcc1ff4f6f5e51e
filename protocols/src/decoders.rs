//! Which decoder a flow gets: the one that its server's port is pinned to, or one that finds out what is spoken.
//!
//! A datagram is DNS at DNS's port, at one that is pinned to it, and where it is a message of DNS to its last byte.

use crate::{Decoder, Limits, Naming, Side, dns};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};
use weir_config::{Config, Pinned, Pins};

/// The port of DNS over UDP.
const DNS: u16 = 53;
/// NetBIOS' names, whose messages look like DNS's.
const NETBIOS: u16 = 137;
/// Multicast DNS (RFC 6762), and its groups.
const MULTICAST_DNS: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: u16 = 0xfb;
/// LLMNR (RFC 4795).
const LLMNR: u16 = 5355;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// DNS between a client and a server, sent by this side.
    Dns(Side),
    /// A message among the hosts of a link.
    Link(Naming),
}

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

    /// For a connection whose beginning was missed, and which is most likely to this port of a server: see
    /// [`Decoder::is_reversed`]. A port that is pinned is the server's.
    pub fn guessed(&self, server: u16) -> Decoder {
        match self.pins.get(server) {
            Some(protocol) => Decoder::pinned(&self.limits, protocol, true),
            None => Decoder::guessed(&self.limits),
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

    /// For the datagrams of a flow, of which the first is this; `late` where its first queries may have been missed.
    pub fn spoken(&self, spoken: Spoken, late: bool) -> Decoder {
        match spoken {
            Spoken::Dns(_) if late => Decoder::late_dns_datagrams(&self.limits),
            Spoken::Dns(_) => Decoder::dns_datagrams(&self.limits),
            Spoken::Link(naming) => Decoder::link_names(&self.limits, naming),
        }
    }

    /// What this datagram is, if it is decoded. Of two ports of DNS the server's is the one that answers.
    pub fn speech(&self, source: SocketAddr, destination: SocketAddr, datagram: &[u8]) -> Option<Spoken> {
        match (self.is_dns(source.port()), self.is_dns(destination.port())) {
            (false, true) => return Some(Spoken::Dns(Side::Client)),
            (true, false) => return Some(Spoken::Dns(Side::Server)),
            (true, true) => {
                let is_response = datagram.get(2)? & 0x80 != 0;
                return Some(Spoken::Dns(if is_response { Side::Server } else { Side::Client }));
            }
            (false, false) => {}
        }
        let ports = [source.port(), destination.port()];
        if ports
            .iter()
            .any(|port| *port == NETBIOS || self.pins.get(*port).is_some())
        {
            return None;
        }
        if ports.contains(&LLMNR) {
            return Some(Spoken::Link(Naming::LinkLocal));
        }
        // A resolver may have that port, too: then its client has another one, and asks it alone.
        if ports == [MULTICAST_DNS; 2] || destination.port() == MULTICAST_DNS && is_group(destination.ip()) {
            return Some(Spoken::Link(Naming::Multicast));
        }
        dns::sender(datagram).map(Spoken::Dns)
    }

    /// True if this datagram may be a server's answer to a query, though not all of it can be read.
    pub fn may_answer(&self, datagram: &[u8]) -> bool {
        dns::may_answer(datagram)
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

/// True if this is a group of multicast DNS, of any scope.
fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == GROUP_V4,
        IpAddr::V6(address) => {
            let segments = address.segments();
            address.is_multicast() && segments[1..7] == [0; 6] && segments[7] == GROUP_V6
        }
    }
}
