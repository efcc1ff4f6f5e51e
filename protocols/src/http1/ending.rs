//! How a connection is cut short: gaps, half-closes, resets.

use super::body::Skipped;
use super::connection::{Connection, Out, State};
use super::exchange::{Exchange, Failure, Message};
use crate::{Close, Side};
use weir_records::Timestamp;

impl Connection {
    /// What has arrived of a request's head becomes its request, as far as it goes.
    pub(super) fn keep_partial_request(&mut self) {
        let Some(first) = self.client.started.take() else {
            return;
        };
        let (raw, size) = self.client.head.take_part();
        if let Some(exchange) = self
            .pending
            .back_mut()
            .filter(|exchange| exchange.request.is_none())
            && size > 0
        {
            let message = Message::partial(raw, size, first, first, Side::Client);
            self.stored += message.head_stored();
            exchange.request = Some(message);
        }
    }

    /// The same for a response.
    pub(super) fn keep_partial_response(&mut self) {
        let Some(first) = self.server.started.take() else {
            return;
        };
        let (raw, size) = self.server.head.take_part();
        if let Some(exchange) = self.answered().filter(|exchange| exchange.response.is_none())
            && size > 0
        {
            exchange.response = Some(Message::partial(raw, size, first, first, Side::Server));
        }
    }

    /// Where neither side can bring anything more, the connection is done with.
    pub(super) fn settle(&mut self) {
        let silent = self.client.is_opaque() && !self.client.ended;
        if silent && self.pending.is_empty() && self.orphan.is_none() {
            self.opaque = true;
        }
    }

    pub(super) fn miss(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: Out) {
        let name = match side {
            Side::Client => "request",
            Side::Server => "response",
        };
        let seen = missed.map_or_else(
            || name.to_owned(),
            |missed| format!("{missed} bytes of the {name}"),
        );
        let Self {
            client,
            server,
            pending,
            orphan,
            ..
        } = self;
        let (state, exchange) = match side {
            Side::Client => (&mut client.state, pending.back_mut()),
            Side::Server => (&mut server.state, orphan.as_mut().or_else(|| pending.front_mut())),
        };
        let mut skipped = Skipped::Lost;
        if let (State::Body(body), Some(exchange)) = (state, exchange) {
            let message = match side {
                Side::Client => &mut exchange.request,
                Side::Server => &mut exchange.response,
            };
            if let Some(message) = message {
                skipped = body.skip(missed, message);
                message.last = at;
                exchange.note("gap", &seen);
            }
        }
        match (skipped, side) {
            (Skipped::Within, _) => {}
            (Skipped::Ended, Side::Client) => self.request_done(out),
            (Skipped::Ended, Side::Server) => self.response_done(out),
            (Skipped::Passed, Side::Client) => {
                self.request_done(out);
                self.lose_client(&seen, out);
            }
            (Skipped::Passed, Side::Server) => {
                self.response_done(out);
                self.lose_server(&seen, out);
            }
            (Skipped::Lost, Side::Client) => self.lose_client(&seen, out),
            (Skipped::Lost, Side::Server) => self.lose_server(&seen, out),
        }
    }

    fn lose_client(&mut self, seen: &str, out: Out) {
        if self.client.is_opaque() {
            return;
        }
        (self.missed, self.gap) = (true, true);
        let arriving = self.client.started.is_some();
        self.keep_partial_request();
        self.client.lose();
        if let Some(exchange) = self.pending.back_mut().filter(|_| arriving) {
            exchange.note("gap", seen);
            exchange.abandoned = true;
            self.request_over(out);
        }
    }

    fn lose_server(&mut self, seen: &str, out: Out) {
        if self.server.is_opaque() {
            return;
        }
        self.missed = true;
        if let Some(mut orphan) = self.orphan.take() {
            orphan.note("gap", seen);
            self.emit(orphan, out);
        }
        let requesting = self.client.started.is_some();
        self.keep_partial_response();
        self.server.lose();
        // A single request without an answer keeps its place; which of several is answered next can't be known.
        let waiting = self
            .pending
            .iter()
            .filter(|exchange| exchange.response.is_none())
            .count();
        for mut exchange in std::mem::take(&mut self.pending) {
            exchange.note("gap", seen);
            let unanswered = exchange.response.is_none() && waiting == 1;
            if unanswered || requesting && !exchange.asked() {
                self.pending.push_back(exchange);
            } else {
                self.emit(exchange, out);
            }
        }
    }

    pub(super) fn client_end(&mut self, out: Out) {
        self.client.ended = true;
        if self.client.is_opaque() {
            return;
        }
        let arriving = self.client.started.is_some();
        self.keep_partial_request();
        self.client.stop();
        if let Some(exchange) = self.pending.back_mut().filter(|_| arriving) {
            exchange.abandoned = true;
            exchange.failure.get_or_insert(Failure::IncompleteRequest);
            self.request_over(out);
        }
    }

    pub(super) fn server_end(&mut self, out: Out) {
        if self.server.ended {
            return;
        }
        self.server.ended = true;
        if let State::Body(super::body::Body::UntilClose) = self.server.state {
            self.response_done(out);
        }
        let requesting = self.client.started.is_some();
        self.keep_partial_response();
        self.server.stop();
        if let Some(mut orphan) = self.orphan.take() {
            orphan.failure.get_or_insert(Failure::IncompleteResponse);
            self.emit(orphan, out);
        }
        let waiting = std::mem::take(&mut self.pending);
        for mut exchange in waiting {
            fail(&mut exchange, Close::Finished);
            if requesting && !exchange.asked() {
                self.pending.push_back(exchange);
            } else {
                self.emit(exchange, out);
            }
        }
    }

    pub(super) fn finish(&mut self, how: Close, out: Out) {
        if how == Close::Finished {
            self.server_end(out);
            self.client_end(out);
        }
        self.keep_partial_request();
        self.keep_partial_response();
        let waiting = std::mem::take(&mut self.pending);
        for mut exchange in waiting.into_iter().chain(self.orphan.take()) {
            fail(&mut exchange, how);
            self.emit(exchange, out);
        }
        self.client.stop();
        self.server.stop();
    }
}

/// Says how an exchange failed that the end of its connection cut short.
pub(super) fn fail(exchange: &mut Exchange, how: Close) {
    let failure = match how {
        Close::Reset(Side::Client) => Failure::ResetByClient,
        Close::Reset(Side::Server) => Failure::ResetByServer,
        Close::Abandoned => Failure::Abandoned,
        Close::Finished if exchange.answered() => return,
        Close::Finished if exchange.response.is_some() => Failure::IncompleteResponse,
        Close::Finished => Failure::NoResponse,
    };
    exchange.failure.get_or_insert(failure);
}
