//! A connection's socket: reading, writing and its ends, on tokio's reactor.
//!
//! tokio's own `TcpStream` is not used for two reasons: both directions of a connection need the socket by shared
//! reference at once, while a third party waits for its reset ([`Stream::reset`]); and after a read that did not fill the
//! buffer nothing is left to read, so that the extra call that would say so is saved by clearing the readiness.
#![allow(unsafe_code)] // two registrations and one ioctl, each with its reason

use crate::legs::Leg;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::AsRawFd,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{Interest, unix::AsyncFd};

nix::ioctl_read_bad!(
    /// SIOCOUTQ, which is TIOCOUTQ (include/uapi/linux/sockios.h).
    siocoutq,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
);

const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

/// A new, non-blocking TCP socket of this address's family.
///
/// # Errors
/// As socket(2): out of descriptors, or a family that the kernel does not have.
pub fn tcp(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )
}

/// Lets a socket have an address that is not the machine's (IP_TRANSPARENT, which sockets of IPv6 take as well).
///
/// # Errors
/// NET_RAW is missing.
pub fn transparent(socket: &Socket) -> io::Result<()> {
    socket.set_ip_transparent_v4(true)
}

/// A connected, non-blocking TCP socket.
#[derive(Debug)]
pub struct Stream {
    // First, so that it is closed before it is no longer told of.
    socket: AsyncFd<std::net::TcpStream>,
    _leg: Option<Leg>,
}

impl Stream {
    /// Takes a connected socket; makes it non-blocking, sends what is written at once, keeps urgent bytes in their
    /// place in the stream, and probes a silent peer after `keepalive` so that one that is gone does not stay open for ever.
    ///
    /// # Errors
    /// The descriptor can't be watched: too many are.
    pub fn new(socket: std::net::TcpStream, keepalive: Option<Duration>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::watch(socket, keepalive)
    }

    /// The same for a socket that is non-blocking already.
    fn watch(socket: std::net::TcpStream, keepalive: Option<Duration>) -> io::Result<Self> {
        // A connection that its peer has reset already refuses options; reading from it tells the story.
        let _ = socket.set_nodelay(true);
        let reference = SockRef::from(&socket);
        let _ = reference.set_out_of_band_inline(true);
        if let Some(idle) = keepalive {
            let _ = reference.set_tcp_keepalive(
                &socket2::TcpKeepalive::new()
                    .with_time(idle)
                    .with_interval(idle / 5),
            );
        }
        // SAFETY: the socket owns its descriptor, which stays open and the same until it is dropped, and that is with the AsyncFd.
        let socket = unsafe { AsyncFd::register_with_interest(socket, INTEREST) }?;
        Ok(Self { socket, _leg: None })
    }

    /// Holds this for as long as the socket is open.
    pub fn holding(self, leg: Option<Leg>) -> Self {
        Self { _leg: leg, ..self }
    }

    /// The part of connecting a non-blocking socket that needs no waiting: what is wrong with its own address comes up here.
    ///
    /// # Errors
    /// As connect(2).
    pub fn begin_connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
            _ => Ok(()),
        }
    }

    /// The rest of it.
    ///
    /// # Errors
    /// As connect(2).
    pub async fn finish_connect(socket: Socket, keepalive: Option<Duration>) -> io::Result<Self> {
        let stream = Self::watch(socket.into(), keepalive)?;
        // Kept as it is: what a connected socket is ready for is its first write.
        stream.socket.writable().await?.retain_ready();
        if let Some(error) = stream.get().take_error()? {
            return Err(error);
        }
        Ok(stream)
    }

    /// The socket itself.
    pub fn get(&self) -> &std::net::TcpStream {
        self.socket.get_ref()
    }

    /// Reads; 0 once the peer has finished sending.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            match self.get().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) if n > 0 && n < buffer.len() && !self.has_urgent() => {
                    guard.clear_ready();
                    return Poll::Ready(Ok(n));
                }
                result => return Poll::Ready(result),
            }
        }
    }

    /// True once urgent bytes have come: a read stops in front of them (tcp(7), SIOCATMARK), so that one that did not
    /// fill the buffer no longer means that nothing is left.
    fn has_urgent(&self) -> bool {
        // A load of what epoll has reported (EPOLLPRI), which nothing clears.
        self.socket.try_io(Interest::PRIORITY, |_| Ok(())).is_ok()
    }

    /// Writes as much as the kernel takes now.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_write_ready(cx))?;
            match self.get().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Sends FIN: this side will write no more.
    pub fn finish(&self) {
        // Fails only if the peer has reset the connection, which reading finds out too.
        let _ = self.get().shutdown(Shutdown::Write);
    }

    /// Waits until the connection is broken (reset by its peer, or given up by the kernel).
    pub async fn reset(&self) {
        // An error here means that the reactor is gone, and everything with it.
        if let Ok(mut guard) = self.socket.ready(Interest::ERROR).await {
            guard.retain_ready();
        }
    }

    /// From now on closing this socket sends RST and drops what is unsent (SO_LINGER of zero).
    pub fn reset_on_close(&self) {
        // Fails only for what is not a socket; the close that follows then is an ordinary one.
        let _ = SockRef::from(self.get()).set_linger(Some(Duration::ZERO));
    }

    /// Bytes that the peer has not yet acknowledged, sent or not (tcp(7), SIOCOUTQ).
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn unsent(&self) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: the descriptor is open for as long as `self` is, and SIOCOUTQ writes one int to `bytes`.
        unsafe { siocoutq(self.get().as_raw_fd(), &mut bytes) }?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Acceptor(AsyncFd<std::net::TcpListener>);

impl Acceptor {
    /// Watches a non-blocking listener.
    ///
    /// # Errors
    /// The descriptor can't be watched: too many are.
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        // SAFETY: the listener owns its descriptor, which stays open and the same until it is dropped, and that is with the AsyncFd.
        Ok(Self(unsafe { AsyncFd::register(listener) }?))
    }

    /// The next connection.
    ///
    /// # Errors
    /// As accept(2).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(std::net::TcpStream, SocketAddr)>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match self.0.get_ref().accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                result => return Poll::Ready(result),
            }
        }
    }
}
