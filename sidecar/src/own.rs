//! The process's own sockets: the one place where they are made. Where the sidecar is known by a mark rather than by its user,
//! everything that it sends carries that mark; otherwise it would be redirected to the sidecar itself.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{io, net::SocketAddr, os::fd::BorrowedFd};

/// How the redirect tells the sidecar's own traffic from the application's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// By the user that it runs as: in every mode.
    #[default]
    User,
    /// By a mark on everything that it sends: in every mode.
    Mark,
    /// By its group alone, which only iptables can tell.
    Group,
}

/// Makes sockets that connect or send queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    mark: Option<u32>,
}

impl Own {
    /// For a process that is known so; `mark` is the mark of its own packets.
    pub fn new(known: Known, mark: u32) -> Self {
        Self {
            mark: (known == Known::Mark).then_some(mark),
        }
    }

    /// The mark that listeners need whose connections are told by it.
    pub fn mark(self) -> Option<u32> {
        self.mark
    }

    /// A new, non-blocking TCP socket of this address's family.
    ///
    /// # Errors
    /// As socket(2): out of descriptors, or a family that the kernel does not have. As setsockopt(2): NET_RAW was lost.
    pub fn tcp(self, address: SocketAddr) -> io::Result<Socket> {
        self.socket(address, Type::STREAM, Protocol::TCP)
    }

    /// The same for datagrams.
    ///
    /// # Errors
    /// As [`Self::tcp`].
    pub fn udp(self, address: SocketAddr) -> io::Result<Socket> {
        self.socket(address, Type::DGRAM, Protocol::UDP)
    }

    fn socket(self, address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))?;
        self.prepare_reference(SockRef::from(&socket))?;
        Ok(socket)
    }

    /// Makes a socket one of the process's own that something else has opened.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn prepare(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.prepare_reference(SockRef::from(&socket))
    }

    fn prepare_reference(self, socket: SockRef<'_>) -> io::Result<()> {
        self.mark.map_or(Ok(()), |mark| socket.set_mark(mark))
    }
}

/// Whether this process may mark its sockets, which NET_RAW allows from Linux 5.17 on, and NET_ADMIN always.
pub fn may_mark(mark: u32) -> bool {
    let own = Own { mark: Some(mark) };
    own.tcp(([127, 0, 0, 1], 0).into()).is_ok()
}
