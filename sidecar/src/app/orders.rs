//! What a worker is told from outside: by signals, and by its parent.

use crate::supervisor::{Order as Sent, Word};
use nix::sys::signal::{SigSet, Signal as Number};
use std::{io, os::unix::net::UnixStream, sync::Arc, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// End when nobody needs the sidecar any more.
    Drain,
    /// End at once.
    Now,
}

/// Where orders come from. Without a parent the first signal drains and the second one ends at once. With a parent it is
/// the parent that counts, since a signal for all processes of a terminal or a control group comes twice.
pub(super) struct Orders {
    terminate: Signal,
    interrupt: Signal,
    parent: Option<Parent>,
    /// Signals that came.
    signals: u32,
    hurried: bool,
    closed: bool,
}

struct Parent {
    reader: tokio::net::UnixStream,
    writer: Arc<UnixStream>,
}

impl Orders {
    /// Needs a running runtime, and no other thread.
    pub(super) fn new(link: Option<&UnixStream>) -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // The parent has blocked them until somebody handles them.
        let mut ours = SigSet::empty();
        [Number::SIGTERM, Number::SIGINT, Number::SIGCHLD]
            .into_iter()
            .for_each(|number| ours.add(number));
        ours.thread_unblock()?;
        let parent = link.map(|link| -> io::Result<Parent> {
            link.set_nonblocking(true)?;
            Ok(Parent {
                reader: tokio::net::UnixStream::from_std(link.try_clone()?)?,
                writer: Arc::new(link.try_clone()?),
            })
        });
        Ok(Self {
            terminate,
            interrupt,
            parent: parent.transpose()?,
            signals: 0,
            hurried: false,
            closed: false,
        })
    }

    /// The next order.
    pub(super) async fn next(&mut self) -> Order {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => self.signals += 1,
                _ = self.interrupt.recv() => self.signals += 1,
                sent = heard(&mut self.parent) => match sent {
                    Sent::Drain => return Order::Drain,
                    Sent::Now => self.hurried = true,
                    Sent::Closed => self.closed = true,
                },
            }
            let counts = self.parent.is_none();
            self.hurried |= counts && self.signals > 1;
            if self.hurried {
                return Order::Now;
            }
            if self.signals == 1 {
                return Order::Drain;
            }
        }
    }

    /// Waits for the order to end at once.
    pub(super) async fn hurry(&mut self) {
        while !self.hurried {
            self.next().await;
        }
    }

    /// True once it has come.
    pub(super) fn is_hurried(&mut self) -> bool {
        self.hurried
    }

    /// Waits until the parent has closed its listening sockets, but not for long.
    pub(super) async fn wait_for_parent(&mut self, patience: Duration) {
        let answer = async {
            while self.parent.is_some() && !self.closed {
                match heard(&mut self.parent).await {
                    Sent::Closed => self.closed = true,
                    Sent::Now => self.hurried = true,
                    Sent::Drain => {}
                }
            }
        };
        if tokio::time::timeout(patience, answer).await.is_err() {
            tracing::warn!("the parent process has not closed its listening sockets");
        }
    }

    /// Tells the parent.
    pub(super) fn tell(&self, word: Word) {
        self.teller()(word);
    }

    /// What tells the parent.
    pub(super) fn teller(&self) -> impl Fn(Word) + Send + Sync + use<> {
        let writer = self.parent.as_ref().map(|parent| parent.writer.clone());
        move |word| {
            if let Some(writer) = &writer {
                word.send(writer);
            }
        }
    }
}

/// The parent's next order. A parent that is gone takes this process with it, so that this never comes.
async fn heard(parent: &mut Option<Parent>) -> Sent {
    let Some(parent) = parent else {
        return std::future::pending().await;
    };
    loop {
        let mut byte = [0];
        if parent.reader.readable().await.is_err() {
            return std::future::pending().await;
        }
        match parent.reader.try_read(&mut byte) {
            Ok(0) => return std::future::pending().await,
            Ok(_) => {
                if let Some(sent) = Sent::of(byte[0]) {
                    return sent;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return std::future::pending().await,
        }
    }
}
