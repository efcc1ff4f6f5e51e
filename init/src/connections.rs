//! The namespace's TCP connections, by sock_diag(7): unlike /proc/net/tcp it leaves out those in TIME_WAIT, of which a
//! busy namespace has tens of thousands.

use crate::Family;
use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
};

/// SOCK_DIAG_BY_FAMILY, include/uapi/linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// Listening sockets: 1 << TCP_LISTEN.
const LISTENING: u32 = 1 << 10;
/// Every state (1 << TCP_*) but TIME_WAIT (6), CLOSE (7), LISTEN (10) and NEW_SYN_RECV (12).
const OPEN: u32 = 0b1011_0011_1110;
const HEADER: usize = 16;
/// struct inet_diag_req_v2.
const REQUEST: usize = 56;

/// Local and remote address of each open one.
///
/// # Errors
/// The kernel has no sock_diag.
pub fn open(family: Family) -> Result<HashSet<(SocketAddr, SocketAddr)>, Errno> {
    sockets(family, OPEN)
}

/// The addresses that somebody listens at. An IPv6 socket that serves both families counts as IPv6 alone.
///
/// # Errors
/// The kernel has no sock_diag.
pub fn listeners(family: Family) -> Result<HashSet<SocketAddr>, Errno> {
    let sockets = sockets(family, LISTENING)?;
    Ok(sockets.into_iter().map(|(local, _)| local).collect())
}

fn sockets(family: Family, states: u32) -> Result<HashSet<(SocketAddr, SocketAddr)>, Errno> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(netlink.as_raw_fd(), &request(family, states), MsgFlags::empty())?;
    let mut connections = HashSet::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = i32::from(u16::from_ne_bytes([rest[4], rest[5]]));
            match kind {
                libc::NLMSG_DONE => return Ok(connections),
                libc::NLMSG_ERROR => return Err(Errno::EOPNOTSUPP),
                _ => {}
            }
            if size < HEADER || size > rest.len() {
                return Err(Errno::EBADMSG);
            }
            connections.extend(ends(family, &rest[HEADER..size]));
            rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn request(family: Family, states: u32) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    message.extend([number as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.resize(HEADER + REQUEST, 0);
    message
}

/// The addresses in a struct inet_diag_msg: after four bytes both ports, then both addresses of 16 bytes.
fn ends(family: Family, message: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let port = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let ip = |at: usize| -> Option<IpAddr> {
        Some(match family {
            Family::V4 => <[u8; 4]>::try_from(message.get(at..at + 4)?).ok()?.into(),
            Family::V6 => <[u8; 16]>::try_from(message.get(at..at + 16)?).ok()?.into(),
        })
    };
    Some((
        SocketAddr::new(ip(8)?, port(4)?),
        SocketAddr::new(ip(24)?, port(6)?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn both_ends_of_a_connection_are_found_and_a_listener_is_not() {
        for (family, any) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
            let listener = TcpListener::bind(any).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let near = client.local_addr().unwrap();
            let far = client.peer_addr().unwrap();
            assert!(
                listeners(family)
                    .unwrap()
                    .contains(&listener.local_addr().unwrap())
            );
            let found = open(family).unwrap();
            assert!(found.contains(&(near, far)) && found.contains(&(far, near)));
            assert!(
                !found
                    .iter()
                    .any(|(local, remote)| *local == far && remote.port() == 0)
            );
        }
    }
}
