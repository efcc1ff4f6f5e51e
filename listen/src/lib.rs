//! The sockets at which redirected connections arrive. The sidecar opens them, and `weir-init` opens the same kind of
//! socket to prove a mode: whether the kernel assigns a connection to a socket depends on the socket's options, so both
//! must have the same ones.

use nix::{libc, sys::utsname::uname};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Pending connections that a listener may hold; the kernel caps the number at net.core.somaxconn.
const BACKLOG: i32 = 65535;

/// The first kernel whose `bpf_sk_assign` takes sockets with `SO_REUSEPORT` (commit 9c02bec95954).
const ASSIGNS_TO_GROUPS: (u32, u32) = (6, 6);

/// What a listener has beside its address. Each needs NET_RAW (NET_ADMIN below Linux 5.17 for a mark).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// It takes connections that are assigned to it with their destination in place.
    Transparent,
    /// Its packets carry this mark.
    Mark(u32),
}

/// How several threads accept connections at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each thread has a socket of its own, with `SO_REUSEPORT`, and the kernel spreads connections over the sockets.
    Group,
    /// There is one socket without `SO_REUSEPORT`, and every thread watches it. A connection wakes every idle thread
    /// (docs/decisions.md has the figures).
    OneSocket,
}

impl Sharing {
    /// What works on this kernel for so many threads. One thread needs no group. Below Linux 6.6 the kernel does not assign
    /// a connection to a socket with `SO_REUSEPORT`. A kernel that tells no release counts as old, since one socket works
    /// everywhere.
    pub fn here(threads: usize) -> Self {
        let release = uname().ok();
        let release = release.as_ref().and_then(|it| it.release().to_str());
        Self::on(release.unwrap_or_default(), threads)
    }

    fn on(release: &str, threads: usize) -> Self {
        match version(release) {
            Some(version) if threads > 1 && version >= ASSIGNS_TO_GROUPS => Self::Group,
            _ => Self::OneSocket,
        }
    }

    /// How many sockets so many threads need at each address.
    pub fn sockets(self, threads: usize) -> usize {
        match self {
            Self::Group => threads,
            Self::OneSocket => 1,
        }
    }
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A non-blocking listening socket. A socket of IPv6 takes IPv6 alone, so that every peer's address has its own family.
///
/// # Errors
/// The address is taken, its family is missing, or `extra` needs a privilege that is missing.
pub fn listen(address: SocketAddr, sharing: Sharing, extra: Option<Extra>) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections in TIME_WAIT do not keep the address; another listener does.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Group {
        socket.set_reuse_port(true)?;
    }
    match extra {
        // IPv6 sockets take IPv4's option, too.
        Some(Extra::Transparent) => socket.set_ip_transparent_v4(true)?,
        Some(Extra::Mark(mark)) => socket.set_mark(mark)?,
        None => {}
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// True if a socket failed for want of IPv6.
pub fn no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_may_refuse_groups_gets_one_socket() {
        for (release, threads, expected) in [
            ("5.10.0-32-amd64", 4, Sharing::OneSocket),
            ("6.1.0-56-amd64", 2, Sharing::OneSocket),
            ("5.14.0-427.el9.x86_64", 2, Sharing::OneSocket),
            ("6.5.13", 2, Sharing::OneSocket),
            ("6.6.1", 2, Sharing::Group),
            ("6.12.117+deb12-amd64", 2, Sharing::Group),
            ("10.0-rc1", 2, Sharing::Group),
            ("6.12.117+deb12-amd64", 1, Sharing::OneSocket),
            ("", 2, Sharing::OneSocket),
            ("unknown", 2, Sharing::OneSocket),
        ] {
            assert_eq!(Sharing::on(release, threads), expected, "{release} {threads}");
        }
    }

    #[test]
    fn a_second_listener_is_refused_unless_both_are_of_a_group() {
        let first = listen("127.0.0.1:0".parse().unwrap(), Sharing::OneSocket, None).unwrap();
        let address = first.local_addr().unwrap();
        for sharing in [Sharing::OneSocket, Sharing::Group] {
            let refused = listen(address, sharing, None).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        }
        drop(first);
        let _first = listen(address, Sharing::Group, None).unwrap();
        let _second = listen(address, Sharing::Group, None).unwrap();
    }
}
