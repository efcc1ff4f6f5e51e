//! Many connections at once, and many one after the other, by one event loop a side.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime,
    sync::{Barrier, oneshot},
    task::JoinSet,
    time::timeout,
};
use weir_lab::Node;

use crate::peer::GUARD;

/// Short connections that are open at the same time.
const AT_ONCE: usize = 32;
/// A lost SYN is sent again after one second: a connection that took longer has met one.
const STALL: Duration = Duration::from_millis(950);

/// How long whoever closes first keeps the ports (TCP_TIMEWAIT_LEN).
const TIME_WAIT: Duration = Duration::from_secs(60);

/// Who closes first, and so keeps the connection's ports in TIME_WAIT for a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The client closes; the server follows.
    Client,
    /// The server closes; the client follows.
    Server,
}

/// How many connections a test makes: with `WEIR_COUNT=full` all that there is room for, otherwise as many as it takes to
/// meet what it is about; with a number, so many.
pub fn how_many(enough: u32, full: u32) -> u32 {
    match std::env::var("WEIR_COUNT").as_deref() {
        Ok("full") => full,
        Ok(number) => number.parse().expect("WEIR_COUNT is `full` or a number"),
        Err(_) => enough,
    }
}

/// Where a client's ports come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// From the kernel.
    Given,
    /// From this range in turn, past those that are taken, until there are none: what the kernel does with
    /// `ip_local_port_range`, but that it starts anew for each connection, which takes it milliseconds in a range that
    /// is half in use. So nearly all ports can be had before the first leaves TIME_WAIT.
    InTurn(RangeInclusive<u16>),
}

/// The default of `net.ipv4.ip_local_port_range`.
pub const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// What each side says on a short connection.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// The client's word.
    pub request: &'static [u8],
    /// The server's.
    pub answer: &'static [u8],
}

impl Talk {
    /// No protocol at all.
    pub const PLAIN: Self = Self {
        request: b"\x01how are you, server?",
        answer: b"\x02well, and you?",
    };
    /// One HTTP exchange.
    pub const HTTP: Self = Self {
        request: b"GET /churn HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n",
        answer: b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    };
}

/// How many connections went well, and why the others did not.
#[derive(Debug, Default)]
pub struct Tally {
    /// Whole conversations.
    pub succeeded: u64,
    /// Others, by what went wrong.
    pub failed: BTreeMap<String, u64>,
    /// Those among the good that took so long that a packet must have been lost. For information.
    pub stalled: u64,
    /// From the first connection to the last.
    pub took: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "{} ok, {} stalled, in {seconds:.1} s, failed: {:?}",
            self.succeeded, self.stalled, self.failed
        )?;
        if self.took > TIME_WAIT {
            f.write_str(" (so slow that ports left TIME_WAIT meanwhile: it proves less)")?;
        }
        Ok(())
    }
}

impl Tally {
    fn count(&mut self, result: io::Result<()>, took: Duration) {
        match result {
            Ok(()) => {
                self.succeeded += 1;
                self.stalled += u64::from(took > STALL);
            }
            Err(error) => *self.failed.entry(error.to_string()).or_default() += 1,
        }
    }

    /// Takes another's in; the time that both took too.
    pub fn add(&mut self, other: Self) {
        self.took += other.took;
        self.succeeded += other.succeeded;
        self.stalled += other.stalled;
        for (reason, n) in other.failed {
            *self.failed.entry(reason).or_default() += n;
        }
    }
}

/// A server on a thread of its own; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start<F>(listener: std::net::TcpListener, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = TcpListener::from_std(listener).unwrap();
                let accept = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        tokio::task::spawn_local(serve(stream));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Answers short connections.
    pub fn short(listener: std::net::TcpListener, talk: Talk, first: First) -> Self {
        Self::start(listener, move |mut stream| async move {
            // What fails here fails at the client too, which counts it.
            let _ = timeout(GUARD, answer(&mut stream, talk, first)).await;
        })
    }

    /// Sends everything back.
    pub fn echo(listener: std::net::TcpListener) -> Self {
        Self::start(listener, |mut stream| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn answer(stream: &mut TcpStream, talk: Talk, first: First) -> io::Result<()> {
    let mut request = vec![0; talk.request.len()];
    stream.read_exact(&mut request).await?;
    stream.write_all(talk.answer).await?;
    if first == First::Client {
        // The end, or a reset: both close it.
        let _ = stream.read(&mut [0; 1]).await?;
    }
    Ok(())
}

/// Says at which step it failed.
fn step(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Gives out a client's ports.
struct Picker {
    ports: Ports,
    taken: AtomicU32,
}

impl Picker {
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let Ports::InTurn(range) = &self.ports else {
            return TcpStream::connect(address).await;
        };
        let any: IpAddr = if address.is_ipv6() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        loop {
            let turn = self.taken.fetch_add(1, Ordering::Relaxed) as usize;
            let port = range.clone().nth(turn).ok_or(io::ErrorKind::AddrNotAvailable)?;
            match connect_from(SocketAddr::new(any, port), address).await {
                Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {}
                result => return result,
            }
        }
    }
}

async fn connect_from(own: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()
    } else {
        TcpSocket::new_v4()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(own)?;
    socket.connect(address).await
}

async fn ask(stream: &mut TcpStream, talk: Talk, first: First) -> io::Result<()> {
    let step =
        |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    stream.write_all(talk.request).await.map_err(step("send"))?;
    let mut answer = vec![0; talk.answer.len()];
    stream.read_exact(&mut answer).await.map_err(step("receive"))?;
    if answer != talk.answer {
        return Err(io::Error::other("another answer"));
    }
    if first == First::Server && stream.read(&mut [0; 1]).await.map_err(step("end"))? != 0 {
        return Err(io::Error::other("more than the answer"));
    }
    Ok(())
}

/// Makes `count` short connections from a node, a few at a time.
pub fn churn(node: &Node, address: SocketAddr, count: u32, ports: Ports, talk: Talk, first: First) -> Tally {
    let begun = Arc::new(AtomicU32::new(0));
    let taken = AtomicU32::new(0);
    let picker = Arc::new(Picker { ports, taken });
    let worker = move || {
        let (begun, picker) = (begun.clone(), picker.clone());
        async move {
            let mut tally = Tally::default();
            loop {
                if begun.fetch_add(1, Ordering::Relaxed) >= count {
                    return tally;
                }
                let start = Instant::now();
                let conversation = async {
                    let mut stream = picker.connect(address).await.map_err(step("connect"))?;
                    ask(&mut stream, talk, first).await
                };
                let result = timeout(GUARD, conversation).await;
                tally.count(
                    result.unwrap_or_else(|_| Err(io::Error::other("hung"))),
                    start.elapsed(),
                );
            }
        }
    };
    node.enter(move || {
        block_on(async {
            let start = Instant::now();
            let mut workers = JoinSet::new();
            for _ in 0..AT_ONCE {
                workers.spawn_local(worker());
            }
            let mut all = Tally::default();
            while let Some(tally) = workers.join_next().await {
                all.add(tally.unwrap());
            }
            all.took = start.elapsed();
            all
        })
    })
    .unwrap()
}

/// Opens `count` connections to an echo server from a node, and once all are open sends on each and waits for the echo,
/// twice.
pub fn hold(node: &Node, address: SocketAddr, count: u32) -> Tally {
    node.enter(|| {
        block_on(async {
            let start = Instant::now();
            let all_open = Arc::new(Barrier::new(count as usize + 1));
            let may_close = Arc::new(Barrier::new(count as usize + 1));
            let mut open = JoinSet::new();
            for number in 0..count {
                let (all_open, may_close) = (all_open.clone(), may_close.clone());
                open.spawn_local(async move {
                    let stream = timeout(GUARD, TcpStream::connect(address)).await;
                    // Whatever comes of it: the others wait for this one.
                    all_open.wait().await;
                    let talk = async {
                        let mut stream = stream.map_err(|_| io::Error::other("connect hung"))??;
                        for round in 0..2 {
                            echo(&mut stream, number, round).await?;
                        }
                        Ok(stream)
                    };
                    let result = timeout(GUARD, talk)
                        .await
                        .unwrap_or_else(|_| Err(io::Error::other("hung")));
                    may_close.wait().await;
                    result.map(drop)
                });
            }
            all_open.wait().await;
            may_close.wait().await;
            let mut tally = Tally::default();
            while let Some(result) = open.join_next().await {
                tally.count(result.unwrap(), Duration::ZERO);
            }
            tally.took = start.elapsed();
            tally
        })
    })
    .unwrap()
}

async fn echo(stream: &mut TcpStream, number: u32, round: usize) -> io::Result<()> {
    let word = format!("{number:8}/{round}").repeat(100);
    stream.write_all(word.as_bytes()).await?;
    let mut echo = vec![0; word.len()];
    stream.read_exact(&mut echo).await?;
    if echo == word.as_bytes() {
        Ok(())
    } else {
        Err(io::Error::other("another one's echo"))
    }
}

/// As many descriptors as the machine allows this process.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
