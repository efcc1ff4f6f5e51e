//! The listeners of redirected connections: first a plain list of sockets, each with what arrives there; then each data
//! thread's share of the list.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use weir_config::MappedPort;
use weir_listen::{Extra, Sharing, listen, no_ipv6};
use weir_records::Direction;

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

/// Opens the listeners of one port: both families, or IPv4 alone where the kernel has no IPv6. With NET_RAW they also
/// take connections that are assigned to them with their destination in place.
///
/// # Errors
/// A port is taken, most often by another sidecar in the same namespace.
pub fn listeners(
    direction: Direction,
    port: u16,
    net_raw: bool,
    threads: usize,
) -> Result<Vec<Listener>, ListenError> {
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
    open(arrival, [v4, v6], net_raw.then_some(Extra::Transparent), threads)
}

/// Opens the listeners for a port of a port map. What is accepted has the listener's mark, if one is given: by that the
/// programs know it where the sidecar has no user of its own.
///
/// # Errors
/// As [`listeners`].
pub fn mapped(pair: MappedPort, mark: Option<u32>, threads: usize) -> Result<Vec<Listener>, ListenError> {
    let arrival = Arrival {
        direction: Direction::Ingress,
        port: pair.mapped,
        original: Some(pair.original),
    };
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    open(arrival, any, mark.map(Extra::Mark), threads)
}

/// Each data thread's share of the listeners. Where there is a socket for each thread at an address, each thread gets one;
/// where there is one for all, each thread gets a descriptor of it.
///
/// # Errors
/// There are no descriptors left.
pub fn deal(listeners: Vec<Listener>, threads: usize) -> io::Result<Vec<Vec<Listener>>> {
    let mut at: BTreeMap<SocketAddr, Vec<Listener>> = BTreeMap::new();
    for listener in listeners {
        at.entry(listener.socket.local_addr()?)
            .or_default()
            .push(listener);
    }
    let mut shares: Vec<Vec<Listener>> = (0..threads).map(|_| Vec::new()).collect();
    for sockets in at.into_values() {
        // Where the numbers differ, sockets are dealt in turn, so that no thread and no socket is left out.
        for n in 0..threads.max(sockets.len()) {
            let Listener { arrival, socket } = &sockets[n % sockets.len()];
            shares[n % threads].push(Listener {
                arrival: *arrival,
                socket: socket.try_clone()?,
            });
        }
    }
    Ok(shares)
}

fn open(
    arrival: Arrival,
    addresses: [IpAddr; 2],
    extra: Option<Extra>,
    threads: usize,
) -> Result<Vec<Listener>, ListenError> {
    let sharing = Sharing::here(threads);
    let Arrival { direction, port, .. } = arrival;
    let addresses = addresses.map(|ip| SocketAddr::new(ip, port));
    let sockets = sharing.sockets(threads);
    let mut opened = Vec::with_capacity(2 * sockets);
    for address in addresses
        .iter()
        .flat_map(|address| std::iter::repeat_n(*address, sockets))
    {
        match listen(address, sharing, extra) {
            Ok(socket) => opened.push(Listener { arrival, socket }),
            Err(error) if address.is_ipv6() && no_ipv6(&error) => {
                tracing::info!("the kernel has no IPv6: listening on IPv4 alone");
            }
            Err(source) => {
                let advice = match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        "; does a sidecar run here already? Choose other ports with --inbound-port and --outbound-port, or in --port-map"
                    }
                    io::ErrorKind::PermissionDenied if matches!(extra, Some(Extra::Mark(_))) => {
                        "; below Linux 5.17 NET_RAW is not enough to mark connections: run as the user of --proxy-uid"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(sharing: Sharing, sockets: usize) -> Vec<Listener> {
        let arrival = Arrival {
            direction: Direction::Ingress,
            port: 1,
            original: None,
        };
        let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let open = |_| {
            let socket = listen(address, sharing, None).unwrap();
            address = socket.local_addr().unwrap();
            Listener { arrival, socket }
        };
        (0..sockets).map(open).collect()
    }

    #[test]
    fn every_thread_gets_a_listener_and_every_listener_a_thread() {
        for (sharing, sockets, threads) in [
            (Sharing::OneSocket, 1, 1),
            (Sharing::OneSocket, 1, 3),
            (Sharing::Group, 3, 3),
            (Sharing::Group, 3, 2),
            (Sharing::Group, 2, 3),
        ] {
            let shares = deal(opened(sharing, sockets), threads).unwrap();
            assert_eq!(shares.len(), threads);
            assert!(
                shares.iter().all(|share| !share.is_empty()),
                "{sharing:?} {threads}"
            );
            let dealt: usize = shares.iter().map(Vec::len).sum();
            assert_eq!(dealt, sockets.max(threads), "{sharing:?} {threads}");
        }
    }
}
