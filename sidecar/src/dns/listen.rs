//! The sockets for redirected queries: on the loopback addresses, for an answer that leaves from another address is not
//! translated back by NAT.

use super::socket::QuerySocket;
use crate::own::Own;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use weir_config::Interception;
use weir_listen::no_ipv6;

/// Port of resolvers.
const PORT: u16 = 53;

/// A socket, and whom the queries ask that NAT sends there.
#[derive(Debug)]
pub struct Listener {
    /// The socket, non-blocking.
    pub socket: QuerySocket,
    /// The resolver; nothing if NAT sends nothing there.
    pub resolver: Option<SocketAddr>,
}

/// A socket that can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for DNS queries: {source}; choose other ports with --dns-port")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Opens the socket of each resolver, and on the first port those of both families.
///
/// # Errors
/// A port is taken.
pub fn listeners(set: &Interception, own: Own) -> Result<Vec<Listener>, ListenError> {
    let mut opened = Vec::new();
    for (address, resolver) in wanted(set) {
        match QuerySocket::bind(address, own) {
            Ok(socket) => opened.push(Listener { socket, resolver }),
            Err(error) if address.is_ipv6() && no_ipv6(&error) => {}
            Err(source) => return Err(ListenError { address, source }),
        }
    }
    Ok(opened)
}

fn wanted(set: &Interception) -> Vec<(SocketAddr, Option<SocketAddr>)> {
    let mut wanted: Vec<_> = set
        .dns_listeners()
        .map(|(port, server)| {
            let loopback: IpAddr = match server {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            (
                SocketAddr::new(loopback, port),
                Some(SocketAddr::new(server, PORT)),
            )
        })
        .collect();
    for loopback in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let first = SocketAddr::new(loopback, set.dns_port);
        if wanted.iter().all(|(address, _)| *address != first) {
            wanted.push((first, None));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resolver_has_its_port_and_the_first_port_both_families() {
        let set = Interception {
            dns_servers: "127.0.0.53,fd00::a,198.18.0.1".parse().unwrap(),
            ..Interception::default()
        };
        let text: Vec<_> = wanted(&set)
            .iter()
            .map(|(at, for_whom)| format!("{at} {}", for_whom.map_or("-".into(), |it| it.to_string())))
            .collect();
        assert_eq!(
            text,
            [
                "127.0.0.1:15053 127.0.0.53:53",
                "[::1]:15054 [fd00::a]:53",
                "127.0.0.1:15055 198.18.0.1:53",
                "[::1]:15053 -",
            ]
        );
    }
}
