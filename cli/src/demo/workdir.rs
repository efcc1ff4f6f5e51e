//! The directory of a demo: removed with it, or, if it was killed, by the next one.

use anyhow::{Context, Result};
use nix::unistd::geteuid;
use std::{
    env,
    fs::{self, File, Permissions, TryLockError},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const PREFIX: &str = "weir-demo-";
/// A lock on this file is held for as long as the demo lives.
const LOCK: &str = "lock";

/// The directory; gone when dropped.
pub struct Workdir {
    dir: TempDir,
    _lock: File,
}

impl Workdir {
    /// A new directory that everybody may enter, and what killed demos left swept away.
    pub fn new() -> Result<Self> {
        sweep(&env::temp_dir());
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .context("cannot make a temporary directory")?;
        // Locked before it has its name: whoever sees the name sees the lock.
        let unnamed = dir.path().join("lock.new");
        let lock = File::create(&unnamed).context("cannot write to the temporary directory")?;
        lock.lock().context("cannot lock the temporary directory")?;
        fs::rename(&unnamed, dir.path().join(LOCK)).context("cannot write to the temporary directory")?;
        Ok(Self { dir, _lock: lock })
    }

    /// A file or directory in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a directory in it that belongs to a user and the group of the same number.
    pub fn directory_of(&self, name: &str, id: u32) -> Result<PathBuf> {
        let path = self.join(name);
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
            .and_then(|()| chown(&path, Some(id), Some(id)))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

/// Removes the directories that nobody holds. What can't be removed is left: the demo does not depend on it.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// True for a directory of this user whose lock nobody holds. The parent is everybody's: others may have put there what
/// they like.
fn is_abandoned(dir: &Path) -> bool {
    let own = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|file| !file.is_symlink() && file.uid() == geteuid().as_raw())
    };
    let lock = dir.join(LOCK);
    if !own(dir) || !own(&lock) {
        return false;
    }
    match File::open(&lock).map(|file| {
        file.try_lock()
            .map_err(|error| matches!(error, TryLockError::WouldBlock))
    }) {
        Ok(locked) => locked.is_ok(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_left_alone_and_an_abandoned_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let [used, abandoned, foreign] =
            ["used", "left", "other"].map(|n| parent.path().join(format!("{PREFIX}{n}")));
        for dir in [&used, &abandoned, &foreign] {
            fs::create_dir(dir).unwrap();
        }
        let lock = File::create(used.join(LOCK)).unwrap();
        lock.lock().unwrap();
        File::create(abandoned.join(LOCK)).unwrap();
        sweep(parent.path());
        assert!(used.exists() && foreign.exists() && !abandoned.exists());
        drop(lock);
        sweep(parent.path());
        assert!(!used.exists());
    }
}
