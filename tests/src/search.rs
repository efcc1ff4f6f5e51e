//! Real search servers for tests: Elasticsearch 7.10.2 and OpenSearch 2 on a free loopback port, each with a directory of
//! its own, and haproxy where a test needs TLS or users in front of one.

mod http;
mod proxy;

pub use http::{Answer, request};
pub use proxy::{Certificate, Proxy};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How long a server may take to start. It takes some five seconds on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Elasticsearch 7.10.2.
    Elasticsearch7,
    /// OpenSearch 2.19.1.
    OpenSearch2,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Elasticsearch7 => "es7",
            Self::OpenSearch2 => "os2",
        }
    }
}

/// A server; killed and its directory removed when this is dropped, or when the process ends in any way.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    port: u16,
    home: PathBuf,
    settings: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A server with these settings (`name=value`) that is not started yet.
    ///
    /// # Errors
    /// What it needs can't be fetched or built.
    pub fn new(kind: Kind, settings: &[&str]) -> anyhow::Result<Self> {
        prepare(kind)?;
        Ok(Self {
            kind,
            port: free_port()?,
            home: tempfile::tempdir_in(scratch())?.keep(),
            settings: settings.iter().map(ToString::to_string).collect(),
            child: None,
        })
    }

    /// A server that is ready.
    ///
    /// # Errors
    /// As [`Server::new`] and [`Server::start`].
    pub fn started(kind: Kind, settings: &[&str]) -> anyhow::Result<Self> {
        let mut server = Self::new(kind, settings)?;
        server.start()?;
        Ok(server)
    }

    /// Starts it, on the data that an earlier start has left, and waits until it is ready.
    ///
    /// # Errors
    /// It ends at once or does not become ready; the message holds the end of its log.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = fs::File::create(self.log())?;
        let child = script("run")
            .arg(self.kind.name())
            .arg(self.port.to_string())
            .arg(&self.home)
            .args(&self.settings)
            .current_dir(&self.home)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run tests/search-server/run")?;
        self.child = Some(child);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START_TIMEOUT;
        let ready = "/_cluster/health?wait_for_status=yellow&timeout=1s";
        while !matches!(self.get(ready), Ok(answer) if answer.status == 200) {
            let ended = self
                .child
                .as_mut()
                .is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || Instant::now() > end {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let tail = &log[log.floor_char_boundary(log.len().saturating_sub(3000))..];
                bail!(
                    "{:?} did not become ready; the end of its log:\n{tail}",
                    self.kind
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.home.join("output.log")
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would. It can be started again.
    ///
    /// # Errors
    /// It was not running.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it something.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        request(self.port, "GET", path, None)
    }

    /// Tells it something.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = request(self.port, "PUT", path, Some(body))?;
        if !(200..300).contains(&answer.status) {
            bail!("PUT {path} is answered {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// Documents of an index that match, as `_search` returns it, after all that was acknowledged has become visible.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn search(&self, index: &str, body: &Value) -> anyhow::Result<Value> {
        request(self.port, "POST", &format!("/{index}/_refresh"), None)?;
        let answer = request(self.port, "POST", &format!("/{index}/_search"), Some(body))?;
        if answer.status != 200 {
            bail!(
                "a search in {index} is answered {}: {}",
                answer.status,
                answer.body
            );
        }
        Ok(answer.body)
    }

    /// How many documents an index has.
    ///
    /// # Errors
    /// As [`Server::search`].
    pub fn count(&self, index: &str) -> anyhow::Result<u64> {
        let all = serde_json::json!({"size": 0, "track_total_hits": true});
        let found = self.search(index, &all)?;
        found["hits"]["total"]["value"].as_u64().context("no total")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// SIGTERM, and SIGKILL if that takes too long.
fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let end = Instant::now() + Duration::from_secs(10);
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > end {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// In memory where possible: a server syncs its log at each request, and a disk that a build keeps busy takes seconds for it.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match tempfile::tempfile_in(&memory) {
        Ok(_) => memory,
        Err(_) => std::env::temp_dir(),
    }
}

/// A program of `tests/search-server`.
fn script(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("search-server")
            .join(name),
    )
}

fn prepare(kind: Kind) -> anyhow::Result<()> {
    let output = script("prepare")
        .arg(kind.name())
        .stdin(Stdio::null())
        .output()
        .context("cannot run tests/search-server/prepare")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A port that nobody listens on, from below the range that the kernel gives to outgoing connections: one of those could
/// take it while a server that is to come back is down.
///
/// # Errors
/// All are taken.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test programs at the same time begin at different places.
    let offset = u16::try_from(std::process::id() * 61 % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let port = FIRST + (offset + NEXT.fetch_add(1, Relaxed) % COUNT) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} on")
}
