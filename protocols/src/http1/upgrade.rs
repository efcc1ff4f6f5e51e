//! From HTTP/1.1 to HTTP/2 on the same connection.

use super::connection::{Connection, Out, State};
use super::exchange::{Exchange, Start};
use super::head::fields;
use crate::http2::{Upgrade, upgraded};
use crate::{Side, detect::Dissector};

impl Connection {
    /// The decoder that takes over, where the server has agreed to go on in HTTP/2.
    pub(super) fn successor(&self) -> Option<Box<dyn Dissector>> {
        let exchange = self.pending.front()?;
        let request = exchange.request.as_ref()?;
        let Some(Start::Request { method, target, .. }) = &request.start else {
            return None;
        };
        if !agrees(exchange) {
            return None;
        }
        let asked: Vec<_> = fields(request.fields()).collect();
        let upgrade = Upgrade {
            method: request.slice(method),
            target: request.slice(target),
            fields: &asked,
            wire: request.wire,
            body: request.body,
            first: request.first,
            last: request.last,
            sequence: self.sequence,
        };
        Some(upgraded(&self.limits, &upgrade))
    }

    /// Hands over, with what the client has sent since its request.
    pub(super) fn hand_over(&mut self, mut successor: Box<dyn Dissector>, out: Out) {
        if let State::Held(held) = &mut self.client.state {
            let held = std::mem::take(held);
            successor.data(Side::Client, held.at, &held.part, out);
        }
        self.successor = Some(successor);
        self.opaque = false;
    }
}

/// The response says that HTTP/2 follows.
fn agrees(exchange: &Exchange) -> bool {
    let Some(response) = &exchange.response else {
        return false;
    };
    let switches = matches!(response.start, Some(Start::Response { status: 101, .. }));
    let h2c = |field: super::head::Field<'_>| {
        field.name.eq_ignore_ascii_case(b"upgrade") && field.value.eq_ignore_ascii_case(b"h2c")
    };
    switches && exchange.holds && fields(response.fields()).any(h2c)
}
