//! Names of servers to addresses, by the system's resolver; and the sockets that it uses for that, so that who looks at this
//! process's packets can tell them from others.
//!
//! The resolver keeps its sockets to itself, and for milliseconds. So they are looked for while it is at work, among the
//! descriptors of this process: what is found is its own for certain, though one that was answered at once may be missed.

use hyper_util::client::legacy::connect::dns::Name;
use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};
use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    os::fd::RawFd,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
    vec,
};
use tower_service::Service;

/// So long a socket is remembered: longer than packets wait to be looked at.
const REMEMBERED: Duration = Duration::from_secs(10);
/// So long there is no rest between two looks.
const BUSY: Duration = Duration::from_millis(5);
/// Most that are.
const MOST: usize = 256;
/// Behind so many that are no sockets, no more descriptors are looked at: a new one has the lowest number that is free.
const OTHERS: RawFd = 64;

/// A socket of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    own: SocketAddr,
    peer: Option<SocketAddr>,
}

/// Somebody wants to know.
static WANTED: AtomicBool = AtomicBool::new(false);
static SEEN: Mutex<Vec<(Socket, Instant)>> = Mutex::new(Vec::new());

/// From now on sockets of look-ups are remembered.
pub fn remember_lookups() {
    WANTED.store(true, Ordering::Relaxed);
}

/// True if the flow between these sockets is that of a look-up by this process.
pub fn is_own_lookup(own: SocketAddr, peer: SocketAddr) -> bool {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.iter().any(|(socket, at)| {
        let here = socket.own == own || socket.own.ip().is_unspecified() && socket.own.port() == own.port();
        here && socket.peer.is_none_or(|known| known == peer) && at.elapsed() < REMEMBERED
    })
}

/// As [`hyper_util::client::legacy::connect::dns::GaiResolver`], with its sockets remembered.
#[derive(Clone, Debug)]
pub(crate) struct Resolver;

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || watched(|| (name.as_str(), 0).to_socket_addrs()));
            found.await.map_err(io::Error::other)?
        })
    }
}

/// Does this while sockets are looked for.
fn watched<T>(look_up: impl FnOnce() -> T) -> T {
    if !WANTED.load(Ordering::Relaxed) {
        return look_up();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (begun, begin) = mpsc::channel();
        let watch = || watch(&done, begun);
        // Without a thread they are not found, and the look-up is what matters.
        if thread::Builder::new().spawn_scoped(scope, watch).is_ok() {
            let _ = begin.recv();
        }
        let result = look_up();
        done.store(true, Ordering::Release);
        result
    })
}

fn watch(done: &AtomicBool, begun: mpsc::Sender<()>) {
    let start = Instant::now();
    // (Nobody waits for it any more if that fails.)
    let _ = begun.send(());
    while !done.load(Ordering::Acquire) {
        let mut last = 0;
        for fd in 0.. {
            if let Some(socket) = socket(fd) {
                remember(socket);
                last = fd;
            }
            if fd - last > OTHERS {
                break;
            }
        }
        // An answer that comes at once leaves little time; one that does not leaves much.
        match start.elapsed() {
            short if short < BUSY => thread::yield_now(),
            long => thread::sleep(long / 16),
        }
    }
}

fn remember(socket: Socket) {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    match seen.iter_mut().find(|(known, _)| *known == socket) {
        Some((_, at)) => *at = now,
        None => {
            seen.retain(|(_, at)| at.elapsed() < REMEMBERED);
            if seen.len() < MOST {
                seen.push((socket, now));
            }
        }
    }
}

/// The socket that has this descriptor, if one has: also one for connections, which is this process's own just as well.
fn socket(fd: RawFd) -> Option<Socket> {
    let own = address(&getsockname(fd).ok()?)?;
    let peer = getpeername(fd).ok().as_ref().and_then(address);
    (own.port() > 0).then_some(Socket { own, peer })
}

/// An address of IPv4 or IPv6, in IPv4's own form if it is one.
fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let (ip, port) = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => (IpAddr::V4(v4.ip()), v4.port()),
        (_, Some(v6)) => (IpAddr::V6(v6.ip()), v6.port()),
        _ => return None,
    };
    Some((ip.to_canonical(), port).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_socket_that_is_used_for_a_look_up_is_remembered_and_no_other() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = server.local_addr().unwrap();
        let another = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let look_up = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(server).unwrap();
            socket.local_addr().unwrap()
        };
        // Nobody wants to know.
        let before = watched(look_up);
        remember_lookups();
        let own = watched(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(server).unwrap();
            let own = socket.local_addr().unwrap();
            while !is_own_lookup(own, server) {
                thread::yield_now();
            }
            own
        });
        assert!(is_own_lookup(own, server), "after its end too");
        assert!(!is_own_lookup(own, another), "to another server");
        assert!(!is_own_lookup(before, server));
    }
}
