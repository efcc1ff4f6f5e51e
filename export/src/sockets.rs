//! The sockets of the sinks' connections and look-ups. Whoever runs the sinks may have to do something with each of them before
//! it sends anything: a sidecar whose own traffic is known by a mark sets that mark.

use std::{io, os::fd::BorrowedFd, sync::OnceLock};

/// Prepares a new socket.
type Prepare = Box<dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync>;

static PREPARE: OnceLock<Prepare> = OnceLock::new();

/// From now on every socket of this process's sinks is given to `prepare` before it sends anything. Only the first call counts.
pub fn prepare_sockets(prepare: impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static) {
    // The first maker stays: sockets made in two ways would be of no use to either caller.
    let _ = PREPARE.set(Box::new(prepare));
}

/// To be called for each new socket.
pub(crate) fn prepare(socket: BorrowedFd<'_>) -> io::Result<()> {
    PREPARE.get().map_or(Ok(()), |prepare| prepare(socket))
}
