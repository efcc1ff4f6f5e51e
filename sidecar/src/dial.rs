//! Dialling the original destination, without ever running out of ports.
//!
//! *Inbound*, the destination is an address of this namespace. Where the connection came with its addresses in place and
//! the sidecar may, it is dialled from the client's address, with a port that the client does not use: see
//! [`crate::clients`]. Else, and whenever that does not work at once, from a spare address. Dialled from the namespace's own address, at most 28 232
//! connections a minute would succeed (the client closes first, so this socket is the one that ends in TIME_WAIT). So the
//! source is one of the spare local addresses that the installer has set aside, in turn. It also tells the redirect
//! rules this dial from the application's call to its own service. Never loopback: applications trust it.
//!
//! *Outbound*, the source address is that of the application's own connection, which may have chosen it; the source port
//! must not be one that the application needs for itself: see [`crate::ports`].

use crate::{
    addresses::Addresses,
    backlog,
    clients::{ClientPorts, InUse},
    legs::{Leg, Legs},
    original::OriginalDestination,
    own::Own,
    ports::SparePorts,
    socket::{Stream, transparent},
    source::{NotKept, Source, is_suitable},
    unreached::Unreached,
};
use nix::{errno::Errno, sys::socket::setsockopt, sys::socket::sockopt};
use socket2::Socket;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use weir_config::{SPARE_V4, SPARE_V6};
use weir_records::Direction;

/// Ports that are tried before the choice is left to the kernel.
const PORT_ATTEMPTS: usize = 64;
/// Addresses of each spare block that are dialled from: all but the first and, for IPv4, the last (the probe's).
const SPARE_ADDRESSES: u32 = 61;

/// Ports of the client's address that are tried before a spare address is taken.
const CLIENT_ATTEMPTS: usize = 16;
/// A dial from the client's address that takes longer than this way over lo ever does is joined by another one.
const SLOW: Duration = Duration::from_millis(250);
/// Where the application's queue was full: time for the SYNs that the kernel sends after 1 and 3 s. Twice as long each time.
const FULL: Duration = Duration::from_secs(3);

/// Dials. One a process; shared by all data threads.
#[derive(Debug)]
pub struct Dialer {
    ports: SparePorts,
    clients: ClientPorts,
    addresses: Addresses,
    legs: Option<Arc<Legs>>,
    own: Own,
    /// Its own connections may come back to it.
    guarded: bool,
    turn: AtomicU32,
    timeout: Option<Duration>,
    keepalive: Option<Duration>,
    unreached: Unreached,
}

/// A socket that connects, and what is told of it.
type Begun = (Socket, Option<Leg>);

/// Why a destination was not reached.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", reason.name())]
pub struct DialError {
    /// The reason.
    pub reason: Reason,
    /// What the kernel said.
    pub source: io::Error,
}

/// Why destinations are not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The destination's machine said that nobody listens there.
    Refused,
    /// The destination accepted the connection and reset it at once.
    Reset,
    /// Nobody answered.
    Timeout,
    /// There is no way to the destination, or its machine is down.
    Unreachable,
    /// A rule of this machine or of a router forbids it.
    Forbidden,
    /// The spare local addresses were not set aside.
    NoSpareAddress,
    /// No port is left to dial from.
    NoPort,
    /// The application's own address can't be had.
    NoAddress,
    /// Descriptors or memory are short.
    NoResources,
    /// The client went before its destination was reached.
    ClientGone,
    /// None of these.
    Other,
}

impl Reason {
    /// All of them, for counters.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::Reset,
        Self::Timeout,
        Self::Unreachable,
        Self::Forbidden,
        Self::NoSpareAddress,
        Self::NoPort,
        Self::NoAddress,
        Self::NoResources,
        Self::ClientGone,
        Self::Other,
    ];

    /// A short stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::NoSpareAddress => "no_spare_address",
            Self::NoPort => "no_port",
            Self::NoAddress => "no_address",
            Self::NoResources => "no_resources",
            Self::ClientGone => "client_gone",
            Self::Other => "other",
        }
    }

    /// What connect(2) and ip(7) say by these codes. A reset that comes behind the destination's FIN is EPIPE, and one that has
    /// been seen already leaves ENOTCONN.
    fn of(error: &io::Error) -> Self {
        let Some(code) = error.raw_os_error() else {
            return match error.kind() {
                io::ErrorKind::TimedOut => Self::Timeout,
                _ => Self::Other,
            };
        };
        match Errno::from_raw(code) {
            Errno::ECONNREFUSED => Self::Refused,
            Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE | Errno::ENOTCONN => Self::Reset,
            Errno::ETIMEDOUT => Self::Timeout,
            Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT => Self::Unreachable,
            Errno::EACCES | Errno::EPERM => Self::Forbidden,
            Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN => Self::NoPort,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => Self::NoResources,
            _ => Self::Other,
        }
    }
}

impl DialError {
    /// It took too long.
    pub fn timeout() -> Self {
        Self::new(io::ErrorKind::TimedOut.into())
    }

    /// The client reset its connection before its destination was reached.
    pub fn client_gone() -> Self {
        Self {
            reason: Reason::ClientGone,
            source: io::ErrorKind::ConnectionReset.into(),
        }
    }

    fn new(source: io::Error) -> Self {
        Self {
            reason: Reason::of(&source),
            source,
        }
    }
}

impl Dialer {
    /// A dialer for this namespace. `timeout` is for whoever waits for outbound dials; without it the kernel's own applies
    /// (tcp_syn_retries). Its sockets are made by `own`. Markers of destinations that can't be reached have the port `markers`.
    pub fn new(timeout: Option<Duration>, keepalive: Option<Duration>, own: Own, markers: u16) -> Self {
        Self {
            ports: SparePorts::of_this_namespace(),
            clients: ClientPorts::of_this_namespace(),
            addresses: Addresses::default(),
            legs: None,
            own,
            guarded: false,
            turn: AtomicU32::new(0),
            timeout,
            keepalive,
            unreached: Unreached::new(markers),
        }
    }

    /// The same, which tells these of its sockets; `guarded` if connections that are accepted are to be looked for among them.
    pub fn telling(self, legs: Option<Arc<Legs>>, guarded: bool) -> Self {
        Self {
            legs,
            guarded,
            ..self
        }
    }

    /// True if what has come from `client` for `server` is a connection, or a query, that this process itself sends: it was
    /// redirected although it is the sidecar's own, and would come back again and again.
    pub fn is_own(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let legs = self.legs.as_ref().filter(|_| self.guarded);
        legs.is_some_and(|legs| legs.is_open(client, server))
    }

    /// Makes the sockets of this process.
    pub fn own(&self) -> Own {
        self.own
    }

    /// Tells of a connection that was accepted, for as long as what it gives lives.
    pub fn accepted(&self, client: SocketAddr, server: SocketAddr) -> Option<Leg> {
        self.legs.as_ref().map(|legs| legs.accepted(client, server))
    }

    /// Longest wait for an outbound connection.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Destinations that could not be reached lately.
    pub fn unreached(&self) -> &Unreached {
        &self.unreached
    }

    /// This machine's addresses.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Remembers that a client uses its port itself, for as long as what it gives lives.
    pub fn client(&self, client: SocketAddr) -> Option<InUse<'_>> {
        self.clients.used_by(client)
    }

    /// Connects to the original destination; also tells why the client's address was not kept where it was to be.
    ///
    /// # Errors
    /// As connect(2), by reason.
    pub async fn dial(
        &self,
        direction: Direction,
        destination: OriginalDestination,
        source: Source,
    ) -> Result<(Stream, Option<NotKept>), DialError> {
        match (direction, source) {
            (Direction::Ingress, Source::Client(client)) => self.dial_as(client, destination.0).await,
            (Direction::Ingress, Source::Own) => Ok((self.dial_own(destination.0).await?, None)),
            (Direction::Ingress, _) => Ok((self.dial_local(destination.0).await?, None)),
            (_, Source::Application(own)) => self.dial_out(destination.0, own).await,
            (_, _) => Ok((self.dial_any(destination.0, None).await?, None)),
        }
    }

    async fn connect(&self, socket: Socket, destination: SocketAddr) -> io::Result<Stream> {
        let leg = self.begin(&socket, destination)?;
        self.finish((socket, leg)).await
    }

    /// The part of it that needs no waiting.
    fn begin(&self, socket: &Socket, destination: SocketAddr) -> io::Result<Option<Leg>> {
        let Some(legs) = &self.legs else {
            return Stream::begin_connect(socket, destination).map(|()| None);
        };
        legs.open(destination, || {
            Stream::begin_connect(socket, destination)?;
            // The connection is worth more than to know its address.
            Ok(socket.local_addr().ok().and_then(|local| local.as_socket()))
        })
    }

    async fn finish(&self, (socket, leg): Begun) -> io::Result<Stream> {
        let stream = Stream::finish_connect(socket, self.keepalive).await?;
        Ok(stream.holding(leg))
    }

    /// From the client's address if that works at once, from a spare one otherwise: the address is worth less than the
    /// connection.
    async fn dial_as(
        &self,
        client: IpAddr,
        destination: SocketAddr,
    ) -> Result<(Stream, Option<NotKept>), DialError> {
        let not_kept = match self.begin_as(client, destination) {
            Ok((socket, leg)) => {
                let mut first = std::pin::pin!(self.finish((socket, leg)));
                match soon(first.as_mut(), destination).await {
                    Some(Ok(stream)) => return Ok((stream, None)),
                    // The application's own word, before it was open or just after: not to be asked for twice.
                    Some(Err(error))
                        if matches!(
                            error.kind(),
                            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
                        ) =>
                    {
                        return Err(DialError::new(error));
                    }
                    Some(Err(_)) => NotKept::REFUSED,
                    None => {
                        let mut second = std::pin::pin!(self.dial_local(destination));
                        tokio::select! {
                            biased;
                            Ok(stream) = &mut first => return Ok((stream, None)),
                            result = &mut second => return Ok((result?, Some(NotKept::SLOW))),
                        }
                    }
                }
            }
            Err(not_kept) => not_kept,
        };
        Ok((self.dial_local(destination).await?, Some(not_kept)))
    }

    /// A socket that connects from the client's address.
    fn begin_as(&self, client: IpAddr, destination: SocketAddr) -> Result<Begun, NotKept> {
        if !is_suitable(client, destination) {
            return Err(NotKept::LOCAL);
        }
        for _ in 0..CLIENT_ATTEMPTS {
            let port = self.clients.next(client).ok_or(NotKept::NO_PORT)?;
            match self.begin_from(SocketAddr::new(client, port), destination) {
                Ok(Some(begun)) => return Ok(begun),
                Ok(None) => return Err(NotKept::LOCAL),
                Err(error) if is_taken(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(NotKept::NO_PRIVILEGE);
                }
                Err(error) => {
                    tracing::debug!(%client, %destination, %error, "cannot dial from the client's address");
                    return Err(NotKept::REFUSED);
                }
            }
        }
        Err(NotKept::NO_PORT)
    }

    /// Nothing if the source is an address of this machine: a dial from there is taken for a call of its own.
    fn begin_from(&self, source: SocketAddr, destination: SocketAddr) -> io::Result<Option<Begun>> {
        let socket = self.own.tcp(destination)?;
        // Lets connections in TIME_WAIT and to other destinations hold the port too; a listener's is refused.
        socket.set_reuse_address(true)?;
        match socket.bind(&source.into()) {
            // What binds without privilege is local, unless sockets may bind to any address.
            Ok(()) if self.addresses.is_local(source.ip()) => return Ok(None),
            Ok(()) => transparent(&socket)?,
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                transparent(&socket)?;
                socket.bind(&source.into()).map_err(no_low_port)?;
            }
            Err(error) => return Err(no_low_port(error)),
        }
        let leg = self.begin(&socket, destination)?;
        Ok(Some((socket, leg)))
    }

    /// From the address that the kernel chooses; from a spare one if that has no port left.
    async fn dial_own(&self, destination: SocketAddr) -> Result<Stream, DialError> {
        let socket = self.own.tcp(destination).map_err(DialError::new)?;
        match self.connect(socket, destination).await {
            Err(error) if is_taken(&error) && !destination.ip().is_loopback() => {
                self.dial_local(destination).await
            }
            result => result.map_err(DialError::new),
        }
    }

    async fn dial_local(&self, destination: SocketAddr) -> Result<Stream, DialError> {
        let mut last = io::Error::from(Errno::EADDRNOTAVAIL);
        for _ in 0..SPARE_ADDRESSES {
            let socket = self.own.tcp(destination).map_err(DialError::new)?;
            let source = self.spare_address(destination.is_ipv6());
            bind_spare(&socket, source).map_err(|source| DialError {
                reason: Reason::NoSpareAddress,
                source,
            })?;
            match self.connect(socket, destination).await {
                // All ports of this one address are in use towards this destination: the next address.
                Err(error) if is_taken(&error) => last = error,
                result => return result.map_err(DialError::new),
            }
        }
        Err(DialError::new(last))
    }

    /// From the address of the application's own connection; from the kernel's choice where that can't be had.
    async fn dial_out(
        &self,
        destination: SocketAddr,
        own: SocketAddr,
    ) -> Result<(Stream, Option<NotKept>), DialError> {
        // Where the pod has one address the kernel has no other choice.
        let is_chosen = !own.ip().is_loopback() && !self.addresses.is_only(own.ip());
        if !is_chosen {
            return Ok((self.dial_any(destination, None).await?, None));
        }
        match self.dial_any(destination, Some(own)).await {
            Err(error) if error.reason == Reason::NoAddress => {
                tracing::debug!(%own, %destination, %error, "cannot dial from the application's address");
                let stream = self.dial_any(destination, None).await?;
                Ok((stream, Some(NotKept::APPLICATION)))
            }
            result => Ok((result?, None)),
        }
    }

    async fn dial_any(&self, destination: SocketAddr, own: Option<SocketAddr>) -> Result<Stream, DialError> {
        if self.ports.is_busy(destination) {
            for _ in 0..PORT_ATTEMPTS {
                let Some(port) = self.ports.next() else { break };
                match self.dial_from_port(destination, own, port).await {
                    Err(error) if is_taken(&error) => {}
                    result => return result.map_err(DialError::new),
                }
            }
        }
        let socket = self.own.tcp(destination).map_err(DialError::new)?;
        if let Some(own) = own {
            bind_address(&socket, own).map_err(|source| DialError {
                reason: Reason::NoAddress,
                source,
            })?;
        }
        self.connect(socket, destination).await.map_err(DialError::new)
    }

    async fn dial_from_port(
        &self,
        destination: SocketAddr,
        own: Option<SocketAddr>,
        port: u16,
    ) -> io::Result<Stream> {
        let socket = self.own.tcp(destination)?;
        if destination.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        let any: IpAddr = match destination {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut source = own.unwrap_or(SocketAddr::new(any, 0));
        source.set_port(port);
        // Lets connections to other destinations, and those in TIME_WAIT, hold the port too; a listener's is refused.
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
        self.connect(socket, destination).await
    }

    fn spare_address(&self, v6: bool) -> IpAddr {
        let host = 1 + self.turn.fetch_add(1, Ordering::Relaxed) % SPARE_ADDRESSES;
        if v6 {
            Ipv6Addr::from_bits(SPARE_V6.addr().to_bits() + u128::from(host)).into()
        } else {
            Ipv4Addr::from_bits(SPARE_V4.addr().to_bits() + host).into()
        }
    }
}

/// What comes of a dial within a short while. Where the application's queue is full the wait goes on: a second dial would
/// meet the same queue, and be one SYN more for an application that is short of time.
async fn soon<T>(mut dial: Pin<&mut impl Future<Output = T>>, destination: SocketAddr) -> Option<T> {
    let mut pause = SLOW;
    let mut next = FULL;
    loop {
        match tokio::time::timeout(pause, &mut dial).await {
            Ok(result) => return Some(result),
            Err(_) if backlog::is_full(destination) => (pause, next) = (next, next * 2),
            Err(_) => return None,
        }
    }
}

/// Binds to an address alone: the port is chosen by connect(2), which may then share it between destinations.
fn bind_address(socket: &Socket, mut source: SocketAddr) -> io::Result<()> {
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    source.set_port(0);
    socket.bind(&source.into())
}

fn bind_spare(socket: &Socket, source: IpAddr) -> io::Result<()> {
    if source.is_ipv6() {
        // A local route makes an IPv4 address one's own for bind(2), but not an IPv6 one.
        socket.set_freebind_v6(true)?;
    }
    bind_address(socket, SocketAddr::new(source, 0))
}

/// A port below `net.ipv4.ip_unprivileged_port_start` is none that is free.
fn no_low_port(error: io::Error) -> io::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES) => Errno::EADDRINUSE.into(),
        _ => error,
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_the_kernel_has_its_reason() {
        for (code, name) in [
            (Errno::ECONNREFUSED, "refused"),
            (Errno::ECONNRESET, "reset"),
            (Errno::EPIPE, "reset"),
            (Errno::ETIMEDOUT, "timeout"),
            (Errno::ENETUNREACH, "unreachable"),
            (Errno::EHOSTUNREACH, "unreachable"),
            (Errno::EHOSTDOWN, "unreachable"),
            (Errno::EACCES, "forbidden"),
            (Errno::EPERM, "forbidden"),
            (Errno::EADDRNOTAVAIL, "no_port"),
            (Errno::EMFILE, "no_resources"),
            (Errno::EINVAL, "other"),
        ] {
            let error = DialError::new(code.into());
            assert_eq!(error.reason.name(), name, "{code}");
            assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
        }
        assert_eq!(DialError::timeout().reason, Reason::Timeout);
        let names: std::collections::HashSet<_> = Reason::ALL.map(Reason::name).into();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(
            Reason::ALL
                .into_iter()
                .enumerate()
                .all(|(at, reason)| reason as usize == at)
        );
    }

    #[test]
    fn spare_addresses_come_in_turn_from_the_block_and_leave_the_probes_alone() {
        let dialer = Dialer::new(None, None, Own::default(), 15001);
        for v6 in [false, true] {
            let round: std::collections::HashSet<_> =
                (0..SPARE_ADDRESSES).map(|_| dialer.spare_address(v6)).collect();
            assert_eq!(round.len(), SPARE_ADDRESSES as usize);
            for address in round {
                match address {
                    IpAddr::V4(ip) => assert!(
                        SPARE_V4.contains(&ip) && ip != Ipv4Addr::new(192, 0, 0, 126),
                        "{ip}"
                    ),
                    IpAddr::V6(ip) => assert!(SPARE_V6.contains(&ip) && ip != SPARE_V6.addr(), "{ip}"),
                }
            }
        }
    }

    #[test]
    fn a_connection_of_our_own_that_comes_back_is_known() {
        let (own, server): (SocketAddr, SocketAddr) =
            (([192, 0, 0, 65], 1).into(), ([198, 18, 0, 1], 80).into());
        for guarded in [false, true] {
            let dialer =
                Dialer::new(None, None, Own::default(), 15001).telling(Some(Arc::default()), guarded);
            let leg = dialer.accepted(own, server);
            assert!(leg.is_some());
            assert_eq!(dialer.is_own(own, server), guarded);
            assert!(!dialer.is_own(server, own));
            drop(leg);
            assert!(!dialer.is_own(own, server));
        }
    }
}
