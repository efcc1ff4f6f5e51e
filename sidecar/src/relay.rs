//! The relay: bytes from one socket to the other, both ways, exactly, as if nothing stood between.
//!
//! What one side sends is written to the other first and shown to the observer after. Half-close, reset, urgent bytes and
//! back-pressure are carried across. A direction that flows owns no memory: it reads into its thread's scratch buffer,
//! and only what the other side does not take at once is kept, no more than one read. Both directions move in turn, and
//! after [`TURN`] bytes the thread's other connections are served.

use crate::socket::Stream;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::Interest,
    task::yield_now,
    time::{Instant, Sleep, sleep},
};
use weir_protocols::{Close, Side};

/// First read of a direction; the size grows fourfold whenever a read fills it.
const FIRST_READ: usize = 4 << 10;
/// Bytes that one connection may move before the thread looks for events again and serves its other connections.
const TURN: usize = 256 << 10;
/// How long bytes that a side sent before its reset may wait without progress while the other side goes on sending to
/// the dead one: that side may be blocked in a write which only the reset ends.
const SENDER_PATIENCE: Duration = Duration::from_secs(5);
/// The same while the other side sends nothing: it only reads slowly.
const READER_PATIENCE: Duration = Duration::from_secs(60);

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
    /// This side's socket is broken. Something that the side sent may still be unread.
    Broken(Side),
    /// Nothing moved for too long.
    Idle,
}

/// Whether a read believes what epoll has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Reads only what the reactor knows of, and waits for more.
    WhenReady,
    /// Reads what the socket holds at this moment and never waits; for sockets that are broken.
    Now,
}

/// How a connection's turn ended.
enum Turn {
    /// Both sides have finished.
    Finished,
    /// More could be moved, but others are to be served first.
    Over,
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
            Err(Stop::Broken(side)) => {
                self.deliver_patiently(side, &mut pipes, scratch, observer).await;
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
        let mut moved = false;
        let mut watches = [Watch::new(&self.client), Watch::new(&self.server)];
        loop {
            let turn = poll_fn(|cx| {
                let mut left = TURN;
                let turn = self.turn(cx, pipes, &mut left, scratch, observer)?;
                moved |= left < TURN;
                if let Some(turn) = turn {
                    return Poll::Ready(Ok(turn));
                }
                for (watch, pipe) in watches.iter_mut().zip([&mut pipes.up, &mut pipes.down]) {
                    watch.arm(cx, std::mem::take(&mut pipe.took_urgent));
                    // Where a pipe reads, its reads find the error, after the bytes that came before it.
                    if !pipe.reads() && watch.stream.is_broken() {
                        return Poll::Ready(Err(Stop::Broken(pipe.from)));
                    }
                }
                let moved = std::mem::take(&mut moved);
                let idle = idle.as_mut();
                if idle.is_some_and(|clock| clock.poll(cx, moved).is_ready()) {
                    return Poll::Ready(Err(Stop::Idle));
                }
                Poll::Pending
            });
            match turn.await? {
                Turn::Finished => return Ok(()),
                // Unlike a plain wake this lets the thread look for new events first.
                Turn::Over => yield_now().await,
            }
        }
    }

    /// Moves what can be moved, in both directions by turns; nothing if both wait.
    fn turn(
        &self,
        cx: &mut Context<'_>,
        pipes: &mut Pipes,
        left: &mut usize,
        scratch: &Scratch,
        observer: &mut impl Observer,
    ) -> Result<Option<Turn>, Stop> {
        let buffer = &mut **scratch.borrow_mut();
        let (mut up, mut down) = (true, true);
        let (client, server) = (&self.client, &self.server);
        while up || down {
            if *left == 0 {
                return Ok(Some(Turn::Over));
            }
            if up {
                let step = pipes
                    .up
                    .step(cx, (client, server), Reading::WhenReady, buffer, observer)?;
                *left = left.saturating_sub(step.bytes);
                up = step.goes_on;
            }
            if down {
                let step = pipes
                    .down
                    .step(cx, (server, client), Reading::WhenReady, buffer, observer)?;
                *left = left.saturating_sub(step.bytes);
                down = step.goes_on;
            }
        }
        let finished = pipes.up.done && pipes.down.done;
        Ok(finished.then_some(Turn::Finished))
    }

    /// Passes on what the broken side sent before it broke. Gives up where the other side takes nothing for too long.
    async fn deliver_patiently(
        &self,
        dead: Side,
        pipes: &mut Pipes,
        scratch: &Scratch,
        observer: &mut impl Observer,
    ) {
        let alive = self.stream(other(dead));
        let passed = Cell::new(0);
        let mut deliver = pin!(self.deliver_before_reset(dead, pipes, scratch, observer, &passed));
        let mut waited = Duration::ZERO;
        let mut before = (0, 0);
        loop {
            tokio::select! {
                () = &mut deliver => return,
                () = sleep(SENDER_PATIENCE) => {}
            }
            let now = (passed.get(), alive.unsent().unwrap_or(0));
            waited = if now == before {
                waited + SENDER_PATIENCE
            } else {
                Duration::ZERO
            };
            before = now;
            let still_sends = alive.unread().is_ok_and(|bytes| bytes > 0);
            let patience = if still_sends {
                SENDER_PATIENCE
            } else {
                READER_PATIENCE
            };
            if waited >= patience {
                return;
            }
        }
    }

    /// A reset overtakes nothing that was sent before it and has arrived here: passes on what there is, and waits until
    /// the other side has acknowledged it. The reset itself goes out when the pair is dropped.
    async fn deliver_before_reset(
        &self,
        dead: Side,
        pipes: &mut Pipes,
        scratch: &Scratch,
        observer: &mut impl Observer,
        passed: &Cell<u64>,
    ) {
        let (from, alive) = (self.stream(dead), self.stream(other(dead)));
        let pipe = pipes.from(dead);
        pipe.reset = true;
        loop {
            let turn = poll_fn(|cx| {
                let buffer = &mut **scratch.borrow_mut();
                let mut left = TURN;
                while left > 0 {
                    // What epoll has told is not asked: the broken socket itself says what it still holds, and never
                    // makes a reader wait.
                    let step = pipe.step(cx, (from, alive), Reading::Now, buffer, observer)?;
                    passed.set(passed.get() + step.bytes as u64);
                    left = left.saturating_sub(step.bytes);
                    if !step.goes_on {
                        ready!(pipe.poll_delivered());
                        return Poll::Ready(Ok(Turn::Finished));
                    }
                }
                Poll::Ready(Ok(Turn::Over))
            });
            match turn.await {
                Ok(Turn::Finished) => break,
                Ok(Turn::Over) => yield_now().await,
                // Now the other side is broken too: there is nobody left.
                Err(Stop::Broken(_) | Stop::Idle) => return,
            }
        }
        let mut pause = Duration::from_millis(1);
        // A socket that has broken counts for ever what was not acknowledged.
        while !alive.is_broken() && alive.unsent().is_ok_and(|bytes| bytes > 0) {
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
    /// An urgent byte that comes after those.
    urgent: Option<u8>,
    /// An urgent byte was taken since the socket's watch was armed.
    took_urgent: bool,
    read_size: usize,
    ended: bool,
    done: bool,
    /// The sender has reset: what is left is delivered, but no FIN follows it.
    reset: bool,
}

/// What one step of a direction came to.
struct Step {
    /// How many bytes the other side took.
    bytes: usize,
    /// False if the direction has finished, or waits for one of the sockets.
    goes_on: bool,
}

impl Step {
    const fn moved(bytes: usize) -> Self {
        let goes_on = true;
        Self { bytes, goes_on }
    }

    const fn stopped(bytes: usize) -> Self {
        let goes_on = false;
        Self { bytes, goes_on }
    }
}

impl Pipe {
    fn new(from: Side) -> Self {
        Self {
            from,
            kept: Vec::new(),
            taken: 0,
            urgent: None,
            took_urgent: false,
            read_size: FIRST_READ,
            ended: false,
            done: false,
            reset: false,
        }
    }

    fn has_kept(&self) -> bool {
        self.taken < self.kept.len() || self.urgent.is_some()
    }

    /// False while the sender's socket is not read: everything was, or the receiver takes nothing more.
    fn reads(&self) -> bool {
        !self.ended && !self.has_kept()
    }

    /// Ready once nothing that was read waits for the receiver.
    fn poll_delivered(&self) -> Poll<()> {
        match self.has_kept() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Moves what one read gives. Where the direction waits, the task is woken when it can go on.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&Stream, &Stream),
        reading: Reading,
        scratch: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<Step, Stop> {
        if self.done {
            return Ok(Step::stopped(0));
        }
        let mut bytes = self.write_kept(cx, to, observer)?;
        if self.has_kept() {
            return Ok(Step::stopped(bytes));
        }
        if self.ended {
            self.done = true;
            if !self.reset {
                to.finish();
                observer.end(self.from);
            }
            return Ok(Step::stopped(bytes));
        }
        if from.has_urgent()
            && let Some(byte) = from.take_urgent()
        {
            (self.urgent, self.took_urgent) = (Some(byte), true);
            return Ok(Step::moved(bytes));
        }
        let size = self.read_size.min(scratch.len());
        let read = match reading {
            Reading::WhenReady => from.poll_read(cx, &mut scratch[..size]),
            Reading::Now => Poll::Ready(from.read_now(&mut scratch[..size])),
        };
        match read {
            Poll::Pending => return Ok(Step::stopped(bytes)),
            Poll::Ready(Err(_)) if reading == Reading::Now => self.ended = true,
            Poll::Ready(Err(_)) => return Err(Stop::Broken(self.from)),
            Poll::Ready(Ok(0)) => self.ended = true,
            Poll::Ready(Ok(n)) => {
                bytes += self.write_or_keep(cx, to, &scratch[..n], observer)?;
                if n == size {
                    self.read_size = (size * 4).min(scratch.len());
                }
            }
        }
        Ok(Step::moved(bytes))
    }

    /// Writes what is kept, as far as the receiver takes it, and says how much that was.
    fn write_kept(
        &mut self,
        cx: &mut Context<'_>,
        to: &Stream,
        observer: &mut impl Observer,
    ) -> Result<usize, Stop> {
        let broken = Stop::Broken(other(self.from));
        let mut bytes = 0;
        while self.taken < self.kept.len() {
            match to.poll_write(cx, &self.kept[self.taken..]) {
                Poll::Pending => return Ok(bytes),
                Poll::Ready(Err(_)) => return Err(broken),
                Poll::Ready(Ok(n)) => {
                    observer.data(self.from, &self.kept[self.taken..self.taken + n]);
                    self.taken += n;
                    bytes += n;
                }
            }
        }
        if self.taken > 0 {
            self.kept = Vec::new();
            self.taken = 0;
        }
        if let Some(byte) = self.urgent {
            match to.poll_write_urgent(cx, byte) {
                Poll::Pending => return Ok(bytes),
                Poll::Ready(Err(_)) => return Err(broken),
                Poll::Ready(Ok(())) => {
                    self.urgent = None;
                    bytes += 1;
                }
            }
        }
        Ok(bytes)
    }

    /// Writes what was read, keeps what the receiver does not take, and says how much it took.
    fn write_or_keep(
        &mut self,
        cx: &mut Context<'_>,
        to: &Stream,
        bytes: &[u8],
        observer: &mut impl Observer,
    ) -> Result<usize, Stop> {
        let written = match to.poll_write(cx, bytes) {
            Poll::Pending => 0,
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) => return Err(Stop::Broken(other(self.from))),
        };
        if written > 0 {
            observer.data(self.from, &bytes[..written]);
        }
        self.kept.extend_from_slice(&bytes[written..]);
        Ok(written)
    }
}

/// A wait for an event of one socket.
type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Wakes the task for what neither a reader nor a writer is woken for: that the socket has broken while nobody reads it,
/// and an urgent byte with nothing before it.
struct Watch<'a> {
    stream: &'a Stream,
    waiting: Option<(Interest, Waiting<'a>)>,
}

impl<'a> Watch<'a> {
    fn new(stream: &'a Stream) -> Self {
        Self {
            stream,
            waiting: None,
        }
    }

    /// Sees to it that the task is woken. Costs a look at a flag where the watch is armed already; `again` if what it
    /// waited for has come and was dealt with.
    fn arm(&mut self, cx: &mut Context<'_>, again: bool) {
        // What has been told already would not be waited for.
        let interest = match self.stream.has_urgent() {
            true => Interest::ERROR,
            false => Interest::ERROR.add(Interest::PRIORITY),
        };
        let armed = self.waiting.as_ref().is_some_and(|(armed, _)| *armed == interest);
        if armed && !again {
            return;
        }
        let stream = self.stream;
        let mut waiting: Waiting<'a> = Box::pin(stream.told_of(interest));
        self.waiting = match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => None,
            Poll::Pending => Some((interest, waiting)),
        };
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
