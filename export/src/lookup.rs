//! Names of servers to addresses, as the system's files have it (`hosts(5)`, `resolv.conf(5)`); and the sockets that were used
//! for that, so that who looks at this process's packets can tell them from others.
//!
//! The C library's resolver keeps its sockets to itself, and for milliseconds. So the queries are sent from here: each socket
//! is remembered before anything is sent from it.

use crate::sockets;
use hickory_resolver::{
    Resolver as Lookups,
    config::{NameServerConfig, ResolverConfig, ResolverOpts, ServerOrderingStrategy},
    net::runtime::{RuntimeProvider, TokioRuntimeProvider, iocompat::AsyncIoTokioAsStd},
    system_conf::read_system_conf,
};
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpSocket, UdpSocket},
    time::timeout,
};

/// So long a socket is remembered: longer than its first packet waits to be looked at, and not so long that somebody else gets its
/// port.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Most that are.
const MOST: usize = 256;
/// So long a name server is waited for that is asked over TCP.
const CONNECT: Duration = Duration::from_secs(5);

/// Whom a socket of this process speaks to, and from which port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    port: u16,
    server: SocketAddr,
}

static SEEN: Mutex<Vec<(Socket, Instant)>> = Mutex::new(Vec::new());

/// True if the flow from this port to this server is that of a look-up by this process.
pub fn is_own_lookup(port: u16, server: SocketAddr) -> bool {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let flow = Socket { port, server };
    seen.iter()
        .any(|(socket, at)| *socket == flow && at.elapsed() < REMEMBERED)
}

/// Look-ups are so rare that this is done whether anybody asks or not.
fn remember(port: u16, server: SocketAddr) {
    let socket = Socket {
        port,
        server: SocketAddr::new(server.ip().to_canonical(), server.port()),
    };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.retain(|(known, at)| *known != socket && at.elapsed() < REMEMBERED);
    // Rather the oldest shows up than the memory grows.
    if seen.len() >= MOST {
        seen.remove(0);
    }
    seen.push((socket, Instant::now()));
}

/// The addresses of a server, for a sink's connection.
pub(crate) async fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let (config, options) = settings();
    look_up(name, config, options).await
}

/// As the system is set up now: what is asked for once in a while may as well be asked where it is to be asked by then.
fn settings() -> (ResolverConfig, ResolverOpts) {
    let (config, mut options) = read_system_conf().unwrap_or_else(|error| {
        // As resolv.conf(5) has it.
        tracing::debug!("no name server in /etc/resolv.conf, this machine is asked: {error}");
        let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (
            ResolverConfig::from_name_servers(vec![here]),
            ResolverOpts::default(),
        )
    });
    options.cache_size = 0;
    // One after the other in their order: a second server may know other names than the first.
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.os_port_selection = true;
    (config, options)
}

async fn look_up(name: &str, config: ResolverConfig, options: ResolverOpts) -> io::Result<Vec<IpAddr>> {
    let lookups = Lookups::builder_with_config(config, Sockets::default())
        .with_options(options)
        .build()
        .map_err(io::Error::other)?;
    let found = lookups.lookup_ip(name).await.map_err(io::Error::other)?;
    Ok(found.iter().collect())
}

/// Opens the sockets of look-ups and remembers them.
#[derive(Clone, Default)]
struct Sockets(TokioRuntimeProvider);

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        own: Option<SocketAddr>,
        wait: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        Box::pin(async move {
            let (socket, any) = match server {
                SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
                SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
            };
            sockets::prepare(socket.as_fd())?;
            // Bound first: the port has to be known before the handshake is seen.
            socket.bind(own.unwrap_or(SocketAddr::new(any, 0)))?;
            remember(socket.local_addr()?.port(), server);
            let connected = timeout(wait.unwrap_or(CONNECT), socket.connect(server)).await??;
            Ok(AsyncIoTokioAsStd(connected))
        })
    }

    fn bind_udp(
        &self,
        own: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(own).await?;
            sockets::prepare(socket.as_fd())?;
            remember(socket.local_addr()?.port(), server);
            Ok(socket)
        })
    }
}

#[cfg(test)]
mod tests;
