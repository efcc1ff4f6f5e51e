//! Ctrl-C and its kin as something to wait for, so that every exit is an ordinary one.
//!
//! Handlers and not blocked signals: child processes would inherit the mask, and then not end when they are told to.

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    low_level::pipe,
};
use std::{
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

/// SIGINT, SIGTERM and SIGHUP, which no longer end the process but are read from here.
pub struct Signals {
    pipe: UnixStream,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time was over, or there is something to read.
    Timeout,
    /// The user wants an end.
    Signal,
    /// Nobody reads standard output any more.
    Hangup,
}

impl Signals {
    /// Takes the signals over.
    pub fn take_over() -> Result<Self> {
        let take_over = || -> io::Result<UnixStream> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                pipe::register(signal, writer.try_clone()?)?;
            }
            Ok(reader)
        };
        let pipe = take_over().context("cannot take signals over")?;
        Ok(Self { pipe })
    }

    /// Waits for a signal, for the end of standard output, or for `timeout`.
    pub fn wait(&self, timeout: Duration) -> Result<Wake> {
        self.wait_for(None, timeout)
    }

    /// As [`Self::wait`], and no longer than until this can be read.
    pub fn wait_for(&self, input: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<Wake> {
        let stdout = io::stdout();
        // No event is asked for on standard output: an error or a hang-up is always told.
        let mut fds = vec![
            PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdout.as_fd(), PollFlags::empty()),
        ];
        fds.extend(input.map(|input| PollFd::new(input, PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for signals"),
        }
        if self.pending()? {
            return Ok(Wake::Signal);
        }
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        let hangup = fds[1].revents().is_some_and(|events| events.intersects(gone));
        Ok(if hangup { Wake::Hangup } else { Wake::Timeout })
    }

    /// True if a signal has arrived since the last look.
    pub fn pending(&self) -> Result<bool> {
        match (&self.pipe).read(&mut [0; 16]) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error).context("cannot read a signal"),
        }
    }
}
