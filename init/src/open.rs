//! Connections that the sidecar carries now: what a change or a removal must not break.
//!
//! They are known by their sockets' local addresses, none of which an ordinary socket of this namespace could have.

use crate::Family;
use ipnet::IpNet;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};
use weir_config::Interception;

/// TCP_LISTEN, TCP_TIME_WAIT and TCP_CLOSE (include/net/tcp_states.h): no connection, or none any more.
const NONE: [&str; 3] = ["0A", "06", "07"];
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

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

/// Waits until there are none, but not for longer than `patience`; gives how many are left.
pub async fn wait(way: Way, set: &Interception, patience: Duration) -> usize {
    let start = Instant::now();
    let mut said = false;
    loop {
        let open = count(way, set);
        if open == 0 || start.elapsed() >= patience {
            return open;
        }
        if !said {
            said = true;
            tracing::info!(
                "waiting up to {patience:?} for {open} sockets of connections through the sidecar to close"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn locals() -> impl Iterator<Item = SocketAddr> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .flat_map(|path| addresses(&fs::read_to_string(path).unwrap_or_default()))
}

/// The local addresses of the connections in a table of /proc/net/tcp or tcp6.
fn addresses(table: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, port) = fields.next()?.split_once(':')?;
        let state = fields.nth(1)?;
        (!NONE.contains(&state)).then_some(())?;
        Some(SocketAddr::new(
            parse(local)?,
            u16::from_str_radix(port, 16).ok()?,
        ))
    };
    table.lines().skip(1).filter_map(address).collect()
}

/// Groups of four bytes, each as a number of this machine.
fn parse(hex: &str) -> Option<IpAddr> {
    let group = |i: usize| {
        u32::from_str_radix(hex.get(i..i + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(group(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for i in 0..4 {
                bytes[4 * i..4 * i + 4].copy_from_slice(&group(8 * i)?);
            }
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

/// Only an address of this namespace can be bound to. Link-local ones, whose interface is not in the table, are.
fn is_own(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    link_local || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_ended_connections_do_not_count() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
            0: 00000000:3A99 00000000:0000 0A 0\n\
            1: 0100007F:1F90 0100007F:9C40 01 0\n\
            2: 0100007F:1F90 0100007F:9C41 06 0\n";
        assert_eq!(addresses(table), [SocketAddr::from(([127, 0, 0, 1], 8080))]);
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let of = |text: &str| parse(text).unwrap().to_string();
        if cfg!(target_endian = "little") {
            assert_eq!(of("410000C0"), "192.0.0.65");
            assert_eq!(of("00000001000000000000000042000000"), "100::42");
            assert_eq!(of("0000000000000000FFFF0000410000C0"), "192.0.0.65");
        }
        assert_eq!(parse("41"), None);
    }

    #[test]
    fn loopback_is_own_and_a_documentation_address_is_not() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
