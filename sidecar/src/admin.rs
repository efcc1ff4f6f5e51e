//! The sidecar's own endpoints: admin (`/config`, `/stats`), health (`/healthz/ready`), Prometheus (`/metrics`).
//!
//! They run on the main thread, so that a scrape never delays a connection. Readiness is asked of every data thread.

mod places;

use crate::{
    condition::{Condition, Degraded},
    metrics::Metrics,
    mode::{self, InForce},
    privilege::Privileges,
    socket::tcp,
    worker::Command,
};
use anyhow::Context;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use places::Places;
use socket2::Socket;
use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How long data threads may take to answer, and a client to send its request.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a connection may last, answer included.
const LONGEST: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// What the endpoints answer from.
#[derive(Debug)]
pub struct State {
    /// The configuration in force, as YAML.
    pub config: String,
    /// The counters.
    pub metrics: Metrics,
    /// A way to each data thread.
    pub workers: Vec<mpsc::Sender<Command>>,
    /// The mode of redirection.
    pub mode: Arc<InForce>,
    /// What it may do.
    pub privileges: Privileges,
    /// What is wrong with the sidecar itself.
    pub condition: Arc<Condition>,
    /// Set once the sidecar drains.
    pub draining: AtomicBool,
}

/// An endpoint.
#[derive(Clone, Copy, Debug)]
pub enum Endpoint {
    /// `/config` and `/stats`, on loopback alone.
    Admin,
    /// `/healthz/ready`.
    Health,
    /// `/metrics`.
    Metrics,
}

/// Opens an endpoint's port, non-blocking; call [`serve`] with it.
///
/// # Errors
/// The port is taken.
pub fn listen(endpoint: Endpoint, port: u16) -> anyhow::Result<std::net::TcpListener> {
    let open = || -> io::Result<std::net::TcpListener> {
        let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, port).into();
        let socket = match endpoint {
            Endpoint::Admin => bind((Ipv4Addr::LOCALHOST, port).into())?,
            // Both families on one socket; IPv4 alone where the kernel has no IPv6.
            _ => bind(any).or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse => Err(error),
                _ => bind((Ipv4Addr::UNSPECIFIED, port).into()),
            })?,
        };
        Ok(socket.into())
    };
    open().with_context(|| {
        format!(
            "cannot listen on port {port} for the {endpoint:?} endpoint; choose another one, or 0 for none"
        )
    })
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Answers for ever. Clients that say nothing keep nobody else from being answered: see [`Places`].
pub async fn serve(endpoint: Endpoint, listener: TcpListener, state: Arc<State>) {
    let mut places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let has_asked = Arc::new(AtomicBool::new(false));
                let task = tokio::spawn(converse(endpoint, stream, state.clone(), has_asked.clone()));
                places.take(task.abort_handle(), has_asked);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the {endpoint:?} endpoint");
                tokio::time::sleep(PATIENCE / 10).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(endpoint: Endpoint, stream: TcpStream, state: Arc<State>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        answer(endpoint, request, &state)
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        // An idle connection would hold a place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off, or does not read its answer, is its own affair.
    let _ = timeout(LONGEST, conversation).await;
}

async fn answer(
    endpoint: Endpoint,
    request: Request<Incoming>,
    state: &State,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(response(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "only GET and HEAD\n".into(),
        ));
    }
    Ok(match (endpoint, request.uri().path()) {
        (Endpoint::Admin, "/config") => response(StatusCode::OK, "application/yaml", state.config.clone()),
        (Endpoint::Admin, "/stats") => response(
            StatusCode::OK,
            "application/json",
            format!("{:#}\n", stats(state)),
        ),
        (Endpoint::Health, "/healthz/ready") => match readiness(state).await {
            Ok(()) => {
                let degraded = state.condition.line();
                let text = degraded.map_or("ready\n".into(), |why| format!("degraded: {why}\n"));
                response(StatusCode::OK, "text/plain", text)
            }
            Err(reason) => response(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                format!("not ready: {reason}\n"),
            ),
        },
        (Endpoint::Metrics, "/metrics") => match state.metrics.openmetrics() {
            Ok(text) => response(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text,
            ),
            Err(error) => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                format!("{error}\n"),
            ),
        },
        (Endpoint::Admin, _) => response(
            StatusCode::NOT_FOUND,
            "text/plain",
            "here are /config and /stats\n".into(),
        ),
        (Endpoint::Health, _) => response(
            StatusCode::NOT_FOUND,
            "text/plain",
            "here is /healthz/ready\n".into(),
        ),
        (Endpoint::Metrics, _) => response(StatusCode::NOT_FOUND, "text/plain", "here is /metrics\n".into()),
    })
}

fn stats(state: &State) -> serde_json::Value {
    let mut stats = state.metrics.stats();
    stats["mode"] = state.mode.name().into();
    stats
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Ready means that no traffic is refused because of the sidecar, and that every data thread takes its turn. One that has
/// failed has left its sockets to another.
async fn readiness(state: &State) -> Result<(), String> {
    if state.draining.load(Ordering::Relaxed) {
        return Err("draining".into());
    }
    if let Some(reason) = mode::hindrance(&state.mode, state.privileges) {
        return Err(reason.into());
    }
    if let Some(reason) = state.condition.refusal() {
        return Err(reason);
    }
    let living = || state.workers.iter().filter(|worker| !worker.is_closed());
    let needs_none = state.condition.degraded().contains_key(&Degraded::NotWorking);
    if living().next().is_none() && !needs_none {
        return Err("no data thread runs".into());
    }
    let ask_all = async {
        for worker in living() {
            let (answer, answered) = oneshot::channel();
            worker
                .send(Command::Ping(answer))
                .await
                .map_err(|_| "a data thread has ended")?;
            answered.await.map_err(|_| "a data thread has ended")?;
        }
        Ok(())
    };
    let answered: Result<(), &str> = timeout(PATIENCE, ask_all)
        .await
        .unwrap_or(Err("a data thread does not answer"));
    answered.map_err(Into::into)
}
