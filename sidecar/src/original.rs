//! Where a redirected connection wanted to go: one way for every mode of redirection.

use crate::{addresses::Addresses, listen::Arrival};
use socket2::SockRef;
use std::{
    fmt, io,
    net::{SocketAddr, TcpStream},
};

/// The destination that the client dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginalDestination(pub SocketAddr);

/// How a connection came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By NAT: its destination was rewritten.
    Translated,
    /// Assigned to the listener, with its addresses as they were.
    InPlace,
    /// By a port map, to the listener of one port.
    Mapped,
}

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub SocketAddr);

impl fmt::Display for OriginalDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Asks NAT first (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`: REDIRECT), then takes the socket's own address (TPROXY and
/// eBPF assignment leave the destination in place). A port map changes the port alone, and its listener says to which one
/// it had been. Nothing if that is the listener itself: the connection was not redirected but dialled here directly, or it
/// loops. The same port of another machine is a destination like any other.
///
/// # Errors
/// The socket has no local address any more: the client is gone.
pub fn original_destination(
    client: &TcpStream,
    ClientAddress(peer): ClientAddress,
    arrival: Arrival,
    addresses: &Addresses,
) -> io::Result<Option<(OriginalDestination, Way)>> {
    let mut local = client.local_addr()?;
    if let Some(port) = arrival.original {
        local.set_port(port);
        return Ok(Some((OriginalDestination(local), Way::Mapped)));
    }
    // Tracking that set in after the connection had begun may have it the wrong way round: from here to the client.
    let socket = SockRef::from(client);
    let nat = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let nat = nat
        .ok()
        .and_then(|address| address.as_socket())
        .filter(|address| *address != local && *address != peer);
    let destination = nat.unwrap_or(local);
    let itself = destination.port() == arrival.port
        && match nat {
            Some(destination) => destination.ip() == local.ip(),
            None => addresses.is_local(destination.ip()),
        };
    let way = if nat.is_some() {
        Way::Translated
    } else {
        Way::InPlace
    };
    Ok((!itself).then_some((OriginalDestination(destination), way)))
}
