//! Dialling the original destination, without ever running out of ports.
//!
//! *Inbound*, the destination is an address of this namespace. Dialled from the namespace's own address, at most 28 232
//! connections a minute would succeed (the client closes first, so this socket is the one that ends in TIME_WAIT). So the
//! source is one of the spare local addresses that the installer has set aside, in turn. It also tells the redirect
//! rules this dial from the application's call to its own service. Never loopback: applications trust it.
//!
//! *Outbound*, the source port must not be one that the application needs for itself: see [`crate::ports`].

use crate::{
    original::OriginalDestination,
    ports::SparePorts,
    socket::{Stream, tcp},
};
use nix::{errno::Errno, sys::socket::setsockopt, sys::socket::sockopt};
use socket2::Socket;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use weir_config::{SPARE_V4, SPARE_V6};
use weir_records::Direction;

/// Ports that are tried before the choice is left to the kernel.
const PORT_ATTEMPTS: usize = 64;
/// Addresses of each spare block that are dialled from: all but the first and, for IPv4, the last (the probe's).
const SPARE_ADDRESSES: u32 = 61;

/// Dials. One a process; shared by all data threads.
#[derive(Debug)]
pub struct Dialer {
    ports: SparePorts,
    turn: AtomicU32,
    timeout: Option<Duration>,
    keepalive: Option<Duration>,
}

/// Why a destination was not reached.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {source}")]
pub struct DialError {
    /// A short stable name: `refused`, `timeout`, `unreachable`, `no_spare_address`, `no_port`,
    /// `client_gone`, `other`.
    pub reason: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

impl DialError {
    /// Every `reason`, for counters.
    pub const REASONS: [&str; 7] = [
        "refused",
        "timeout",
        "unreachable",
        "no_spare_address",
        "no_port",
        "client_gone",
        "other",
    ];

    fn new(source: io::Error) -> Self {
        let reason = match source.kind() {
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::TimedOut => "timeout",
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => "unreachable",
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => "no_port",
            _ => "other",
        };
        Self { reason, source }
    }
}

impl Dialer {
    /// A dialer for this namespace. Without a timeout the kernel's own applies (tcp_syn_retries), as without Weir.
    pub fn new(timeout: Option<Duration>, keepalive: Option<Duration>) -> Self {
        Self {
            ports: SparePorts::of_this_namespace(),
            turn: AtomicU32::new(0),
            timeout,
            keepalive,
        }
    }

    /// Connects to the original destination.
    ///
    /// # Errors
    /// As connect(2), by reason.
    pub async fn dial(
        &self,
        direction: Direction,
        destination: OriginalDestination,
    ) -> Result<Stream, DialError> {
        let connect = async {
            match direction {
                Direction::Ingress => self.dial_local(destination.0).await,
                Direction::Egress => self.dial_out(destination.0).await,
            }
        };
        match self.timeout {
            None => connect.await,
            Some(limit) => tokio::time::timeout(limit, connect).await.unwrap_or_else(|_| {
                Err(DialError {
                    reason: "timeout",
                    source: io::ErrorKind::TimedOut.into(),
                })
            }),
        }
    }

    async fn dial_local(&self, destination: SocketAddr) -> Result<Stream, DialError> {
        let mut last = io::Error::from(Errno::EADDRNOTAVAIL);
        for _ in 0..SPARE_ADDRESSES {
            let socket = tcp(destination).map_err(DialError::new)?;
            let source = self.spare_address(destination.is_ipv6());
            bind_spare(&socket, source).map_err(|source| DialError {
                reason: "no_spare_address",
                source,
            })?;
            match Stream::connect(socket, destination, self.keepalive).await {
                // All ports of this one address are in use towards this destination: the next address.
                Err(error) if is_taken(&error) => last = error,
                result => return result.map_err(DialError::new),
            }
        }
        Err(DialError::new(last))
    }

    async fn dial_out(&self, destination: SocketAddr) -> Result<Stream, DialError> {
        if self.ports.is_busy(destination) {
            for _ in 0..PORT_ATTEMPTS {
                let Some(port) = self.ports.next() else { break };
                match self.dial_from_port(destination, port).await {
                    Err(error) if is_taken(&error) => {}
                    result => return result.map_err(DialError::new),
                }
            }
        }
        let socket = tcp(destination).map_err(DialError::new)?;
        Stream::connect(socket, destination, self.keepalive)
            .await
            .map_err(DialError::new)
    }

    async fn dial_from_port(&self, destination: SocketAddr, port: u16) -> io::Result<Stream> {
        let socket = tcp(destination)?;
        let any: IpAddr = if destination.is_ipv6() {
            socket.set_only_v6(true)?;
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        // Lets connections to other destinations, and those in TIME_WAIT, hold the port too; a listener's is refused.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(any, port).into())?;
        Stream::connect(socket, destination, self.keepalive).await
    }

    fn spare_address(&self, v6: bool) -> IpAddr {
        let host = 1 + self.turn.fetch_add(1, Ordering::Relaxed) % SPARE_ADDRESSES;
        if v6 {
            Ipv6Addr::from_bits(SPARE_V6.addr().to_bits() + u128::from(host)).into()
        } else {
            Ipv4Addr::from_bits(SPARE_V4.addr().to_bits() + host).into()
        }
    }
}

/// Binds to an address alone: the port is chosen by connect(2), which may then share it between destinations.
fn bind_spare(socket: &Socket, source: IpAddr) -> io::Result<()> {
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    if source.is_ipv6() {
        // A local route makes an IPv4 address one's own for bind(2), but not an IPv6 one.
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&SocketAddr::new(source, 0).into())
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_addresses_come_in_turn_from_the_block_and_leave_the_probes_alone() {
        let dialer = Dialer::new(None, None);
        for v6 in [false, true] {
            let round: std::collections::HashSet<_> =
                (0..SPARE_ADDRESSES).map(|_| dialer.spare_address(v6)).collect();
            assert_eq!(round.len(), SPARE_ADDRESSES as usize);
            for address in round {
                match address {
                    IpAddr::V4(ip) => assert!(
                        SPARE_V4.contains(&ip) && ip != Ipv4Addr::new(192, 0, 0, 126),
                        "{ip}"
                    ),
                    IpAddr::V6(ip) => assert!(SPARE_V6.contains(&ip) && ip != SPARE_V6.addr(), "{ip}"),
                }
            }
        }
    }
}
