//! One installer at a time in a network namespace.
//!
//! Reading the rules in force and changing them are two steps; two installers at once could append a jump twice.
//! A holder is an abstract Unix socket whose name begins with [`PREFIX`]: such names belong to the network namespace,
//! need no file system, and go away with their holder. Any program may bind such a name, so a socket counts only if
//! root or this process's own user listens on it.
//!
//! Each installer binds a name of its own first and looks for others then: of two that start at once, at least one
//! sees the other. Where both do, the lower name goes first.

use crate::Error;
use nix::{
    libc,
    sys::socket::{
        AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
    },
};
use std::{
    collections::HashSet,
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    thread,
    time::{Duration, Instant},
};

/// How the name of every holder begins.
const PREFIX: &str = "weir-init";
/// An installation takes milliseconds, and with tokens sent some seconds; whoever holds the lock for so long is stuck.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Held until dropped.
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] UnixListener);

/// Waits until no other installer is at work in this namespace.
///
/// # Errors
/// [`Error::Lock`], after a minute at the latest.
pub fn acquire() -> Result<Lock, Error> {
    acquire_within(LONGEST_WAIT).map_err(Error::Lock)
}

fn acquire_within(patience: Duration) -> io::Result<Lock> {
    let start = Instant::now();
    let name = fresh_name()?;
    let mut own = Some(bind(&name)?);
    let mut holders = Holders::default();
    let mut said = false;
    loop {
        let others = holders.look(&name)?;
        if others.is_empty() {
            match own.take() {
                Some(listener) => return Ok(Lock(listener)),
                None => own = Some(bind(&name)?),
            }
            continue;
        }
        if others.iter().any(|other| *other < name) {
            own = None;
        }
        if start.elapsed() >= patience {
            let message = format!("{} has been at work for {patience:?}", others.join(", "));
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        if !said {
            said = true;
            tracing::info!("another weir-init is at work in this namespace: waiting for it");
        }
        thread::sleep(PAUSE);
    }
}

fn fresh_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{PREFIX}-{:016x}", u64::from_ne_bytes(bytes)))
}

fn bind(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Those that were found to count. Each is asked once, for who asks stays in its queue.
#[derive(Default)]
struct Holders(HashSet<String>);

impl Holders {
    /// The names of all that count but this one.
    fn look(&mut self, own: &str) -> io::Result<Vec<String>> {
        let table = std::fs::read_to_string("/proc/thread-self/net/unix")?;
        let mut found = Vec::new();
        for line in table.lines() {
            let Some(name) = line
                .split_whitespace()
                .last()
                .and_then(|path| path.strip_prefix('@'))
            else {
                continue;
            };
            if name.starts_with(PREFIX) && name != own && (self.0.contains(name) || counts(name)) {
                self.0.insert(name.to_owned());
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }
}

/// True if root, or this process's own user, listens at this name.
fn counts(name: &str) -> bool {
    let asked = || -> nix::Result<libc::uid_t> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(asking.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(getsockopt(&asking, PeerCredentials)?.uid())
    };
    asked().is_ok_and(|uid| uid == 0 || uid == nix::unistd::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::bind;
    use std::sync::mpsc;

    #[test]
    fn the_second_waits_for_the_first() {
        let first = acquire().unwrap();
        let (done, finished) = mpsc::channel();
        let second = thread::spawn(move || {
            let lock = acquire().unwrap();
            done.send("second").unwrap();
            drop(lock);
        });
        assert!(finished.try_recv().is_err());
        drop(first);
        assert_eq!(finished.recv().unwrap(), "second");
        second.join().unwrap();
    }

    #[test]
    fn many_at_once_come_one_after_the_other() {
        let inside = std::sync::Mutex::new(());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let lock = acquire().unwrap();
                    let alone = inside.try_lock().expect("two at once");
                    thread::sleep(Duration::from_millis(5));
                    drop(alone);
                    drop(lock);
                });
            }
        });
    }

    #[test]
    fn the_wait_has_an_end() {
        let _first = acquire().unwrap();
        let waited = acquire_within(Duration::from_millis(50)).err().unwrap();
        assert_eq!(waited.kind(), io::ErrorKind::TimedOut);
        assert!(waited.to_string().contains("weir-init-"), "{waited}");
    }

    #[test]
    fn a_name_at_which_nobody_listens_holds_nothing() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let bound = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let name = format!("{PREFIX}-0-{}", std::process::id());
        bind(
            bound.as_raw_fd(),
            &UnixAddr::new_abstract(name.as_bytes()).unwrap(),
        )
        .unwrap();
        assert!(!Holders::default().look("").unwrap().contains(&name));
    }
}
