//! The listeners of redirected connections: one socket a data thread, port and family, all with `SO_REUSEPORT`.

use crate::socket::{tcp, transparent};
use nix::errno::Errno;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use weir_config::MappedPort;
use weir_records::Direction;

/// Pending connections a listener may hold; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 65535;

/// Which listener a connection arrived at.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Which connections arrive there.
    pub direction: Direction,
    /// Its port.
    pub port: u16,
    /// The port that its clients connected to, where a port map says so.
    pub original: Option<u16>,
}

/// A bound and listening socket.
#[derive(Debug)]
pub struct Listener {
    /// What arrives here.
    pub arrival: Arrival,
    /// The socket, non-blocking.
    pub socket: std::net::TcpListener,
}

/// A listener that can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {direction:?} connections: {source}{advice}")]
pub struct ListenError {
    address: SocketAddr,
    direction: Direction,
    source: io::Error,
    advice: &'static str,
}

/// Opens the listeners of one data thread: both families, or IPv4 alone where the kernel has no IPv6. With NET_RAW
/// they also take connections that are assigned to them with their destination in place.
///
/// # Errors
/// A port is taken, most often by another sidecar in the same namespace.
pub fn listeners(direction: Direction, port: u16, net_raw: bool) -> Result<Vec<Listener>, ListenError> {
    // What leaves a local socket arrives by NAT at the loopback address. Only a listener on every address is given packets
    // with their destination in place: that is how the programs of mode `ebpf` know that it can take them.
    let [v4, v6] = match direction {
        Direction::Egress if !net_raw => [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        _ => [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()],
    };
    let arrival = Arrival {
        direction,
        port,
        original: None,
    };
    open(arrival, [v4, v6], net_raw.then_some(Extra::Transparent))
}

/// Opens one data thread's listeners for a port of a port map. What is accepted has the listener's mark, if one is given:
/// by that the programs know it where the sidecar has no user of its own.
///
/// # Errors
/// As [`listeners`].
pub fn mapped(pair: MappedPort, mark: Option<u32>) -> Result<Vec<Listener>, ListenError> {
    let arrival = Arrival {
        direction: Direction::Ingress,
        port: pair.mapped,
        original: Some(pair.original),
    };
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    open(arrival, any, mark.map(Extra::Mark))
}

/// What a listener's socket has beside its address; needs NET_RAW.
#[derive(Clone, Copy, Debug)]
enum Extra {
    /// It takes connections that are assigned to it with their destination in place.
    Transparent,
    /// Its packets carry this.
    Mark(u32),
}

fn open(
    arrival: Arrival,
    addresses: [IpAddr; 2],
    extra: Option<Extra>,
) -> Result<Vec<Listener>, ListenError> {
    let Arrival { direction, port, .. } = arrival;
    let addresses = addresses.map(|ip| SocketAddr::new(ip, port));
    let mut opened = Vec::with_capacity(2);
    for address in addresses {
        match listen(address, extra) {
            Ok(socket) => opened.push(Listener { arrival, socket }),
            Err(error) if address.is_ipv6() && no_ipv6(&error) => {
                tracing::info!("the kernel has no IPv6: listening on IPv4 alone");
            }
            Err(source) => {
                let advice = match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        "; does a sidecar run here already? Choose other ports with --inbound-port and --outbound-port, or in --port-map"
                    }
                    _ => "",
                };
                return Err(ListenError {
                    address,
                    direction,
                    source,
                    advice,
                });
            }
        }
    }
    Ok(opened)
}

/// A listening socket on this address. IPv6 sockets take IPv6 alone, so that every peer's address has its own family.
fn listen(address: SocketAddr, extra: Option<Extra>) -> io::Result<std::net::TcpListener> {
    let socket = tcp(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    match extra {
        Some(Extra::Transparent) => transparent(&socket)?,
        Some(Extra::Mark(mark)) => socket.set_mark(mark)?,
        None => {}
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// True if a socket failed for want of IPv6.
pub(crate) fn no_ipv6(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .map(Errno::from_raw)
        .is_some_and(|errno| matches!(errno, Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}
