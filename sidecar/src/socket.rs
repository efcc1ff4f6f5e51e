//! A connection's socket: reading, writing and its ends, on tokio's reactor.
//!
//! tokio's own `TcpStream` is not used for two reasons: both directions of a connection need the socket by shared
//! reference at once, while a third party waits for its reset ([`Stream::reset`]); and after a read that did not fill the
//! buffer nothing is left to read, so that the extra call that would say so is saved by clearing the readiness.
#![allow(unsafe_code)] // two registrations, an accept and three ioctls, each with its reason

use crate::legs::Leg;
use nix::{errno::Errno, libc};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{Interest, unix::AsyncFd};

nix::ioctl_read_bad!(
    /// SIOCOUTQ, which is TIOCOUTQ (include/uapi/linux/sockios.h).
    siocoutq,
    libc::TIOCOUTQ,
    libc::c_int
);
nix::ioctl_read_bad!(
    /// SIOCINQ, which is FIONREAD.
    siocinq,
    libc::FIONREAD,
    libc::c_int
);
nix::ioctl_read_bad!(
    /// True between the bytes before an urgent one and those after it (sockatmark(3)).
    siocatmark,
    0x8905,
    libc::c_int
);

/// Between two keep-alive probes that are not answered.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// How long probes may stay unanswered before the connection is given up: about as long as the kernel goes on sending
/// data that nobody acknowledges (tcp_retries2). An idle connection outlives a shorter outage without Weir, too.
const PROBED: Duration = Duration::from_secs(900);
/// Most probes that the kernel counts (MAX_TCP_KEEPCNT).
const MAX_PROBES: u32 = 127;

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

/// Sets what every relayed socket has: sends what is written at once, and probes a silent peer after `keepalive`. A listener hands these down to what it accepts.
fn prepare(socket: SockRef<'_>, keepalive: Option<Duration>) {
    // A connection that its peer has reset already refuses options; reading from it tells the story.
    let _ = socket.set_tcp_nodelay(true);
    if let Some(idle) = keepalive {
        let interval = (idle / 2).clamp(Duration::from_secs(1), PROBE_INTERVAL);
        let probes = PROBED.as_secs() / interval.as_secs();
        let _ = socket.set_tcp_keepalive(
            &socket2::TcpKeepalive::new()
                .with_time(idle)
                .with_interval(interval)
                .with_retries(u32::try_from(probes).unwrap_or(MAX_PROBES).min(MAX_PROBES)),
        );
    }
}

impl Stream {
    /// Takes a connected socket of any origin: makes it non-blocking and sets its options.
    ///
    /// # Errors
    /// The descriptor can't be watched: too many are.
    pub fn new(socket: std::net::TcpStream, keepalive: Option<Duration>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        prepare(SockRef::from(&socket), keepalive);
        Self::watch(socket)
    }

    /// Takes a socket of an [`Acceptor`], which has its options from there.
    ///
    /// # Errors
    /// The descriptor can't be watched: too many are.
    pub fn accepted(socket: std::net::TcpStream) -> io::Result<Self> {
        Self::watch(socket)
    }

    fn watch(socket: std::net::TcpStream) -> io::Result<Self> {
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
        prepare(SockRef::from(&socket), keepalive);
        let stream = Self::watch(socket.into())?;
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

    /// Reads what the socket holds at this moment, whatever the reactor knows.
    ///
    /// # Errors
    /// As read(2).
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.get().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// True if an urgent byte may be there: a read stops in front of it (tcp(7)), so that one that did not fill the buffer
    /// does not mean that nothing is left.
    pub fn has_urgent(&self) -> bool {
        // A load of what epoll has reported: EPOLLPRI, which only `take_urgent` clears. The end of the peer's bytes counts too.
        self.socket.try_io(Interest::PRIORITY, |_| Ok(())).is_ok()
    }

    /// The urgent byte, if everything before it has been read.
    pub fn take_urgent(&self) -> Option<u8> {
        let mut at_mark = 0;
        // SAFETY: the descriptor is open for as long as `self` is, and SIOCATMARK writes one int to `at_mark`.
        unsafe { siocatmark(self.get().as_raw_fd(), &mut at_mark) }.ok()?;
        if at_mark == 0 {
            return None;
        }
        let mut byte = [std::mem::MaybeUninit::uninit()];
        // An error if it is still on its way or has been taken: an ordinary read goes past it.
        let got = SockRef::from(self.get()).recv_out_of_band(&mut byte);
        if !got.is_ok_and(|n| n == 1) {
            return None;
        }
        // The next one is told of anew.
        let _ = self.socket.try_io(Interest::PRIORITY, |_| {
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        // SAFETY: the kernel has written one byte.
        Some(unsafe { byte[0].assume_init() })
    }

    /// Writes a byte as urgent (MSG_OOB): the receiver's stream does not have it unless the receiver wants it there.
    pub fn poll_write_urgent(&self, cx: &mut Context<'_>, byte: u8) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_write_ready(cx))?;
            match SockRef::from(self.get()).send_out_of_band(&[byte]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result.map(drop)),
            }
        }
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
        self.told_of(Interest::ERROR).await;
    }

    /// Waits until epoll tells of one of these.
    pub async fn told_of(&self, interest: Interest) {
        // An error here means that the reactor is gone, and everything with it.
        if let Ok(mut guard) = self.socket.ready(interest).await {
            guard.retain_ready();
        }
    }

    /// True if epoll has told that the connection is broken.
    pub fn is_broken(&self) -> bool {
        self.socket.try_io(Interest::ERROR, |_| Ok(())).is_ok()
    }

    /// True if the peer is known to have finished sending. Only for a socket that nobody waits to read from.
    pub fn has_ended(&self) -> bool {
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        match self.socket.poll_read_ready(&mut nobody) {
            Poll::Ready(Ok(mut guard)) => {
                guard.retain_ready();
                guard.ready().is_read_closed()
            }
            _ => false,
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

    /// Bytes that have come and were not read.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn unread(&self) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: the descriptor is open for as long as `self` is, and SIOCINQ writes one int to `bytes`.
        unsafe { siocinq(self.get().as_raw_fd(), &mut bytes) }?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Acceptor(AsyncFd<std::net::TcpListener>);

impl Acceptor {
    /// Watches a non-blocking listener, and gives it the options that what it accepts is to have.
    ///
    /// # Errors
    /// The descriptor can't be watched: too many are.
    pub fn new(listener: std::net::TcpListener, keepalive: Option<Duration>) -> io::Result<Self> {
        prepare(SockRef::from(&listener), keepalive);
        // SAFETY: the listener owns its descriptor, which stays open and the same until it is dropped, and that is with the AsyncFd.
        Ok(Self(unsafe { AsyncFd::register(listener) }?))
    }

    /// The next connection, non-blocking.
    ///
    /// # Errors
    /// As accept(2).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(std::net::TcpStream, SocketAddr)>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match accept(self.0.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                result => return Poll::Ready(result),
            }
        }
    }
}

/// accept4(2): the standard library's accept needs a second call to make the socket non-blocking.
fn accept(listener: &std::net::TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    const FLAGS: libc::c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes an address of at most `length` bytes to `address` and its length to `length`; what it
    // returns is a new descriptor that nobody else owns.
    let (socket, peer) = unsafe {
        SockAddr::try_init(|address, length| {
            let fd = Errno::result(libc::accept4(listener.as_raw_fd(), address.cast(), length, FLAGS))?;
            Ok(OwnedFd::from_raw_fd(fd))
        })
    }?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((socket.into(), peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn every_relayed_socket_is_probed_before_address_translation_forgets_it() {
        let keepalive = weir_config::Relay::default().keepalive.non_zero();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let acceptor = Acceptor::new(listener, keepalive).unwrap();
        let socket = tcp(address).unwrap();
        Stream::begin_connect(&socket, address).unwrap();
        let dialled = Stream::finish_connect(socket, keepalive).await.unwrap();
        let (accepted, peer) = std::future::poll_fn(|cx| acceptor.poll_accept(cx)).await.unwrap();
        assert_eq!(peer, dialled.get().local_addr().unwrap());
        let accepted = Stream::accepted(accepted).unwrap();
        let plain = Stream::new(TcpStream::connect(address).unwrap(), keepalive).unwrap();
        for stream in [&dialled, &accepted, &plain] {
            let socket = SockRef::from(stream.get());
            assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
            // Less than the 60 s that connection tracking gives a half-closed connection.
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 60);
        }
    }
}
