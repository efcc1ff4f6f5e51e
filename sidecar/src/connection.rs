//! One connection, from accept to record.

use crate::{
    dial::{DialError, Reason},
    listen::Arrival,
    original::{ClientAddress, OriginalDestination, original_destination},
    probe,
    relay::Pair,
    socket::Stream,
    source::Source,
    unreached::How,
    worker::Worker,
};
use std::{net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};
use weir_capture::Transport;
use weir_config::Mode;
use weir_protocols::{Close, Side};
use weir_records::Direction;

/// Between two looks at a dial that waits: longer than one lost SYN makes it wait (RFC 6298: sent again after 1 s).
const LOOK: Duration = Duration::from_millis(1500);
/// How long a destination is waited for that did not answer a moment ago: for three SYNs, sent after 0, 1 and 3 s.
const SHORT_PATIENCE: Duration = Duration::from_millis(3500);
/// How long a dial may go on whose client sends nothing more, and may be gone.
const FINISHED_PATIENCE: Duration = Duration::from_secs(10);

/// Carries one accepted connection to its end.
pub async fn serve(worker: Rc<Worker>, arrival: Arrival, socket: std::net::TcpStream, peer: SocketAddr) {
    let clock = worker.documents.clock();
    let Ok(client) = Stream::accepted(socket) else {
        worker.metrics.accept_errors.add(1);
        return;
    };
    let (destination, way) = match original_destination(
        client.get(),
        ClientAddress(peer),
        arrival,
        worker.dialer.addresses(),
    ) {
        Ok(Some(found)) => found,
        Ok(None) => return refuse(&worker, arrival, &client, peer),
        Err(_) => return, // gone before it was looked at
    };
    if worker.dialer.is_own(peer, destination.0) {
        return refuse(&worker, arrival, &client, peer);
    }
    if weir_config::probe::is_probe(destination.0) {
        return probe::answer(&client, arrival, destination).await;
    }
    let direction = arrival.direction;
    let _open = worker.metrics.of(direction).open();
    let source = worker.settings.source_of(direction, way, (peer, destination.0));
    // Its port is its own for as long as this lives.
    let _in_use = worker.dialer.client(peer);
    let _leg = worker.dialer.accepted(peer, destination.0);
    let ends = (ClientAddress(peer), destination);
    let server = match reach(&worker, &client, direction, destination, source).await {
        Ok(server) => server,
        Err(error) => {
            fail(&worker, &client, direction, destination, &error);
            let mut watcher = worker.watch(direction, ends, clock, Transport::Tcp, None, |_| None);
            watcher.measure_client(&client);
            // Its client is told first.
            drop(client);
            return watcher.unreached(&error);
        }
    };
    let connect = clock.elapsed();
    // Where this is ended from outside, the watcher goes first, and can still ask the sockets.
    let pair = Rc::new(Pair::new(client, server));
    let mut watcher = worker.watch(
        direction,
        ends,
        clock,
        Transport::Tcp,
        Some(connect),
        |decoders| Some(decoders.connection(destination.0.port(), false)),
    );
    watcher.carried_by(&pair);
    let how = pair
        .relay(&worker.scratch, worker.settings.idle, &mut watcher)
        .await;
    watcher.measure();
    drop(pair);
    watcher.close(how);
    worker.metrics.of(direction).closed(match how {
        Close::Finished => "finished",
        Close::Reset(Side::Client) => "client_reset",
        Close::Reset(Side::Server) => "server_reset",
        Close::Abandoned => "idle",
    });
}

/// Dials, unless the client goes in the meantime or it takes too long.
async fn reach(
    worker: &Rc<Worker>,
    client: &Stream,
    direction: Direction,
    destination: OriginalDestination,
    source: Source,
) -> Result<Stream, DialError> {
    let mut patience = Patience::new(worker, direction, destination);
    let mut dial = std::pin::pin!(worker.dialer.dial(direction, destination, source));
    let dialled = loop {
        tokio::select! {
            biased;
            result = &mut dial => break result,
            () = client.reset() => break Err(DialError::client_gone()),
            () = sleep(patience.next_look()) => {}
        }
        if patience.is_over(client) {
            break Err(DialError::timeout());
        }
    };
    if direction == Direction::Egress {
        match &dialled {
            Ok(_) => worker.dialer.unreached().forget(destination.0),
            Err(error) => match error.reason {
                Reason::Timeout => leave_alone(worker, destination, How::Silence),
                Reason::Refused | Reason::Unreachable => leave_alone(worker, destination, How::Refused),
                _ => {}
            },
        }
    }
    let (stream, not_kept) = dialled?;
    if let Some(why) = not_kept {
        worker.metrics.source_not_kept(why);
    }
    Ok(stream)
}

/// How long a dial may take.
struct Patience<'a> {
    worker: &'a Rc<Worker>,
    direction: Direction,
    destination: OriginalDestination,
    waited: Duration,
    limit: Option<Duration>,
}

impl<'a> Patience<'a> {
    fn new(worker: &'a Rc<Worker>, direction: Direction, destination: OriginalDestination) -> Self {
        // An application that is slow to accept is waited for as its clients would wait without Weir.
        let limit = (direction == Direction::Egress)
            .then(|| worker.dialer.timeout())
            .flatten();
        let is_silent = limit.is_some() && worker.dialer.unreached().is_silent(destination.0);
        Self {
            worker,
            direction,
            destination,
            waited: Duration::ZERO,
            limit: limit.map(|limit| {
                if is_silent {
                    limit.min(SHORT_PATIENCE)
                } else {
                    limit
                }
            }),
        }
    }

    fn next_look(&self) -> Duration {
        let left = self.limit.map(|limit| limit.saturating_sub(self.waited));
        LOOK.min(left.unwrap_or(LOOK))
    }

    /// After each look's time.
    fn is_over(&mut self, client: &Stream) -> bool {
        self.waited += self.next_look();
        if self.limit.is_some_and(|limit| self.waited >= limit) {
            return true;
        }
        if self.direction == Direction::Egress {
            leave_alone(self.worker, self.destination, How::Waits);
        }
        // It may be gone, or wait for an answer to all that it had to say.
        if client.has_ended() {
            let limit = self.waited + FINISHED_PATIENCE;
            self.limit.get_or_insert(limit);
        }
        false
    }
}

/// Remembers that a destination can't be reached, until it can.
fn leave_alone(worker: &Rc<Worker>, destination: OriginalDestination, how: How) {
    let has_programs = worker.settings.mode.get() == Some(Mode::Ebpf);
    if how == How::Waits && !has_programs {
        return;
    }
    let unreached = worker.dialer.unreached();
    if let Some(pause) = unreached.failed(destination.0, how, has_programs) {
        worker.metrics.left_alone.add(1);
        spawn_local(try_again(worker.clone(), destination, pause, has_programs));
    }
}

/// Tries a destination that is left alone, until it answers.
async fn try_again(
    worker: Rc<Worker>,
    destination: OriginalDestination,
    mut pause: Duration,
    has_programs: bool,
) {
    let unreached = worker.dialer.unreached();
    loop {
        sleep(pause).await;
        if !has_programs {
            return unreached.forget(destination.0);
        }
        if !unreached.has(destination.0) {
            return;
        }
        let dial = worker.dialer.dial(Direction::Egress, destination, Source::Own);
        if let Ok(Ok(_)) = timeout(SHORT_PATIENCE, dial).await {
            return unreached.forget(destination.0);
        }
        match unreached.failed_again(destination.0) {
            Some(next) => pause = next,
            None => return,
        }
    }
}

/// The connection was dialled here directly or loops: there is nowhere to carry it.
fn refuse(worker: &Worker, arrival: Arrival, client: &Stream, peer: SocketAddr) {
    client.reset_on_close();
    worker.metrics.of(arrival.direction).looped.add(1);
    tracing::debug!(%peer, port = arrival.port, "refused: not a redirected connection");
}

/// Ends the client's connection as the refused or timed-out one would have ended.
fn fail(
    worker: &Worker,
    client: &Stream,
    direction: Direction,
    destination: OriginalDestination,
    error: &DialError,
) {
    client.reset_on_close();
    worker.metrics.of(direction).dial_failed(error.reason);
    if matches!(error.reason, Reason::NoSpareAddress | Reason::NoPort) && worker.no_address.now() {
        tracing::warn!(%destination, %error, "cannot dial; the spare local addresses are set aside by `weir-init install`");
    } else {
        tracing::debug!(%destination, %error, "cannot dial");
    }
}
