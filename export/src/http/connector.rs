//! Connections to a sink's server: the name is looked up, and its addresses are tried one after the other.

use crate::{lookup, sockets};
use hyper::Uri;
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tower_service::Service;

/// For all addresses of a server together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects by sockets that were prepared as the process wants it: see [`sockets`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Connector;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        Box::pin(async move {
            let stream = reach(&server).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

async fn reach(server: &Uri) -> io::Result<TcpStream> {
    let host = server.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = server.port_u16().unwrap_or(match server.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => lookup::addresses(host).await.map_err(|error| {
            let reason = format!("cannot look up {host}: {error}");
            io::Error::new(error.kind(), reason)
        })?,
    };
    first_of(addresses.into_iter().map(|ip| (ip, port).into()).collect()).await
}

/// The first of these that is reached. Each gets its share of the time that is left.
async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let end = Instant::now() + PATIENCE;
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = end.saturating_duration_since(Instant::now()) / left;
        left -= 1;
        let connected = timeout(share, connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                failure = io::Error::new(error.kind(), format!("cannot connect to {address}: {error}"));
            }
        }
    }
    Err(failure)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    sockets::prepare(socket.as_fd())?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(future)
    }

    fn closed() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    #[test]
    fn addresses_are_tried_in_turn() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        let stream = run(first_of(vec![closed(), address])).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let error = run(first_of(vec![closed()])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(
            error.to_string().starts_with("cannot connect to 127.0.0.1:"),
            "{error}"
        );
    }

    #[test]
    fn literal_addresses_are_not_looked_up() {
        for literal in ["127.0.0.1", "[::1]"] {
            let Ok(listener) = TcpListener::bind(format!("{literal}:0")) else {
                continue; // no IPv6
            };
            let port = listener.local_addr().unwrap().port();
            let server = format!("http://{literal}:{port}/").parse().unwrap();
            assert_eq!(run(reach(&server)).unwrap().peer_addr().unwrap().port(), port);
        }
    }
}
