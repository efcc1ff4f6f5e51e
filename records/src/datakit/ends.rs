//! The tags that all points have: who spoke with whom, and which of the two is observed.
//!
//! `client_*` and `server_*` say who opened the connection. `src_*` is the observed side, `dst_*` the other one, and
//! `direction` tells which way the connection went as seen from `src`. Where it is not known which side is observed, `src` is the
//! client, and there is no `direction`.

use super::buckets::Key;
use crate::{Direction, Document};
use std::{borrow::Cow, net::IpAddr, sync::Arc};

/// Longest name that DNS knows. What is longer is none.
const LONGEST_NAME: usize = 253;

/// A port, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Port {
    Any,
    Number(u16),
}

impl Port {
    fn text(self) -> Cow<'static, str> {
        match self {
            Self::Any => "*".into(),
            Self::Number(port) => port.to_string().into(),
        }
    }
}

/// Who spoke with whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ends {
    host: Option<Arc<str>>,
    transport: &'static str,
    direction: Direction,
    client: (IpAddr, Port),
    server: (IpAddr, Port),
    /// The name by which the client knew the server.
    server_domain: Option<Box<str>>,
}

/// A tag's name and value.
pub(super) type Tag = (&'static str, Cow<'static, str>);

impl Ends {
    pub(super) fn of(document: &Document, ephemeral_port: u16) -> Self {
        let (client, server) = (&document.source, &document.destination);
        let client_port = match client.port {
            port if port >= ephemeral_port => Port::Any,
            port => Port::Number(port),
        };
        let domain = server.domain.as_deref();
        Self {
            host: document.host.as_ref().map(|host| host.name.clone()),
            transport: document.network.transport,
            direction: document.network.direction,
            client: (client.ip.to_canonical(), client_port),
            server: (server.ip.to_canonical(), Port::Number(server.port)),
            server_domain: domain
                .filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME)
                .map(Into::into),
        }
    }

    /// True if both ends are loopback addresses.
    pub(super) fn is_within_loopback(&self) -> bool {
        self.client.0.is_loopback() && self.server.0.is_loopback()
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.transport == "tcp"
    }

    /// The tags of a point of this measurement, sorted by their names as databases like them.
    pub(super) fn tags(&self, measurement: &'static str) -> Vec<Tag> {
        let ((client, client_port), (server, server_port)) = (self.client, self.server);
        let domain = || self.server_domain.as_deref().map(|name| name.to_owned().into());
        let direction = match self.direction {
            Direction::Ingress => Some("incoming".into()),
            Direction::Egress => Some("outgoing".into()),
            Direction::Unknown => None,
        };
        let incoming = self.direction == Direction::Ingress;
        let ((src, src_port), (dst, dst_port)) = match incoming {
            true => (self.server, self.client),
            false => (self.client, self.server),
        };
        let family = if server.is_ipv4() { "IPv4" } else { "IPv6" };
        let tags = [
            ("client_ip", Some(client.to_string().into())),
            ("client_ip_type", Some(ip_type(client).into())),
            ("client_port", Some(client_port.text())),
            ("direction", direction),
            ("dst_domain", domain().filter(|_| !incoming)),
            ("dst_ip", Some(dst.to_string().into())),
            ("dst_ip_type", Some(ip_type(dst).into())),
            ("dst_port", Some(dst_port.text())),
            ("family", Some(family.into())),
            ("host", self.host.as_deref().map(|host| host.to_owned().into())),
            ("server_domain", domain()),
            ("server_ip", Some(server.to_string().into())),
            ("server_ip_type", Some(ip_type(server).into())),
            ("server_port", Some(server_port.text())),
            ("source", Some(measurement.into())),
            ("src_ip", Some(src.to_string().into())),
            ("src_ip_type", Some(ip_type(src).into())),
            ("src_port", Some(src_port.text())),
            ("sub_source", Some("N/A".into())),
            ("transport", Some(self.transport.into())),
        ];
        let known = |(name, value): (_, Option<_>)| Some((name, value?));
        tags.into_iter().filter_map(known).collect()
    }
}

impl Key for Ends {
    fn fold(&mut self) {
        self.client.1 = Port::Any;
        self.server.1 = Port::Any;
        self.server_domain = None;
    }
}

/// What the observed side read and wrote: bytes that the other one sent, and its own.
pub(super) fn read_and_written(document: &Document) -> (u64, u64) {
    let sent = |bytes: Option<u64>| bytes.unwrap_or(0);
    let (client, server) = (sent(document.source.bytes), sent(document.destination.bytes));
    match document.network.direction {
        Direction::Ingress => (client, server),
        Direction::Egress | Direction::Unknown => (server, client),
    }
}

/// What DataKit calls an address.
fn ip_type(ip: IpAddr) -> &'static str {
    let private = match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    match ip {
        _ if private => "private",
        ip if ip.is_loopback() => "loopback",
        ip if ip.is_multicast() => "multicast",
        _ => "other",
    }
}
