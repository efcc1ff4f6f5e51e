//! How a connection is cut short: gaps, half-closes, resets.

use super::body::Skipped;
use super::connection::{Connection, Out, State};
use super::exchange::{Exchange, Failure, Message};
use super::search::Behind;
use crate::{Close, Side};
use weir_records::Timestamp;

impl Connection {
    /// What has arrived of a request's head becomes its request, as far as it goes.
    /// `torn` when the rest of it was missed.
    pub(super) fn keep_partial_request(&mut self, torn: bool) {
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
            let mut message = Message::partial(raw, size, first, first, Side::Client);
            message.torn |= torn;
            self.stored += message.head_stored();
            exchange.request = Some(message);
        }
    }

    /// The same for a response.
    pub(super) fn keep_partial_response(&mut self, torn: bool) {
        let Some(first) = self.server.started.take() else {
            return;
        };
        let (raw, size) = self.server.head.take_part();
        if let Some(exchange) = self.answered().filter(|exchange| exchange.response.is_none())
            && size > 0
        {
            let mut message = Message::partial(raw, size, first, first, Side::Server);
            message.torn |= torn;
            exchange.response = Some(message);
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
                if let (Skipped::Lost | Skipped::Passed, Some(messages)) = (&skipped, &mut message.messages) {
                    messages.lost = true;
                }
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
        if self.client.has_ended() {
            return;
        }
        (self.missed, self.gap) = (true, true);
        self.uncertain |= !self.pending.is_empty();
        let arriving = self.client.started.is_some();
        self.keep_partial_request(true);
        self.client.lose();
        if let Some(exchange) = self.pending.back_mut().filter(|_| arriving) {
            exchange.note("gap", seen);
            exchange.abandoned = true;
            self.request_over(out);
        }
    }

    fn lose_server(&mut self, seen: &str, out: Out) {
        if self.server.has_ended() {
            return;
        }
        self.missed = true;
        self.aside.clear();
        if let Some(mut orphan) = self.orphan.take() {
            orphan.note("gap", seen);
            self.emit(orphan, out);
        }
        let requesting = self.client.started.is_some();
        self.keep_partial_response(true);
        self.server.lose();
        // A single request without an answer keeps its place; which of several is answered next can't be known.
        let waiting = self
            .pending
            .iter()
            .filter(|exchange| exchange.response.is_none())
            .count();
        for mut exchange in std::mem::take(&mut self.pending) {
            exchange.note("gap", seen);
            exchange.answer_missed |= exchange.response.is_none();
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
        if self.client.has_ended() {
            return;
        }
        let arriving = self.client.started.is_some();
        self.keep_partial_request(false);
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
        self.keep_partial_response(false);
        self.claim_bytes(out);
        self.server.stop();
        self.aside.clear();
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
        self.keep_partial_request(false);
        self.keep_partial_response(false);
        self.claim_bytes(out);
        let waiting = std::mem::take(&mut self.pending);
        for mut exchange in waiting.into_iter().chain(self.orphan.take()) {
            fail(&mut exchange, how);
            self.emit(exchange, out);
        }
        self.client.stop();
        self.server.stop();
    }
}

impl Connection {
    /// Bytes of the server that belong to no message, and of which nothing was said yet, have an exchange of their own.
    fn claim_bytes(&mut self, out: Out) {
        let State::Search(search) = &mut self.server.state else {
            return;
        };
        let (passed, began) = (search.passed(), search.began);
        let Some(behind) = search.behind.take().filter(|_| passed > 0) else {
            return;
        };
        let mut exchange = self.exchange(began);
        let kind = match behind {
            Behind::Response => "not_a_response",
            Behind::Bodiless(bodiless) => bodiless.name(),
        };
        exchange.note(
            kind,
            &format!("{passed} bytes of the server belong to no message"),
        );
        exchange.informational = passed;
        self.emit(exchange, out);
    }
}

/// Says how an exchange failed that the end of its connection cut short.
pub(super) fn fail(exchange: &mut Exchange, how: Close) {
    let unknown = exchange.answer_missed || exchange.found;
    if unknown && exchange.response.is_none() && how != Close::Abandoned {
        // There may have been an answer, or no request.
        return;
    }
    let failure = match how {
        Close::Reset(Side::Client) => Failure::ResetByClient,
        Close::Reset(Side::Server) => Failure::ResetByServer,
        Close::Abandoned => Failure::Abandoned,
        Close::Finished if exchange.settled() => return,
        Close::Finished if exchange.response.is_some() => Failure::IncompleteResponse,
        Close::Finished => Failure::NoResponse,
    };
    exchange.failure.get_or_insert(failure);
}
