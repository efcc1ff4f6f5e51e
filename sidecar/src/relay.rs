//! The relay: bytes from one socket to the other, both ways, exactly, as if nothing stood between.
//!
//! What one side sends is written to the other first and shown to the observer after. Half-close, reset and
//! back-pressure are carried across. A direction that flows owns no memory: it reads into its thread's scratch buffer,
//! and only what the other side does not take at once is kept, no more than one read.

use crate::socket::Stream;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use weir_protocols::{Close, Side};

/// First read of a direction; it grows fourfold whenever a read fills it.
const FIRST_READ: usize = 4 << 10;
/// How long bytes that a side sent before its reset may take to reach the other side.
const RESET_PATIENCE: Duration = Duration::from_secs(5);

/// Sees the bytes that pass, after they were written.
pub trait Observer {
    /// `side` sent these bytes.
    fn data(&mut self, side: Side, bytes: &[u8]);
    /// `side` will send no more.
    fn end(&mut self, side: Side);
}

/// A thread's scratch buffer, as large as a read may grow.
pub type Scratch = RefCell<Box<[u8]>>;

/// The two sockets of a connection. Unless it came to an orderly end, dropping them resets both peers.
#[derive(Debug)]
pub struct Pair {
    /// Towards the one who opened the connection.
    pub client: Stream,
    /// Towards the original destination.
    pub server: Stream,
    finished: Cell<bool>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.client.reset_on_close();
            self.server.reset_on_close();
        }
    }
}

/// Why the relaying stopped before both sides had finished.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// This side's socket failed on a read: everything that it sent has been read.
    ReadFailed(Side),
    /// This side's socket failed on a write: something that it sent may still be unread.
    WriteFailed(Side),
    /// Nothing moved for too long.
    Idle,
}

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

impl Pair {
    /// The sockets of a connection whose destination has been reached.
    pub fn new(client: Stream, server: Stream) -> Self {
        Self {
            client,
            server,
            finished: Cell::new(false),
        }
    }

    fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Relays until both sides have finished, one has reset, or nothing has moved for `idle`.
    pub async fn relay(
        &self,
        scratch: &Scratch,
        idle: Option<Duration>,
        observer: &mut impl Observer,
    ) -> Close {
        let mut pipes = Pipes {
            up: Pipe::new(Side::Client),
            down: Pipe::new(Side::Server),
        };
        match self.carry(&mut pipes, scratch, idle, observer).await {
            Ok(()) => {
                self.finished.set(true);
                Close::Finished
            }
            Err(Stop::Idle) => Close::Abandoned,
            Err(Stop::ReadFailed(side) | Stop::WriteFailed(side)) => {
                let patience = sleep(RESET_PATIENCE);
                tokio::select! {
                    () = self.deliver_before_reset(side, &mut pipes, scratch, observer) => {}
                    () = patience => {}
                }
                Close::Reset(side)
            }
        }
    }

    async fn carry(
        &self,
        pipes: &mut Pipes,
        scratch: &Scratch,
        idle: Option<Duration>,
        observer: &mut impl Observer,
    ) -> Result<(), Stop> {
        let mut idle = idle.map(IdleClock::new);
        let mut client_reset = Watch::new(&self.client);
        let mut server_reset = Watch::new(&self.server);
        poll_fn(|cx| {
            let moved = {
                let buffer = &mut **scratch.borrow_mut();
                let up = pipes.up.poll(cx, &self.client, &self.server, buffer, observer)?;
                let down = pipes
                    .down
                    .poll(cx, &self.server, &self.client, buffer, observer)?;
                up | down
            };
            match (pipes.up.done, pipes.down.done) {
                (true, true) => return Poll::Ready(Ok(())),
                // A side that has finished sending is no longer read, so that its reset has to be looked for.
                (true, false) if client_reset.poll(cx).is_ready() => {
                    return Poll::Ready(Err(Stop::ReadFailed(Side::Client)));
                }
                (false, true) if server_reset.poll(cx).is_ready() => {
                    return Poll::Ready(Err(Stop::ReadFailed(Side::Server)));
                }
                _ => {}
            }
            let idle_for_too_long = idle
                .as_mut()
                .is_some_and(|clock| clock.poll(cx, moved).is_ready());
            if idle_for_too_long {
                Poll::Ready(Err(Stop::Idle))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// A reset overtakes nothing that was sent before it and has arrived here: passes on what there is, and waits until
    /// the other side has acknowledged it. The reset itself goes out when the pair is dropped.
    async fn deliver_before_reset(
        &self,
        dead: Side,
        pipes: &mut Pipes,
        scratch: &Scratch,
        observer: &mut impl Observer,
    ) {
        let alive = self.stream(other(dead));
        let pipe = pipes.from(dead);
        pipe.reset = true;
        poll_fn(|cx| {
            let buffer = &mut **scratch.borrow_mut();
            // Reading from a failed socket never waits: its bytes, then its end or its error.
            match pipe.poll(cx, self.stream(dead), alive, buffer, observer) {
                Err(_) => Poll::Ready(()),
                Ok(_) if pipe.done || !pipe.has_kept() => Poll::Ready(()),
                Ok(_) => Poll::Pending,
            }
        })
        .await;
        let mut pause = Duration::from_millis(1);
        while alive.unsent().is_ok_and(|bytes| bytes > 0) {
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

struct Pipes {
    up: Pipe,
    down: Pipe,
}

impl Pipes {
    fn from(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.up,
            Side::Server => &mut self.down,
        }
    }
}

/// One direction of a connection.
struct Pipe {
    from: Side,
    /// Bytes that were read and that the other side has not taken yet, from `taken` on.
    kept: Vec<u8>,
    taken: usize,
    read_size: usize,
    ended: bool,
    done: bool,
    /// The sender has reset: what is left is delivered, but no FIN follows it.
    reset: bool,
}

impl Pipe {
    fn new(from: Side) -> Self {
        Self {
            from,
            kept: Vec::new(),
            taken: 0,
            read_size: FIRST_READ,
            ended: false,
            done: false,
            reset: false,
        }
    }

    fn has_kept(&self) -> bool {
        self.taken < self.kept.len()
    }

    /// Moves what can be moved now; true if anything was. Wakes the task when more can be.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
        scratch: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<bool, Stop> {
        let mut moved = false;
        while !self.done {
            if !self.write_kept(cx, to, observer, &mut moved)? {
                return Ok(moved);
            }
            if self.ended {
                self.done = true;
                if !self.reset {
                    to.finish();
                    observer.end(self.from);
                }
                return Ok(true);
            }
            let size = self.read_size.min(scratch.len());
            match from.poll_read(cx, &mut scratch[..size]) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Err(_)) => return Err(Stop::ReadFailed(self.from)),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(n)) => {
                    moved = true;
                    self.write_or_keep(cx, to, &scratch[..n], observer)?;
                    if n == size {
                        self.read_size = (size * 4).min(scratch.len());
                    }
                }
            }
        }
        Ok(moved)
    }

    /// True once nothing is kept any more.
    fn write_kept(
        &mut self,
        cx: &mut Context<'_>,
        to: &Stream,
        observer: &mut impl Observer,
        moved: &mut bool,
    ) -> Result<bool, Stop> {
        while self.has_kept() {
            match to.poll_write(cx, &self.kept[self.taken..]) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(_)) => return Err(Stop::WriteFailed(other(self.from))),
                Poll::Ready(Ok(n)) => {
                    *moved = true;
                    observer.data(self.from, &self.kept[self.taken..self.taken + n]);
                    self.taken += n;
                }
            }
        }
        if self.taken > 0 {
            self.kept = Vec::new();
            self.taken = 0;
        }
        Ok(true)
    }

    fn write_or_keep(
        &mut self,
        cx: &mut Context<'_>,
        to: &Stream,
        bytes: &[u8],
        observer: &mut impl Observer,
    ) -> Result<(), Stop> {
        let written = match to.poll_write(cx, bytes) {
            Poll::Pending => 0,
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) => return Err(Stop::WriteFailed(other(self.from))),
        };
        if written > 0 {
            observer.data(self.from, &bytes[..written]);
        }
        self.kept.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}

/// Waits for a side's reset; costs nothing until it is first asked.
struct Watch<'a> {
    stream: &'a Stream,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
}

impl<'a> Watch<'a> {
    fn new(stream: &'a Stream) -> Self {
        Self {
            stream,
            waiting: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = self.stream;
        self.waiting
            .get_or_insert_with(|| Box::pin(stream.reset()))
            .as_mut()
            .poll(cx)
    }
}

/// Ends when nothing has moved for the period. The timer is set anew only when it fires, not at every byte.
struct IdleClock {
    period: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl IdleClock {
    fn new(period: Duration) -> Self {
        Self {
            period,
            last: Instant::now(),
            timer: Box::pin(sleep(period)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        if moved {
            self.last = Instant::now();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let until = self.last + self.period;
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}
