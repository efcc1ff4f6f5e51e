//! What comes after HTTP/1.1 on the same connection: HTTP/2, a WebSocket, or whatever is within a tunnel.

use super::connection::{Connection, Out, State};
use super::exchange::{Exchange, Message, Start};
use crate::http2::{Upgrade, upgraded};
use crate::preface;
use crate::tunnel::{self, Tunnel};
use crate::websocket::{self, Handshake};
use crate::within::DEEPEST;
use crate::{Side, detect::Dissector};
use weir_records::Preface;

impl Connection {
    /// The decoder that takes over, if the response says that something follows which is decoded.
    pub(super) fn successor(&self) -> Option<Box<dyn Dissector>> {
        let exchange = match &self.orphan {
            Some(orphan) => orphan,
            None => self.pending.front()?,
        };
        let response = exchange.response.as_ref()?;
        match response.start {
            Some(Start::Response { status: 101, .. }) if upgrades_to(response, b"h2c") => {
                self.http2(exchange)
            }
            Some(Start::Response { status: 101, .. }) if upgrades_to(response, b"websocket") => {
                self.websocket(exchange, response)
            }
            Some(Start::Response { status: 101, .. }) if upgrades_to_tls(response) => self.tls(),
            Some(Start::Response { status: 200..300, .. }) => self.tunnel(exchange),
            _ => None,
        }
    }

    /// The client's next byte is the first one after its request.
    fn client_is_held(&self) -> bool {
        matches!(self.client.state, State::Held(_))
    }

    fn http2(&self, exchange: &Exchange) -> Option<Box<dyn Dissector>> {
        let request = exchange.request.as_ref().filter(|_| exchange.holds)?;
        let Some(Start::Request { method, target, .. }) = &request.start else {
            return None;
        };
        let asked = request.fields();
        let upgrade = Upgrade {
            method: request.slice(method),
            target: request.slice(target),
            fields: &asked,
            body: request.body,
            kept: request.kept.as_deref(),
            first: request.first,
            last: request.last,
            sequence: self.sequence,
        };
        Some(upgraded(&self.limits, &upgrade))
    }

    /// Of a connection that was joined late the request may not have been seen.
    fn websocket(&self, exchange: &Exchange, response: &Message) -> Option<Box<dyn Dissector>> {
        let answered = response.fields();
        let mut handshake = match &exchange.request {
            None => Handshake::read(None, &answered),
            Some(request) if exchange.holds => {
                let asked = request.fields();
                let is_whole = |message: &Message| message.head_size == message.raw.len() as u64;
                let proven = is_whole(request) && is_whole(response);
                let mut handshake = Handshake::read(Some((&asked, proven)), &answered);
                if let Some(Start::Request { method, target, .. }) = &request.start {
                    handshake.method = request.slice(method).to_vec();
                    handshake.target = request.slice(target).to_vec();
                }
                handshake
            }
            Some(_) => return None,
        };
        handshake.at = response.last;
        handshake.late = self.late;
        handshake.exact = self.client_is_held();
        Some(websocket::open(handshake))
    }

    /// TLS on the same connection (RFC 2817).
    fn tls(&self) -> Option<Box<dyn Dissector>> {
        let may_follow = self.client_is_held() && self.depth < DEEPEST;
        may_follow.then(|| preface::open(&self.limits, Preface::StartTlsHttp, self.depth))
    }

    fn tunnel(&self, exchange: &Exchange) -> Option<Box<dyn Dissector>> {
        let request = exchange.request.as_ref()?;
        let Some(Start::Request { target, .. }) = &request.start else {
            return None;
        };
        if !self.client_is_held() || self.depth >= DEEPEST {
            return None;
        }
        let tunnel = Tunnel {
            target: request.slice(target).to_vec(),
            sequence: exchange.sequence,
            late: self.late,
        };
        Some(tunnel::open(&self.limits, tunnel, self.depth))
    }

    /// Hands over, with what the client has sent since its request.
    pub(super) fn hand_over(&mut self, mut successor: Box<dyn Dissector>, out: Out) {
        if let State::Held(held) = &mut self.client.state {
            let held = std::mem::take(held);
            if !held.part.is_empty() {
                successor.data(Side::Client, held.at, &held.part, out);
            }
        }
        self.successor = Some(successor);
        self.opaque = false;
    }
}

/// The response says that TLS follows, and perhaps what is spoken within.
fn upgrades_to_tls(response: &Message) -> bool {
    response.fields().iter().any(|field| {
        let tls = field
            .value
            .get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"TLS/1"));
        tls && field.name.eq_ignore_ascii_case(b"upgrade")
    })
}

/// The response says that this protocol follows.
fn upgrades_to(response: &Message, protocol: &[u8]) -> bool {
    response.fields().iter().any(|field| {
        field.name.eq_ignore_ascii_case(b"upgrade") && field.value.eq_ignore_ascii_case(protocol)
    })
}
