//! A program that runs in a node.

use crate::{
    LabError, Node,
    error::{Context, Output},
    http,
    node::{CONNECT, RETRY},
    patience::patience,
};
use nix::{
    sys::signal::{Signal, kill},
    time::clock_getcpuclockid,
    unistd::Pid,
};
use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::NamedTempFile;

/// How long a program may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Between two signals to one that is to end.
const INSIST: Duration = Duration::from_millis(100);
/// Of what a program wrote, an error shows the end.
const SHOWN: usize = 16 << 10;

/// A running program, ended when dropped: SIGTERM again and again, since some programs take their time after the first
/// one, and SIGKILL if that does not help in five seconds.
#[derive(Debug)]
pub struct Process {
    program: String,
    node: Node,
    child: Child,
    log: NamedTempFile,
    ended: Option<ExitStatus>,
}

/// What a process has used so far, together with its children that run the same program.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all of its threads, ended ones included, user and system.
    pub cpu: Duration,
    /// Resident memory in bytes (`VmRSS`).
    pub rss: u64,
    /// The most that was ever resident, in bytes (`VmHWM`).
    pub peak_rss: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Process {
    pub(crate) fn start(node: Node, mut command: Command) -> Result<Self, LabError> {
        let program = program_of(&command);
        let failed = || format!("{program} can't be started in {}", node.name());
        let log = NamedTempFile::new().context(failed)?;
        let (out, err) = (log.reopen().context(failed)?, log.reopen().context(failed)?);
        append_mode(&[&out, &err]).context(failed)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .context(failed)?;
        Ok(Self {
            program,
            node,
            child,
            log,
            ended: None,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process that does the work of one that supervises itself: its child that runs the same program. Of any other
    /// program it is the process itself.
    pub fn worker_pid(&self) -> u32 {
        self.workers().first().copied().unwrap_or(self.pid())
    }

    /// Its children that run the same program.
    fn workers(&self) -> Vec<u32> {
        let pid = self.pid();
        let comm = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let own = comm(pid);
        children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .filter(|child| own.is_some() && comm(*child) == own)
            .collect()
    }

    /// What it has written so far to standard output and standard error, at most the last 16 KiB.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.log.path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SHOWN)..]).into_owned()
    }

    /// Waits until it listens at an address, as seen from its own node.
    ///
    /// # Errors
    /// It ends, or does not listen within `limit`; with what it wrote.
    pub fn wait_ready(&mut self, address: impl Into<SocketAddr>, limit: Duration) -> Result<(), LabError> {
        let address = address.into();
        self.wait_until(&format!("listening at {address}"), limit, move || {
            TcpStream::connect_timeout(&address, patience(CONNECT))
                .map(drop)
                .context(|| "connect".into())
        })
    }

    /// Waits until it answers a GET with 200, as seen from its own node.
    ///
    /// # Errors
    /// It ends, or does not answer so within `limit`; with what it wrote.
    pub fn wait_http(
        &mut self,
        address: impl Into<SocketAddr>,
        path: &str,
        limit: Duration,
    ) -> Result<(), LabError> {
        let address = address.into();
        self.wait_until(
            &format!("200 at http://{address}{path}"),
            limit,
            move || match http::get(address, path)? {
                (200, _) => Ok(()),
                (status, _) => {
                    Err(io::Error::other(format!("status {status}"))).context(|| "answered".into())
                }
            },
        )
    }

    fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        attempt: impl Fn() -> Result<(), LabError> + Send + Sync,
    ) -> Result<(), LabError> {
        let start = Instant::now();
        loop {
            // Asked first: what a program that has ended left listening is not this program.
            if let Some(status) = self.try_wait()? {
                return Err(self.exited(status));
            }
            let Err(error) = self.node.enter(&attempt)? else {
                return Ok(());
            };
            if start.elapsed() > limit {
                return Err(LabError::NotReady {
                    what: format!("{}, {what},", self.program),
                    waited: limit,
                    last: error.to_string(),
                    output: Output(self.output()),
                });
            }
            thread::sleep(RETRY);
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel can't say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, LabError> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .context(|| format!("{} can't be waited for", self.program))?;
        }
        Ok(self.ended)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It has not within `limit`; with what it wrote.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                return Err(LabError::NotReady {
                    what: format!("the end of {}", self.program),
                    waited: limit,
                    last: "it still runs".into(),
                    output: Output(self.output()),
                });
            }
            thread::sleep(RETRY / 5);
        }
    }

    /// Sends it a signal. One that has ended gets none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), LabError> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the number is still its own.
        kill(Pid::from_raw(self.pid().cast_signed()), signal)
            .context(|| format!("{signal} can't be sent to {}", self.program))
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// It has not ended within `limit`; with what it wrote.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// SIGKILL, and waits for the end, also of a worker that ends with it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self) -> Result<ExitStatus, LabError> {
        let workers = self.workers();
        self.signal(Signal::SIGKILL)?;
        let status = self.wait(patience(GRACE))?;
        let start = Instant::now();
        let lives = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        while workers.iter().any(lives) && start.elapsed() < patience(GRACE) {
            thread::sleep(RETRY / 5);
        }
        Ok(status)
    }

    /// What it has used.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage, LabError> {
        let gone = || format!("the figures of {} can't be read", self.program);
        let mut sum = usage_of(self.pid()).context(gone)?;
        for worker in self.workers() {
            let more = usage_of(worker).context(gone)?;
            sum.cpu += more.cpu;
            sum.rss += more.rss;
            sum.peak_rss += more.peak_rss;
            sum.descriptors += more.descriptors;
        }
        Ok(sum)
    }

    fn exited(&self, status: ExitStatus) -> LabError {
        LabError::Exited {
            program: self.program.clone(),
            status,
            output: Output(self.output()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let start = Instant::now();
        while start.elapsed() < patience(GRACE) {
            if self.terminate(INSIST).is_ok() {
                return;
            }
        }
        let _ = self.kill(); // Nothing more can be done.
    }
}

fn usage_of(pid: u32) -> io::Result<Usage> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?;
    let cpu = clock.now()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Usage {
        cpu: cpu.into(),
        rss: kilobytes(&status, "VmRSS:"),
        peak_rss: kilobytes(&status, "VmHWM:"),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
    })
}

/// A figure of `/proc/PID/status` in bytes; 0 where it is missing, as for a process that is ending.
fn kilobytes(status: &str, key: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or_default()
        * 1024
}

/// Both outputs go to one file, each write at its end.
fn append_mode(files: &[&fs::File]) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    for file in files {
        fcntl(file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    }
    Ok(())
}

/// The name of what a command runs, seen through `nsenter … --`.
pub(crate) fn program_of(command: &Command) -> String {
    let own = command.get_program();
    let inner = command.get_args().skip_while(|arg| *arg != "--").nth(1);
    let program = if own == "nsenter" {
        inner.unwrap_or(own)
    } else {
        own
    };
    std::path::Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy()
        .into_owned()
}
