//! Weir's own programs in a node.

use crate::stage::Direction;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use weir_lab::{LabError, Node, Process, Usage, binary};

/// Longest start, stop or answer; never met unless something hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// An endpoint on the pod's loopback.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Redirects a node's traffic.
///
/// # Errors
/// `weir-init` is not built, or fails.
pub fn install(node: &Node, flags: &[&str]) -> Result<String, LabError> {
    init(node, "install", flags)
}

/// Runs `weir-init` and gives what it wrote.
///
/// # Errors
/// It is not built, or fails.
pub fn init(node: &Node, verb: &str, flags: &[&str]) -> Result<String, LabError> {
    let mut command = node.command(binary("weir-init")?);
    command.arg(verb).args(flags);
    node.run(command)
}

/// A sidecar that runs in a node, exporting to a file.
#[derive(Debug)]
pub struct Sidecar {
    /// The program.
    pub process: Process,
    node: Node,
    directory: TempDir,
}

impl Sidecar {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// It is not built, or does not get ready; with what it wrote.
    pub fn start(node: &Node, flags: &[&str]) -> Result<Self, LabError> {
        Self::start_by(node, node.command(binary("weir-sidecar")?), flags)
    }

    /// The same by a command of [`Node::command`] that runs the program in a way of its own.
    ///
    /// # Errors
    /// It does not get ready; with what it wrote.
    pub fn start_by(node: &Node, command: Command, flags: &[&str]) -> Result<Self, LabError> {
        let mut sidecar = Self::spawn(node, command, flags)?;
        sidecar.process.wait_http(local(15021), "/healthz/ready", LIMIT)?;
        Ok(sidecar)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// The command can't be started.
    pub fn spawn(node: &Node, mut command: Command, flags: &[&str]) -> Result<Self, LabError> {
        let directory = open_directory();
        let documents = directory.path().join("documents.ndjson");
        // The test's own servers go on listening in the pod, so that the sidecar would wait for the whole period.
        command
            .env("WEIR_DRAIN", "1s")
            .arg("--export")
            .arg(format!("ndjson:{}", documents.display()))
            .args(flags);
        Ok(Self {
            process: node.spawn(command)?,
            node: node.clone(),
            directory,
        })
    }

    /// The documents about exchanges that were written so far, one JSON object each.
    pub fn documents(&self) -> Vec<serde_json::Value> {
        let mut all = self.all_documents();
        all.retain(|document| document["event"]["dataset"] != "weir.flow");
        all
    }

    /// Those about connections as a whole.
    pub fn flows(&self) -> Vec<serde_json::Value> {
        let mut all = self.all_documents();
        all.retain(|document| document["event"]["dataset"] == "weir.flow");
        all
    }

    /// Where all of them are, a line each.
    pub fn document_file(&self) -> PathBuf {
        self.directory.path().join("documents.ndjson")
    }

    fn all_documents(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.document_file()).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// What its Prometheus endpoint says.
    pub fn metrics(&self) -> String {
        self.node.http_get(local(15020), "/metrics").unwrap().1
    }

    /// What its admin endpoint says.
    pub fn stats(&self) -> serde_json::Value {
        let (_, text) = self.node.http_get(local(15000), "/stats").unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The sum of a metric's samples whose labels contain all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let matches = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
        self.metrics()
            .lines()
            .filter(matches)
            .filter_map(value)
            .sum::<f64>() as u64
    }

    /// Connections that were accepted in a direction.
    pub fn connections(&self, direction: Direction) -> u64 {
        let label = match direction {
            Direction::Inbound => "direction=\"ingress\"",
            Direction::Outbound => "direction=\"egress\"",
        };
        self.metric("weir_connections_total", &[label])
    }

    /// The values of a field of `/proc/PID/status`, of every thread of the process that carries traffic.
    pub fn status(&self, field: &str) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.worker_pid())).unwrap();
        let value = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let value = line.unwrap_or_else(|| panic!("no {field} in {status}"));
            value.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        tasks.map(|task| value(task.unwrap())).collect()
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        self.process.usage().unwrap()
    }

    /// That it still runs, is ready, and that no thread of it has panicked.
    pub fn assert_well(&mut self) {
        assert_eq!(
            self.process.try_wait().unwrap(),
            None,
            "{}",
            self.process.output()
        );
        assert_eq!(self.node.http_get(local(15021), "/healthz/ready").unwrap().0, 200);
        assert!(
            !self.process.output().contains("panicked"),
            "{}",
            self.process.output()
        );
    }
}

/// A directory that the sidecar's user may write to, since the sidecar gives up root.
fn open_directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    directory
}

/// Waits until something holds.
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
