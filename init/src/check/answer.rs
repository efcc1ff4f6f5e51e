//! Answers probes in the sidecar's place where none runs.

use super::LIMIT;
use crate::Family;
use socket2::{Domain, SockRef, Socket, Type};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use weir_config::{Mode, probe};
use weir_listen::{Extra, Sharing};

/// Data threads of the sidecar in whose place this process answers: nobody knows how many it will have, and what works
/// for several works for one.
const SEVERAL: usize = 2;

/// Who answers on one port.
pub enum Answerer {
    /// Somebody listens there already.
    Sidecar,
    /// This process.
    Check(Listening),
    /// Nobody: this process can't listen there.
    Nobody(io::Error),
}

/// Stops listening when dropped.
pub struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answerer {
    /// Stops listening: when it returns, the next one may listen on the same port.
    pub async fn stop(self) {
        if let Self::Check(mut listening) = self {
            listening.0.abort();
            // It ends as cancelled, which is what was asked for.
            let _ = (&mut listening.0).await;
        }
    }

    /// The same in words.
    pub fn describe(&self, port: u16) -> String {
        match self {
            Self::Sidecar => format!("the listener on port {port}"),
            Self::Check(_) => format!("weir-init itself (nobody listens on port {port} yet)"),
            Self::Nobody(error) => format!("nobody (cannot listen on port {port}: {error})"),
        }
    }
}

/// Listens on the loopback address, where redirected local connections arrive, unless somebody else does.
///
/// In mode `ebpf`, and where a mode is tried beside another, it listens on the probes' own port: on the sidecar's, it would be
/// taken for a sidecar, and get the connections of others.
pub fn listen(family: Family, port: u16, mode: Mode, probe_port: u16, name: &'static str) -> Answerer {
    let ebpf = mode == Mode::Ebpf;
    let apart = ebpf || probe_port == probe::TRIAL_PORT;
    if apart && is_taken(SocketAddr::new(family.loopback(), port)) {
        return Answerer::Sidecar;
    }
    let port = if apart { probe_port } else { port };
    match bind(SocketAddr::new(family.loopback(), port), ebpf) {
        Ok(listener) => Answerer::Check(Listening(tokio::spawn(serve(listener, family, name)))),
        Err(error) if !apart && error.kind() == io::ErrorKind::AddrInUse => Answerer::Sidecar,
        Err(error) => Answerer::Nobody(error),
    }
}

/// True if somebody listens there. Nobody notices: the socket never listens itself.
fn is_taken(address: SocketAddr) -> bool {
    let bound = Socket::new(Domain::for_address(address), Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    });
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The kind of socket that the sidecar's listeners are, for on some kernels `bpf_sk_assign` refuses another kind. In the
/// other modes it is one without `SO_REUSEPORT`, by which this process would join a sidecar of the same user. NET_ADMIN,
/// which a check has, is enough for the options.
fn bind(address: SocketAddr, ebpf: bool) -> io::Result<TcpListener> {
    let sharing = match ebpf {
        true => Sharing::here(SEVERAL),
        false => Sharing::OneSocket,
    };
    TcpListener::from_std(weir_listen::listen(address, sharing, Some(Extra::Transparent))?)
}

async fn serve(listener: TcpListener, family: Family, name: &'static str) {
    while let Ok((stream, _)) = listener.accept().await {
        match original_destination(&stream, family) {
            Some(destination) if probe::is_probe(destination) => {
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(LIMIT, reply(stream, name, destination)).await;
                });
            }
            // An application's connection: reset, which is what it would have met without this listener.
            _ => drop(stream.set_zero_linger()),
        }
    }
}

fn original_destination(stream: &TcpStream, family: Family) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = match family {
        Family::V4 => socket.original_dst_v4(),
        Family::V6 => socket.original_dst_v6(),
    };
    // Without NAT the destination is where it was.
    let original = original.ok().and_then(|address| address.as_socket());
    original.or_else(|| stream.local_addr().ok())
}

async fn reply(stream: TcpStream, name: &str, destination: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut token = String::new();
    (&mut stream)
        .take(probe::MAX_TOKEN as u64 + 1)
        .read_line(&mut token)
        .await?;
    let reply = probe::reply(token.trim_end(), name, destination);
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    // Until the other side has closed, so that the reply is not cut off by a reset.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0])).await;
    Ok(())
}
