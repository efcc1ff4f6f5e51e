//! Connections that the sidecar carries now: what a change or a removal must not break.
//!
//! They are known by their sockets' local addresses, none of which an ordinary socket of this namespace could have.

use crate::{Family, connections};
use ipnet::IpNet;
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};
use weir_config::Interception;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Looks in a row that have to find none.
const QUIET: u32 = 10;

/// How connections come to the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By NAT: the sidecar's port is their local port.
    Nat,
    /// With their addresses in place: the server's, or on the other side the client's, is their local address.
    InPlace,
    /// By either, or from a spare address to the application.
    Any,
}

/// How many sockets of relayed connections there are.
pub fn count(way: Way, set: &Interception) -> usize {
    let ports = [set.inbound_port, set.outbound_port, set.dns_port];
    let spares: Vec<IpNet> = [Family::V4, Family::V6].map(Family::spare).into();
    let by_nat = |local: &SocketAddr| ports.contains(&local.port());
    let spare = |local: &SocketAddr| spares.iter().any(|spare| spare.contains(&local.ip()));
    let in_place = |local: &SocketAddr| !spare(local) && !is_own(local.ip());
    locals()
        .filter(|local| match way {
            Way::Nat => by_nat(local),
            Way::InPlace => in_place(local),
            Way::Any => by_nat(local) || spare(local) || in_place(local),
        })
        .count()
}

/// Waits until there have been none for a moment, but not for longer than `patience`; gives how many are left. For a
/// moment, as what was redirected last may not be a connection yet.
pub async fn wait(way: Way, set: &Interception, patience: Duration) -> usize {
    let start = Instant::now();
    let mut said = false;
    let mut quiet = 0;
    loop {
        let open = count(way, set);
        quiet = if open == 0 { quiet + 1 } else { 0 };
        if quiet == QUIET || start.elapsed() >= patience {
            return open;
        }
        if open > 0 && !said {
            said = true;
            tracing::info!(
                "waiting up to {patience:?} for {open} sockets of connections through the sidecar to close"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn locals() -> impl Iterator<Item = SocketAddr> {
    Family::of_this_kernel().into_iter().flat_map(|family| {
        let open = connections::open(family).unwrap_or_else(|error| {
            tracing::debug!("{family}: connections can't be listed ({error})");
            HashSet::new()
        });
        open.into_iter().map(|(local, _)| local)
    })
}

/// Only an address of this namespace can be bound to. Link-local ones, whose interface is not in the table, are.
fn is_own(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    link_local || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_is_own_and_a_documentation_address_is_not() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
