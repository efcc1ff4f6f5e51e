//! A line with delay and loss, for kernels without netem: two TUN interfaces, and a thread for each way that carries packets
//! from one to the other, late, and leaves some out.
//!
//! What the nodes' kernels see is a slow network: packets as they would be on a wire, whole ones, none larger than the MTU.

mod tun;

use crate::{LabError, Node, error::Context};
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{ErrorKind, Read, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A thread looks so often whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Most packets that are on their way at once; past it they are dropped, as any router does.
const QUEUE: usize = 10_000;

/// How good a line is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// So long a packet takes, one way.
    pub delay: Duration,
    /// Of each way every such packet is dropped; 0 for none.
    pub drop_every: u64,
}

/// A line, which is cut when this is dropped.
#[derive(Debug)]
pub struct Line {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Line {
    /// Between two nodes, which get an interface of this name.
    pub(crate) fn open(a: &Node, b: &Node, interface: &str, quality: Quality) -> Result<Self, LabError> {
        let open = |node: &Node| {
            node.enter(|| tun::open(interface))?
                .context(|| format!("{} can't have a TUN interface", node.name()))
        };
        let (a, b) = (open(a)?, open(b)?);
        let ends = Arc::new(AtomicBool::new(false));
        let mut line = Self {
            ends: ends.clone(),
            threads: Vec::new(),
        };
        for (from, to) in [(&a, &b), (&b, &a)] {
            let again = |file: &File| file.try_clone().context(|| "a descriptor can't be had".into());
            let (from, to, ends) = (again(from)?, again(to)?, ends.clone());
            let thread = thread::Builder::new()
                .name(interface.into())
                .spawn(move || carry(from, to, quality, &ends))
                .context(|| "a thread can't be started".into())?;
            line.threads.push(thread);
        }
        Ok(line)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Carries packets one way until it is to end, or an interface has gone.
fn carry(mut from: File, mut to: File, quality: Quality, ends: &AtomicBool) {
    let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = vec![0; 64 << 10];
    let mut count = 0;
    while !ends.load(Ordering::Relaxed) {
        let now = Instant::now();
        while let Some((_, packet)) = queue.pop_front_if(|(due, _)| *due <= now) {
            // A packet that nobody takes is lost, as on any line.
            let _ = to.write(&packet);
        }
        let wait = queue.front().map_or(LOOK, |(due, _)| LOOK.min(*due - now));
        let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        // A signal is as good as time that has passed.
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(wait)), None);
        loop {
            match from.read(&mut buffer) {
                Ok(len) => {
                    count += 1;
                    let is_lost = quality.drop_every > 0 && u64::is_multiple_of(count, quality.drop_every);
                    if !is_lost && queue.len() < QUEUE {
                        queue.push_back((Instant::now() + quality.delay, buffer[..len].to_vec()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
    }
}
