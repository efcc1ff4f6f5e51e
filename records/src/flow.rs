//! The connection that an exchange was seen on: what the source knows and every document of it shares.

use crate::{DocumentId, Timestamp, Wrapping};
use schemars::JsonSchema;
use serde::Serialize;
use std::{net::SocketAddr, sync::Arc};

/// Which way the connection was opened, seen from the observed container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Somebody called the container.
    Ingress,
    /// The container called somebody.
    Egress,
    /// It is not known which of the two is observed.
    Unknown,
}

/// How the bytes were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// The sidecar carried them.
    Relay,
    /// By a packet socket, on their way.
    Tap,
    /// In a file of captured packets.
    Pcap,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Stable identity of this connection; documents derive theirs from it.
    pub id: DocumentId,
    /// How it is seen.
    pub capture: Capture,
    /// How it was redirected (`redirect`), if it was.
    pub mode: Option<&'static str>,
    /// Which way it was opened.
    pub direction: Direction,
    /// Who opened it.
    pub client: SocketAddr,
    /// Whom the client wanted to reach: the original destination.
    pub server: SocketAddr,
    /// When it was opened.
    pub opened: Timestamp,
    /// How long the connection to the server took, in ns, where the source dialled it itself.
    pub connect: Option<u64>,
    /// Name of the observed host or container.
    pub host: Option<Arc<str>>,
    /// VLAN tags and tunnels around its packets, where these were captured.
    pub wrapping: Option<Arc<Wrapping>>,
}

impl Flow {
    /// The identity of a connection: the same for the same host, addresses and opening time.
    pub fn identify(
        host: Option<&str>,
        client: SocketAddr,
        server: SocketAddr,
        opened: Timestamp,
    ) -> DocumentId {
        DocumentId::of(&(host, client, server, opened))
    }
}
