//! All data threads together. One that fails, or cannot be started, leaves its sockets to another.

use crate::{
    condition::{Condition, Degraded},
    dns,
    listen::Listener,
    metrics::WorkerMetrics,
    privilege::Privileges,
    worker::Command,
};
use anyhow::Context;
use std::{io, sync::Arc, task::Poll, thread::JoinHandle, time::Duration};
use tokio::sync::mpsc;
use weir_export::Pipeline;

/// What is observed, opened and ready to start.
pub(super) struct Source {
    /// What the process may still do.
    pub(super) privileges: Privileges,
    /// Its ports, for people.
    pub(super) listens_on: String,
    /// Its threads.
    pub(super) threads: Vec<Planned>,
}

/// A data thread that is still to be started.
pub(super) struct Planned {
    /// Its sockets; another thread gets them if this one fails.
    pub(super) share: Share,
    /// Starts it.
    pub(super) start: Start,
}

type Start = Box<dyn FnOnce(&Pipeline) -> anyhow::Result<Handle>>;

/// The sockets of one data thread.
#[derive(Debug, Default)]
pub struct Share {
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Its sockets for DNS over UDP.
    pub dns: Vec<dns::listen::Listener>,
}

impl Share {
    /// Other descriptors of the same sockets.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let listener = |it: &Listener| {
            Ok(Listener {
                arrival: it.arrival,
                socket: it.socket.try_clone()?,
            })
        };
        let query = |it: &dns::listen::Listener| {
            Ok(dns::listen::Listener {
                socket: it.socket.try_clone()?,
                resolver: it.resolver,
            })
        };
        Ok(Self {
            listeners: self.listeners.iter().map(listener).collect::<io::Result<_>>()?,
            dns: self.dns.iter().map(query).collect::<io::Result<_>>()?,
        })
    }

    fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.dns.is_empty()
    }
}

/// A data thread, seen from the main one.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) thread: JoinHandle<io::Result<()>>,
}

/// Starts a data thread.
pub(super) fn spawn(
    n: usize,
    commands: mpsc::Sender<Command>,
    metrics: Arc<WorkerMetrics>,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> anyhow::Result<Handle> {
    let thread = std::thread::Builder::new()
        .name(format!("weir-data-{n}"))
        .spawn(run)
        .context("cannot start a data thread")?;
    Ok(Handle {
        metrics,
        commands,
        thread,
    })
}

/// A data thread with its sockets.
#[derive(Debug)]
struct Member {
    handle: Handle,
    share: Share,
    /// It has ended, and another one has its sockets.
    replaced: bool,
}

/// The data threads.
#[derive(Debug, Default)]
pub(super) struct Crew(Vec<Member>);

impl Crew {
    /// Starts every thread. One that the system has no room for leaves its sockets to the others.
    ///
    /// # Errors
    /// None can be started.
    pub(super) fn start(
        sources: Vec<Source>,
        pipeline: &Pipeline,
        condition: &Condition,
    ) -> anyhow::Result<Self> {
        let mut crew = Self::default();
        let mut orphans = Vec::new();
        let (mut planned, mut last) = (0, None);
        for Planned { share, start } in sources.into_iter().flat_map(|source| source.threads) {
            planned += 1;
            match start(pipeline) {
                Ok(handle) => crew.0.push(Member {
                    handle,
                    share,
                    replaced: false,
                }),
                Err(error) => {
                    orphans.push(share);
                    last = Some(error);
                }
            }
        }
        if let Some(error) = last {
            if crew.0.is_empty() {
                return Err(error);
            }
            let why = format!(
                "{} of {planned} data threads cannot be started: {error:#}",
                orphans.len()
            );
            condition.degrade(Degraded::DataThread, why);
        }
        orphans.iter().for_each(|share| crew.hand_on(share));
        Ok(crew)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn metrics(&self) -> Vec<Arc<WorkerMetrics>> {
        self.0
            .iter()
            .map(|member| member.handle.metrics.clone())
            .collect()
    }

    pub(super) fn commands(&self) -> Vec<mpsc::Sender<Command>> {
        self.0
            .iter()
            .map(|member| member.handle.commands.clone())
            .collect()
    }

    /// Waits until a thread has ended that nobody has replaced.
    pub(super) async fn one_ended(&self) {
        let living = self.0.iter().filter(|member| !member.replaced);
        let mut ends: Vec<_> = living
            .map(|member| Box::pin(member.handle.commands.closed()))
            .collect();
        std::future::poll_fn(
            |cx| match ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
    }

    /// Gives the sockets of threads that have ended to others. False if there is no other.
    pub(super) fn take_over(&mut self, condition: &Condition) -> bool {
        let ended = |member: &Member| !member.replaced && member.handle.commands.is_closed();
        while let Some(n) = self.0.iter().position(ended) {
            self.0[n].replaced = true;
            let share = std::mem::take(&mut self.0[n].share);
            condition.degrade(
                Degraded::DataThread,
                "a data thread has failed, and another one does its work; the log says why",
            );
            self.hand_on(&share);
        }
        self.0.iter().any(|member| !member.replaced)
    }

    /// Gives sockets to a thread that lives.
    fn hand_on(&mut self, share: &Share) {
        if share.is_empty() {
            return;
        }
        for member in self.0.iter_mut().filter(|member| !member.replaced) {
            let (Ok(given), Ok(kept)) = (share.try_clone(), share.try_clone()) else {
                tracing::error!("no descriptors are left for the sockets of a data thread that is missing");
                return;
            };
            if member.handle.commands.try_send(Command::Adopt(given)).is_ok() {
                member.share.listeners.extend(kept.listeners);
                member.share.dns.extend(kept.dns);
                return;
            }
        }
    }

    /// Has every thread close its listeners and end within this time, and waits for that.
    pub(super) async fn drain(&mut self, left: Duration) {
        // Descriptors of the same sockets, which would stay open.
        self.0
            .iter_mut()
            .for_each(|member| member.share = Share::default());
        for member in &self.0 {
            // A thread that has ended already has nothing to drain.
            let _ = member.handle.commands.send(Command::Drain(left)).await;
        }
        for member in &self.0 {
            // The endpoints go on answering while the connections end.
            member.handle.commands.closed().await;
        }
    }

    /// Waits for the threads' ends, and says how those ended that failed.
    pub(super) fn join(self) {
        for Member { handle, .. } in self.0 {
            drop(handle.commands);
            match handle.thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a data thread failed"),
                Err(_) => tracing::error!("a data thread failed by a bug"),
            }
        }
    }
}
