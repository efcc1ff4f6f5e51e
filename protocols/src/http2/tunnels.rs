//! WebSockets within streams (RFC 8441): what their DATA holds is handed to the decoder of WebSockets.

use super::connection::{Connection, Out};
use super::exchange::{Exchange, Failure};
use super::framing::Piece;
use super::hpack::Fields;
use crate::detect::Dissector;
use crate::http1::Field;
use crate::websocket::{self, Handshake};
use crate::{Close, Side};
use std::collections::BTreeMap;
use weir_records::Timestamp;

/// The WebSockets that are open on a connection, by their streams.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    open: BTreeMap<u32, Inside>,
    /// Memory that they take.
    held: usize,
}

/// What is within a stream.
#[derive(Debug)]
struct Inside {
    decoder: Box<dyn Dissector>,
    held: usize,
}

impl Tunnels {
    /// Memory that they take, in bytes.
    pub fn held(&self) -> usize {
        self.held
    }

    /// A piece of a stream's DATA.
    pub fn data(&mut self, id: u32, side: Side, piece: &Piece<'_>, at: Timestamp, out: Out) {
        let Some(inside) = self.open.get_mut(&id) else {
            return;
        };
        if !piece.content.is_empty() {
            inside.decoder.data(side, at, piece.content, out);
        }
        if piece.missed > 0 {
            let missed = Some(u64::from(piece.missed));
            inside.decoder.gap(side, at, missed, out);
        }
    }

    /// Frames of a side were missed, which may have been of any stream.
    pub fn miss(&mut self, side: Side, at: Timestamp) {
        for inside in self.open.values_mut() {
            // (A WebSocket comes out at its end alone.)
            inside.decoder.gap(side, at, None, &mut |_| {});
        }
    }

    /// A stream is over, in this way.
    pub fn close(&mut self, id: u32, at: Timestamp, how: Close, out: Out) {
        if let Some(mut inside) = self.open.remove(&id) {
            self.held -= inside.held;
            inside.decoder.close(at, how, out);
        }
    }
}

impl Connection {
    /// Opens the WebSocket that follows the answer which has just come on a stream, if one does.
    pub(super) fn open_tunnel(&mut self, id: u32, at: Timestamp) {
        let exact = self.is_exact();
        let handshake = self
            .streams
            .get(&id)
            .and_then(|exchange| handshake(exchange, exact));
        if let Some(mut handshake) = handshake {
            handshake.at = at;
            let texts = handshake.target.len() + handshake.hosts.iter().map(Vec::len).sum::<usize>();
            let decoder = websocket::open(handshake);
            let held = decoder.held() + texts + size_of::<(u32, Inside)>();
            self.tunnels.held += held;
            self.tunnels.open.insert(id, Inside { decoder, held });
        }
    }
}

/// What was agreed on, if it was a WebSocket.
fn handshake(exchange: &Exchange, exact: bool) -> Option<Handshake> {
    let request = exchange.request.as_ref()?;
    let asked = request.head.as_ref()?;
    let websocket = asked.get(b":protocol") == Some(b"websocket");
    let accepted = matches!(exchange.status(), Some(200..300));
    if asked.get(b":method") != Some(b"CONNECT") || !websocket || !accepted {
        return None;
    }
    let answered = exchange.response.as_ref()?.head.as_ref()?;
    // Here no key is sent, and none answered.
    let mut handshake = Handshake::read(Some((&named(asked), false)), &named(answered));
    handshake.target = asked.get(b":path").unwrap_or_default().to_vec();
    handshake.hosts = asked.get(b":authority").map(<[u8]>::to_vec).into_iter().collect();
    handshake.late = exchange.late;
    handshake.exact = exact && request.body == 0 && !exchange.gap;
    handshake.sequence = exchange.sequence;
    handshake.stream = Some(exchange.stream);
    Some(handshake)
}

/// The fields of which all is known.
fn named(fields: &Fields) -> Vec<Field<'_>> {
    fields
        .octets()
        .filter(|(field, ..)| field.name.is_some() && field.value.is_ok())
        .map(|(field, name, value)| Field {
            name,
            value,
            cut: field.cut,
        })
        .collect()
}

/// How the tunnel within an exchange ended.
pub(super) fn end(exchange: &Exchange) -> Close {
    match exchange.failure {
        Some(Failure::Stream(side, _) | Failure::Connection(side)) => Close::Reset(side),
        Some(Failure::Abandoned) => Close::Abandoned,
        _ => Close::Finished,
    }
}
