//! Whether the kernel killed a process of this control group because memory was short.

use std::{fs, path::PathBuf};

/// The number of such kills so far.
#[derive(Debug)]
pub(super) struct Kills {
    /// The file that tells; nothing where the system has none.
    file: Option<PathBuf>,
    seen: u64,
}

impl Kills {
    /// As of now.
    pub(super) fn now() -> Self {
        let file = files().into_iter().find(|file| read(file).is_some());
        let seen = file.as_ref().and_then(read).unwrap_or(0);
        Self { file, seen }
    }

    /// False where the system does not tell.
    pub(super) fn are_known(&self) -> bool {
        self.file.is_some()
    }

    /// True if there were more since the last time.
    pub(super) fn are_more(&mut self) -> bool {
        let now = self.file.as_ref().and_then(read).unwrap_or(self.seen);
        let before = std::mem::replace(&mut self.seen, now);
        now > before
    }
}

/// Where the count may stand: control groups of version 2 or 1, seen from the host or from a container of its own.
fn files() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut files = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            list if list.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.oom_control")
            }
            _ => continue,
        };
        files.push(PathBuf::from(format!("{root}{path}/{name}")));
        files.push(PathBuf::from(format!("{root}/{name}")));
    }
    files
}

/// The line `oom_kill N`, which both versions have.
fn read(file: &PathBuf) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}
