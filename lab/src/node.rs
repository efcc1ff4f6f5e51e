//! One namespace of a lab, and how to run things in it.

use crate::{
    LabError, Process,
    error::{Context, Output},
    http,
    namespace::{self, Namespace, ip},
    patience::patience,
};
use nix::sched::{CloneFlags, setns};
use std::{
    ffi::OsStr,
    net::{SocketAddr, TcpStream},
    panic::resume_unwind,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// For a connection to a node of the lab.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);
/// Between two tries at something that gives no sign when it becomes ready.
pub(crate) const RETRY: Duration = Duration::from_millis(10);

/// A namespace. Clones are the same one; it is gone when the lab and all of them are.
#[derive(Clone, Debug)]
pub struct Node {
    name: String,
    namespace: Arc<Namespace>,
    has_default_route: Arc<AtomicBool>,
}

impl Node {
    pub(crate) fn new(name: String, namespace: Arc<Namespace>) -> Self {
        Self {
            name,
            namespace,
            has_default_route: Arc::default(),
        }
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name for `ip -n` and `ip netns`.
    pub fn namespace_name(&self) -> &str {
        &self.namespace.name
    }

    /// Its handle, for `nsenter --net=`.
    pub fn namespace_path(&self) -> &Path {
        &self.namespace.path
    }

    pub(crate) fn take_default_route(&self) -> bool {
        !self.has_default_route.swap(true, Ordering::Relaxed)
    }

    /// Runs a closure on a thread of its own inside the namespace. Sockets that it opens stay in it wherever they are
    /// used; `/proc/sys/net` and `/proc/thread-self/net` are the namespace's. A panic goes on in the caller.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let handle = namespace::open(&self.namespace.path)?;
        thread::scope(|scope| {
            let inside = thread::Builder::new()
                .name(self.name.clone())
                .spawn_scoped(scope, move || {
                    setns(handle, CloneFlags::CLONE_NEWNET).map(|()| f())
                })
                .context(|| "a thread can't be started".into())?;
            match inside.join() {
                Ok(result) => {
                    result.context(|| format!("namespace {} can't be entered", self.namespace.name))
                }
                Err(panic) => resume_unwind(panic),
            }
        })
    }

    /// A command that runs `program` in the namespace, with its own process id. Not by `ip netns exec`, which gives the
    /// program another `/sys`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.namespace.path.display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Starts a command made by [`Node::command`].
    ///
    /// # Errors
    /// It can't be started.
    pub fn spawn(&self, command: Command) -> Result<Process, LabError> {
        Process::start(self.clone(), command)
    }

    /// Runs a command made by [`Node::command`] to its end and gives its standard output.
    ///
    /// # Errors
    /// It can't be started, or ends in failure; then with what it wrote.
    pub fn run(&self, mut command: Command) -> Result<String, LabError> {
        let program = crate::process::program_of(&command);
        let output = command
            .stdin(std::process::Stdio::null())
            .output()
            .context(|| format!("{program} can't be started in {}", self.name))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(LabError::Exited {
            program,
            status: output.status,
            output: Output(text(&output.stdout) + &text(&output.stderr)),
        })
    }

    /// Runs `ip` in the namespace, its arguments parted by spaces, and gives what it wrote.
    ///
    /// # Errors
    /// It fails.
    pub fn ip(&self, arguments: &str) -> Result<String, LabError> {
        let args: Vec<&str> = ["-n", &self.namespace.name]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        ip(&args)
    }

    /// Entries of the namespace's connection tracking; none where there is no connection tracking at all.
    pub fn tracked_connections(&self) -> u32 {
        let read = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
        match self.enter(read) {
            Ok(Ok(count)) => count.trim().parse().unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    /// Sets a network variable of the namespace: `node.sysctl("ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// There is no such variable, or the value is refused.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/net/{name}");
        self.enter(|| std::fs::write(&path, value))?
            .context(|| format!("{path} can't be set to `{value}`"))
    }

    /// Waits until somebody listens at an address, as seen from this node.
    ///
    /// # Errors
    /// Nobody does within `limit`.
    pub fn tcp_ready(&self, address: impl Into<SocketAddr>, limit: Duration) -> Result<(), LabError> {
        let address = address.into();
        self.enter(|| {
            let start = Instant::now();
            loop {
                let Err(error) = TcpStream::connect_timeout(&address, patience(CONNECT)) else {
                    return Ok(());
                };
                if start.elapsed() > limit {
                    return Err(LabError::NotReady {
                        what: address.to_string(),
                        waited: limit,
                        last: error.to_string(),
                        output: Output::default(),
                    });
                }
                thread::sleep(RETRY);
            }
        })?
    }

    /// One HTTP GET from this node: the status and the body.
    ///
    /// # Errors
    /// No connection, a reset, no answer within ten seconds, or no HTTP.
    pub fn http_get(&self, address: impl Into<SocketAddr>, path: &str) -> Result<(u16, String), LabError> {
        let address = address.into();
        self.enter(|| http::get(address, path))?
    }
}
