//! This machine's own clients: programs on a control group, which see connect(2) before any rule for local connections.

use crate::Error;
use nix::libc;
use std::{
    fmt,
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};
use weir_bpf::{Attached, PortMap, netns_cookie};

/// Where the control groups of version 2 are mounted in this mount namespace.
fn mount() -> Result<PathBuf, Error> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mount_in(&mounts)
        .ok_or_else(|| Error::ControlGroup("cgroup2".into(), io::Error::from(io::ErrorKind::NotFound)))
}

/// The fields are source, place, type and options (proc_pid_mounts(5)).
fn mount_in(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| place.replace("\\040", " ").into())
    })
}

/// A control group that is there.
pub struct Group {
    path: PathBuf,
    open: File,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// The number of this network namespace, by which programs tell its sockets from others'.
pub fn namespace() -> Result<u64, Error> {
    netns_cookie().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => Error::Kernel {
            what: "a port map",
            since: "5.14",
        },
        _ => Error::Netlink(error),
    })
}

/// The control group that is meant; none if local clients are to be left alone.
pub fn group(setting: &str) -> Result<Option<Group>, Error> {
    let path = match setting {
        "none" => return Ok(None),
        "auto" => mount()?,
        path => path.into(),
    };
    match File::open(&path) {
        Ok(open) => Ok(Some(Group { path, open })),
        Err(source) => Err(Error::ControlGroup(path.display().to_string(), source)),
    }
}

/// Those in force in this network namespace.
pub fn present() -> Result<Vec<Attached>, Error> {
    Ok(Attached::of_namespace(namespace()?)?)
}

/// Attaches programs beside older ones: as long as both are there, the second finds nothing to do.
pub fn put(group: &Group, programs: &PortMap) -> Result<(), Error> {
    Ok(programs.attach_clients(group.open.as_fd())?)
}

/// Takes programs away, wherever they are attached, as the kernel does not say where that is.
pub fn take(programs: &[Attached]) -> Result<(), Error> {
    let mut left: Vec<&Attached> = programs.iter().collect();
    match mount() {
        Ok(root) => below(&root, &mut left),
        // Without control groups there is nothing that they could be attached to.
        Err(_) => Ok(()),
    }
}

/// From the root on, where they most likely are.
fn below(group: &Path, left: &mut Vec<&Attached>) -> Result<(), Error> {
    if left.is_empty() {
        return Ok(());
    }
    detach(left, group)?;
    // A group may go while it is looked at.
    let Ok(entries) = fs::read_dir(group) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), left)?;
        }
    }
    Ok(())
}

fn detach(left: &mut Vec<&Attached>, group: &Path) -> Result<(), Error> {
    let Ok(file) = File::open(group) else {
        return Ok(());
    };
    let mut failed = None;
    left.retain(|program| match program.detach(file.as_fd()) {
        Ok(detached) => !detached,
        Err(error) => {
            failed = Some(error);
            true
        }
    });
    failed.map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_of_control_groups_is_found_beside_the_first() {
        let hybrid =
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_in(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_in("cgroup2 /a\\040b cgroup2 rw 0 0"), Some("/a b".into()));
        assert_eq!(mount_in("proc /proc proc rw 0 0\n"), None);
    }
}
