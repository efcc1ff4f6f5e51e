//! One named network namespace: made, swept and removed with its processes.
//!
//! Its name says whose it is: `weir-lab-PID-START-…`, the process that made it and the time that process started, so
//! that a namespace of a process that is gone is known as such even after its number was given to another.

use crate::{LabError, error::Context, patience::patience};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "weir-lab-";
/// Killed processes leave their namespace at once; past this something is wrong and the namespace's name goes anyway.
const REAP: Duration = Duration::from_secs(5);

/// A namespace of this process; gone when dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub name: String,
    pub path: PathBuf,
}

impl Namespace {
    pub fn new(label: &str) -> Result<Self, LabError> {
        let name = unique(label);
        ip(&["netns", "add", &name])?;
        Ok(Self::named(name))
    }

    /// The one that a process is in.
    pub fn of_process(label: &str, pid: u32) -> Result<Self, LabError> {
        let name = unique(label);
        ip(&["netns", "attach", &name, &pid.to_string()])?;
        Ok(Self::named(name))
    }

    fn named(name: String) -> Self {
        Self {
            path: Path::new(DIRECTORY).join(&name),
            name,
        }
    }
}

fn unique(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    let started = started(pid).unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{pid}-{started}-{number}-{label}")
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("{} is left behind: {error}", self.name);
        }
    }
}

/// Removes the namespaces whose makers are gone.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return; // Nobody has ever made one.
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        // Another lab may sweep at the same time: what it takes first is no failure of ours.
        if is_abandoned(&name)
            && let Err(error) = remove(&name)
            && Path::new(DIRECTORY).join(&name).exists()
        {
            eprintln!("{name} of an earlier run can't be removed: {error}");
        }
    }
}

fn is_abandoned(name: &str) -> bool {
    let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
    let (Some(pid), Some(start)) = (
        parts.next().and_then(|p| p.parse::<u32>().ok()),
        parts.next().and_then(|p| p.parse::<u64>().ok()),
    ) else {
        return false; // Not ours.
    };
    started(pid) != Some(start)
}

/// When a process started, in clock ticks since boot: `/proc/PID/stat`, field 22 (proc_pid_stat(5)).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

fn remove(name: &str) -> Result<(), LabError> {
    let deadline = Instant::now() + patience(REAP);
    loop {
        let pids = pids(name)?;
        if pids.is_empty() || Instant::now() > deadline {
            break;
        }
        for pid in pids {
            // A process that has gone in the meantime is what we want.
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1)); // The kernel tells nobody but a parent.
    }
    ip(&["netns", "del", name]).map(drop)
}

/// The processes in a namespace, but for this one.
fn pids(name: &str) -> Result<Vec<Pid>, LabError> {
    let own = std::process::id().cast_signed();
    Ok(ip(&["netns", "pids", name])?
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(|pid| *pid != own)
        .map(Pid::from_raw)
        .collect())
}

/// Runs `ip` and gives what it wrote.
pub(crate) fn ip(args: &[&str]) -> Result<String, LabError> {
    let output = Command::new("ip")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(missing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Command {
        command: format!("ip {}", args.join(" ")),
        output: String::from_utf8_lossy(&output.stderr).trim().into(),
    })
}

fn missing(source: io::Error) -> LabError {
    LabError::Io {
        what: "ip can't be run; install iproute2".into(),
        source,
    }
}

/// Opens a namespace's handle.
pub(crate) fn open(path: &Path) -> Result<fs::File, LabError> {
    fs::File::open(path).context(|| format!("namespace {} can't be opened", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_processes_that_are_gone_are_abandoned() {
        let own = std::process::id();
        let start = started(own).unwrap();
        assert!(!is_abandoned(&format!("{PREFIX}{own}-{start}-0-x-pod")));
        assert!(
            is_abandoned(&format!("{PREFIX}{own}-{}-0-x-pod", start + 1)),
            "same number, later process"
        );
        assert!(
            is_abandoned(&format!("{PREFIX}4194305-1-0-x-pod")),
            "beyond the largest number"
        );
        for foreign in ["weir", "weir-lab-", "weir-lab-x-1-0", "cni-1234", "weir-lab-12"] {
            assert!(!is_abandoned(foreign), "{foreign}");
        }
    }
}
