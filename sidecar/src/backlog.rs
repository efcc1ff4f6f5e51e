//! Whether an application has a full queue of connections that it has not accepted: asked of the kernel by sock_diag(7),
//! which takes no privilege.

use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::{net::SocketAddr, os::fd::AsRawFd};

/// SOCK_DIAG_BY_FAMILY, include/uapi/linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// 1 << TCP_LISTEN.
const LISTENING: u32 = 1 << 10;
const HEADER: usize = 16;
/// struct inet_diag_req_v2, and where it has the local port.
const REQUEST: usize = 56;
const REQUEST_PORT: usize = HEADER + 8;
// Places in struct inet_diag_msg. Of a listener, how many connections wait, and how many may.
const PORT: usize = 4;
const WAITING: usize = 56;
const ALLOWED: usize = 60;

/// True if a listener at this port takes no SYN until the application accepts. False where that can't be asked.
pub fn is_full(destination: SocketAddr) -> bool {
    // A listener of IPv6 may take IPv4 as well.
    let families: &[i32] = match destination {
        SocketAddr::V4(_) => &[libc::AF_INET, libc::AF_INET6],
        SocketAddr::V6(_) => &[libc::AF_INET6],
    };
    let full = |family: &i32| has_full(*family, destination.port()).unwrap_or(false);
    families.iter().any(full)
}

fn has_full(family: i32, port: u16) -> Result<bool, Errno> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(netlink.as_raw_fd(), &request(family, port), MsgFlags::empty())?;
    let mut buffer = [0; 8 << 10];
    let mut found = false;
    loop {
        // The kernel has its answer ready when send(2) returns; the rest of a long one comes as it is read.
        let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            match i32::from(u16::from_ne_bytes([rest[4], rest[5]])) {
                libc::NLMSG_DONE | libc::NLMSG_ERROR => return Ok(found),
                _ => {}
            }
            if size < HEADER || size > rest.len() {
                return Err(Errno::EBADMSG);
            }
            found |= is_full_listener(&rest[HEADER..size], port);
            rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn request(family: i32, port: u16) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend(LISTENING.to_ne_bytes());
    message.resize(HEADER + REQUEST, 0);
    message[REQUEST_PORT..REQUEST_PORT + 2].copy_from_slice(&port.to_be_bytes());
    message
}

/// As the kernel decides (sk_acceptq_is_full).
fn is_full_listener(message: &[u8], port: u16) -> bool {
    let number = |at: usize| {
        let bytes = message.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    message.get(PORT..PORT + 2) == Some(&port.to_be_bytes()) && number(WAITING) > number(ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::TcpStream;

    #[test]
    fn queue_is_full_until_the_application_accepts() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let any: SocketAddr = any.parse().unwrap();
            let listener = Socket::new(Domain::for_address(any), Type::STREAM, None).unwrap();
            listener.bind(&any.into()).unwrap();
            listener.listen(1).unwrap();
            let address = listener.local_addr().unwrap().as_socket().unwrap();
            assert!(!is_full(address));
            // One more than the backlog.
            let waiting = [(); 2].map(|()| TcpStream::connect(address).unwrap());
            assert!(is_full(address));
            listener.accept().unwrap();
            assert!(!is_full(address));
            drop(waiting);
        }
    }
}
