//! One installer at a time in a network namespace.
//!
//! Reading the rules in force and changing them are two steps; two installers at once could append a jump twice.
//! The lock is an abstract Unix socket: such names belong to the network namespace, need no file system, and go away
//! with their holder. Whoever waits connects to the holder and reads until it is gone.

use crate::Error;
use std::{
    io::{self, Read},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    time::Duration,
};

/// An installation takes milliseconds; whoever holds the lock for so long is stuck.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Held until dropped.
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] UnixListener);

/// Waits until no other installer is at work in this namespace.
///
/// # Errors
/// [`Error::Lock`].
pub fn acquire() -> Result<Lock, Error> {
    let name = SocketAddr::from_abstract_name("weir-init").map_err(Error::Lock)?;
    loop {
        match UnixListener::bind_addr(&name) {
            Ok(listener) => return Ok(Lock(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => wait_for_holder(&name)?,
            Err(error) => return Err(Error::Lock(error)),
        }
    }
}

fn wait_for_holder(name: &SocketAddr) -> Result<(), Error> {
    tracing::info!("another weir-init is at work in this namespace: waiting for it");
    match UnixStream::connect_addr(name) {
        // The end of the stream, or a reset, comes when the holder closes its socket.
        Ok(mut holder) => {
            holder.set_read_timeout(Some(LONGEST_WAIT)).map_err(Error::Lock)?;
            match holder.read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Err(Error::Lock(io::ErrorKind::TimedOut.into()))
                }
                _ => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(Error::Lock(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_second_waits_for_the_first() {
        let first = acquire().unwrap();
        let (done, finished) = mpsc::channel();
        let second = std::thread::spawn(move || {
            let lock = acquire().unwrap();
            done.send("second").unwrap();
            drop(lock);
        });
        assert!(finished.try_recv().is_err());
        drop(first);
        assert_eq!(finished.recv().unwrap(), "second");
        second.join().unwrap();
    }
}
