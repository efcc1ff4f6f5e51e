//! Ctrl-C and its kin as something to wait for, so that no handler has to run and every exit is an ordinary one.

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::{io, os::fd::AsFd, time::Duration};

/// SIGINT, SIGTERM and SIGHUP, held back from the process and read from here.
pub struct Signals {
    fd: SignalFd,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time was over.
    Timeout,
    /// The user wants an end.
    Signal(Signal),
    /// Nobody reads standard output any more.
    Hangup,
}

impl Signals {
    /// Takes the signals over. Call it before a second thread exists: threads that are there already would still die
    /// of them. Child processes are not affected, `std::process` clears their mask.
    pub fn take_over() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot open a signalfd")?;
        Ok(Self { fd })
    }

    /// Waits for a signal, for the end of standard output, or for `timeout`.
    pub fn wait(&self, timeout: Duration) -> Result<Wake> {
        let stdout = io::stdout();
        // No event is asked for on standard output: an error or a hang-up is always told.
        let mut fds = [
            PollFd::new(self.fd.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdout.as_fd(), PollFlags::empty()),
        ];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for signals"),
        }
        if let Some(signal) = self.pending()? {
            return Ok(Wake::Signal(signal));
        }
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        let hangup = fds[1].revents().is_some_and(|events| events.intersects(gone));
        Ok(if hangup { Wake::Hangup } else { Wake::Timeout })
    }

    /// The signal that has arrived, if one has.
    pub fn pending(&self) -> Result<Option<Signal>> {
        let info = self.fd.read_signal().context("cannot read a signal")?;
        Ok(info.and_then(|info| Signal::try_from(info.ssi_signo as i32).ok()))
    }
}
