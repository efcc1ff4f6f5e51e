//! One connection, from accept to record.

use crate::{
    dial::DialError,
    listen::Arrival,
    observe::Clock,
    original::{ClientAddress, OriginalDestination, original_destination},
    probe,
    relay::Pair,
    socket::Stream,
    source::Source,
    worker::Worker,
};
use std::{io, net::SocketAddr, rc::Rc};
use weir_capture::Transport;
use weir_protocols::{Close, Side};
use weir_records::Direction;

/// Carries one accepted connection to its end.
pub async fn serve(worker: Rc<Worker>, arrival: Arrival, socket: std::net::TcpStream, peer: SocketAddr) {
    let clock = Clock::start();
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

/// Dials, unless the client resets in the meantime.
async fn reach(
    worker: &Worker,
    client: &Stream,
    direction: Direction,
    destination: OriginalDestination,
    source: Source,
) -> Result<Stream, DialError> {
    let dialled = tokio::select! {
        biased;
        result = worker.dialer.dial(direction, destination, source) => result,
        () = client.reset() => Err(DialError { reason: "client_gone", source: io::ErrorKind::ConnectionReset.into() }),
    };
    let (stream, not_kept) = dialled?;
    if let Some(why) = not_kept {
        worker.metrics.source_not_kept(why);
    }
    Ok(stream)
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
    if matches!(error.reason, "no_spare_address" | "no_port") && worker.no_address.now() {
        tracing::warn!(%destination, %error, "cannot dial; the spare local addresses are set aside by `weir-init install`");
    } else {
        tracing::debug!(%destination, %error, "cannot dial");
    }
}
