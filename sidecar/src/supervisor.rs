//! The small parent of the process that carries traffic. Redirected connections depend on listening sockets: the parent
//! keeps these open and starts the worker anew within milliseconds when that has crashed or was killed, so that new
//! connections wait for a moment and are not refused.
//!
//! The parent opens everything, has one thread, and forks. A worker inherits the sockets and is the sidecar that [`app`]
//! runs; both speak over a socket pair, one byte a message ([`link`]). The parent does nothing else: it waits for signals,
//! for the worker's end and for its words.
//!
//! [`app`]: crate::app

mod link;
mod memory;
mod oom;

pub(crate) use link::{Order, Word};

use crate::{
    app::{self, End, Ground, Life},
    condition::{Restart, Restarts},
};
use anyhow::Context;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpid, getppid},
};
use oom::Kills;
use std::{
    io::Read,
    os::{fd::AsFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};
use weir_config::{Config, Mode};

/// Status of a worker that ends so that another role can begin.
const ROLE_CHANGED: i32 = 75;
/// Status of a worker that failed with an error, which it has said.
const FAILED: i32 = 1;
/// Status of a worker of which nobody knows how it ended.
const UNKNOWN: i32 = 255;
/// Status of a worker that panicked, as Rust has it.
const PANICKED: i32 = 101;

/// A worker that lived for so long did not fail at once.
const LONG: Duration = Duration::from_secs(60);
/// The second failure in a row waits so long, each further one twice as long as the one before it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After so many failures in a row nothing is decoded or exported any more: that may be their cause.
const FAILURES_BEFORE_RELAY_ONLY: u32 = 3;
/// After so many failures in a row, listening sockets are closed where traffic then goes straight on.
const FAILURES_BEFORE_BYPASS: u32 = 3;
/// A worker that has not ended so long after the drain period is killed.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// Runs workers until one has ended as it should, or the first cannot even start.
///
/// # Errors
/// The system refuses a process, or what a worker needs.
pub(crate) fn run(config: &Config, ground: Ground) -> anyhow::Result<ExitCode> {
    let mut handled = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .for_each(|signal| handled.add(signal));
    handled.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot wait for signals")?;
    let parent = Parent {
        config,
        ground,
        signals,
        kills: Kills::now(),
        restarts: Restarts::new(),
        relay_only: None,
        failures: 0,
        started: false,
        mode: None,
        asked: None,
        hurried: false,
    };
    parent.run()
}

struct Parent<'a> {
    config: &'a Config,
    ground: Ground,
    signals: SignalFd,
    kills: Kills,
    restarts: Restarts,
    relay_only: Option<String>,
    /// Failures in a row.
    failures: u32,
    /// Some worker has got as far as to carry traffic.
    started: bool,
    /// The mode of redirection, as the last worker saw it.
    mode: Option<Mode>,
    /// The end of the drain period, once the end was asked for.
    asked: Option<Instant>,
    /// It was asked for twice.
    hurried: bool,
}

/// A worker, seen from the parent.
struct Child {
    pid: Pid,
    link: UnixStream,
    began: Instant,
}

impl Parent<'_> {
    fn run(mut self) -> anyhow::Result<ExitCode> {
        loop {
            let child = match self.fork() {
                Ok(child) => child,
                // The listening sockets still hold the traffic: no memory or process now may mean some in a moment.
                Err(error) if self.started && self.asked.is_none() => {
                    tracing::error!("cannot start another worker yet: {error:#}");
                    self.failures += 1;
                    self.let_traffic_pass();
                    self.pause()?;
                    self.renew()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let began = child.began;
            let status = self.attend(child)?;
            let reason = match status {
                WaitStatus::Exited(_, 0) => return Ok(ExitCode::SUCCESS),
                WaitStatus::Exited(_, UNKNOWN) if self.asked.is_some() => return Ok(ExitCode::SUCCESS),
                WaitStatus::Exited(_, FAILED) if !self.started => return Ok(ExitCode::FAILURE),
                WaitStatus::Exited(_, ROLE_CHANGED) => Restart::ModeChanged,
                WaitStatus::Exited(_, FAILED) => Restart::Failed,
                WaitStatus::Signaled(_, Signal::SIGKILL, _) if self.kills.are_more() => Restart::OutOfMemory,
                WaitStatus::Signaled(_, Signal::SIGKILL | Signal::SIGTERM, _) => Restart::Killed,
                _ => Restart::Crashed,
            };
            if self.is_time_over() {
                tracing::error!(?status, "the worker did not end by itself");
                return Ok(ExitCode::FAILURE);
            }
            *self.restarts.entry(reason).or_default() += 1;
            if reason == Restart::ModeChanged {
                self.failures = 0;
            } else {
                self.note_failure(reason, status, began.elapsed());
                self.pause()?;
            }
            if self.hurried {
                return Ok(ExitCode::SUCCESS);
            }
            self.renew()?;
        }
    }

    /// Starts a worker. In the new process this never returns.
    #[allow(unsafe_code, reason = "fork has no safe form")]
    fn fork(&mut self) -> anyhow::Result<Child> {
        let (ours, theirs) = UnixStream::pair().context("cannot open a socket pair")?;
        ours.set_nonblocking(true).context("cannot use the socket pair")?;
        let parent = getpid();
        // SAFETY: this process has one thread, so no lock can be held by a thread that the new process does not have, and
        // the new process may do whatever this one may.
        match unsafe { fork() }.context("cannot start the worker process")? {
            ForkResult::Parent { child } => Ok(Child {
                pid: child,
                link: ours,
                began: Instant::now(),
            }),
            ForkResult::Child => {
                drop(ours);
                std::process::exit(self.be_worker(parent, theirs))
            }
        }
    }

    /// The life of a worker; gives the status that it ends with.
    fn be_worker(&mut self, parent: Pid, link: UnixStream) -> i32 {
        // A parent that is killed takes its worker along: nobody would find the worker otherwise.
        if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
            tracing::warn!(%error, "the worker would outlive a parent that is killed");
        }
        if getppid() != parent {
            return FAILED;
        }
        let life = Life {
            link: Some(link),
            restarts: self.restarts.clone(),
            relay_only: self.relay_only.clone(),
            drain_until: self.asked,
        };
        let (config, ground) = (self.config, self.ground.take());
        match catch_unwind(AssertUnwindSafe(|| app::serve(config, ground, life))) {
            Ok(Ok(End::Well)) => 0,
            Ok(Ok(End::RoleChanged)) => ROLE_CHANGED,
            Ok(Err(error)) => {
                eprintln!("weir-sidecar: {error:#}");
                FAILED
            }
            Err(_) => PANICKED,
        }
    }

    /// Waits for the worker's end, and passes on what it and others say.
    fn attend(&mut self, child: Child) -> anyhow::Result<WaitStatus> {
        memory::forget_code();
        loop {
            if let Some(status) = reap(child.pid)? {
                return Ok(status);
            }
            self.wait(Some(&child.link), self.time_left())?;
            self.heed_signals(Some(&child.link));
            self.hear(&child.link);
            if self.is_time_over() {
                // Not reaped yet, so the number is still its own.
                let _ = kill(child.pid, Signal::SIGKILL);
                return Ok(waitpid(child.pid, None)?);
            }
        }
    }

    /// Waits for a signal, or a word of the worker, but not longer than this.
    fn wait(&self, link: Option<&UnixStream>, longest: Option<Duration>) -> anyhow::Result<()> {
        let mut watched = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        watched.extend(link.map(|link| PollFd::new(link.as_fd(), PollFlags::POLLIN)));
        let timeout = longest.map_or(PollTimeout::NONE, |longest| {
            // Rounded up, so that it is over afterwards.
            PollTimeout::try_from(longest + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for the worker"),
        }
    }

    /// SIGTERM and SIGINT: the first one drains, the second one ends at once.
    fn heed_signals(&mut self, link: Option<&UnixStream>) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            if number != Signal::SIGTERM as i32 && number != Signal::SIGINT as i32 {
                continue;
            }
            let order = match self.asked {
                None => Order::Drain,
                Some(_) => Order::Now,
            };
            self.hurried |= order == Order::Now;
            let now = Instant::now();
            self.asked = match self.asked {
                None => Some(now + self.config.relay.drain.0),
                Some(until) => Some(until.min(now)),
            };
            if let Some(link) = link {
                order.send(link);
            }
        }
    }

    /// What the worker says.
    fn hear(&mut self, mut link: &UnixStream) {
        let mut bytes = [0; 64];
        while let Ok(n @ 1..) = link.read(&mut bytes) {
            for word in bytes[..n].iter().copied().filter_map(Word::of) {
                match word {
                    Word::Started => self.started = true,
                    Word::Mode(mode) => self.mode = mode,
                    Word::Closing => {
                        self.ground.close_sockets();
                        Order::Closed.send(link);
                    }
                }
            }
        }
    }

    fn note_failure(&mut self, reason: Restart, status: WaitStatus, lived: Duration) {
        self.failures = if lived < LONG { self.failures + 1 } else { 1 };
        tracing::error!(
            reason = reason.name(),
            ?status,
            ?lived,
            in_a_row = self.failures,
            "the worker has failed: connections that were open are lost, and another worker is started"
        );
        // Whoever is killed by hand has no cause in what it decodes.
        let may_be_own = reason != Restart::Killed || !self.kills.are_known();
        if self.failures >= FAILURES_BEFORE_RELAY_ONLY && may_be_own && self.relay_only.is_none() {
            self.relay_only = Some(format!(
                "relay only: nothing is decoded or exported after {} failures in a row (the last one: {}); start the sidecar again to decode",
                self.failures,
                reason.name()
            ));
        }
        self.let_traffic_pass();
    }

    /// Closes the listening sockets after failures in a row, where the redirect lets pass what nobody listens for.
    fn let_traffic_pass(&mut self) {
        let passes = matches!(self.mode, Some(Mode::Ebpf | Mode::PortMap));
        if self.failures >= FAILURES_BEFORE_BYPASS && passes {
            tracing::error!("traffic goes straight on, unseen, until a worker runs again");
            self.ground.close_sockets();
        }
    }

    /// Waits before the next worker is started. Signals end the wait: connections are waiting, to be served or let go.
    fn pause(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + pause_after(self.failures);
        while self.asked.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.wait(None, Some(left))?;
            self.heed_signals(None);
        }
        Ok(())
    }

    /// Opens what the next worker needs and is not open.
    fn renew(&mut self) -> anyhow::Result<()> {
        while let Err(error) = self.ground.renew(self.config) {
            tracing::error!("cannot start another worker yet: {error:#}");
            anyhow::ensure!(self.asked.is_none(), error);
            self.failures += 1;
            self.pause()?;
        }
        Ok(())
    }

    /// How long a worker that was asked to end may take from now on.
    fn time_left(&self) -> Option<Duration> {
        let end = self.asked? + LAST_PATIENCE;
        Some(end.saturating_duration_since(Instant::now()))
    }

    fn is_time_over(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }
}

/// The worker's status if it has ended. As the first process of a container, the parent inherits others' children too.
fn reap(worker: Pid) -> anyhow::Result<Option<WaitStatus>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(status) if status.pid() == Some(worker) => return Ok(Some(status)),
            Ok(_) | Err(Errno::EINTR) => {}
            // Whoever started this process has it ignore SIGCHLD, and the kernel has forgotten how the worker ended.
            Err(Errno::ECHILD) => return Ok(Some(WaitStatus::Exited(worker, UNKNOWN))),
            Err(error) => return Err(error).context("cannot wait for the worker"),
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => FIRST_PAUSE
            .saturating_mul(1 << (n - 2).min(16))
            .min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_take_their_time() {
        let pauses: Vec<_> = (1..=12).map(pause_after).collect();
        assert_eq!(pauses[..3], [Duration::ZERO, FIRST_PAUSE, FIRST_PAUSE * 2]);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[11], LONGEST_PAUSE);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }
}
