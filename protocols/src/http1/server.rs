//! What the server sends, and which request it answers.

use super::body::{Body, Fed};
use super::collector::{Block, Collected};
use super::connection::{Connection, Out, State};
use super::exchange::{Exchange, Failure, Method, Start};
use super::head::{Lines, response_verdict, skip_empty};
use crate::Side;
use crate::detect::{Standing, Verdict};
use memchr::memchr;
use weir_records::Timestamp;

impl Connection {
    /// Takes bytes of the server and tells how many.
    pub(super) fn server_data(&mut self, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        match &mut self.server.state {
            State::Head => self.response_head(at, bytes, out),
            State::Body(_) => self.response_body(at, bytes, out),
            State::Held(_) | State::Lost(_) | State::Opaque => bytes.len(),
        }
    }

    /// The exchange that the response under way belongs to.
    pub(super) fn answered(&mut self) -> Option<&mut Exchange> {
        match &mut self.orphan {
            Some(orphan) => Some(orphan),
            None => self.pending.front_mut().map(|front| &mut **front),
        }
    }

    fn response_head(&mut self, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        let mut skipped = 0;
        if self.server.started.is_none() {
            skipped = bytes.len() - skip_empty(bytes).len();
            if skipped == bytes.len() {
                return skipped;
            }
            self.server.started = Some(at);
        }
        match self
            .server
            .head
            .feed(&bytes[skipped..], self.limits.max_head, response_verdict)
        {
            Collected::More => bytes.len(),
            Collected::Invalid => {
                self.standing.settle(Standing::Refuted);
                if let Some(front) = self.pending.front_mut().filter(|front| front.response.is_none()) {
                    front.failure = Some(Failure::InvalidResponse);
                }
                self.server.stop();
                self.step_aside("not_a_response", "", out);
                bytes.len()
            }
            Collected::Complete(block, used) => {
                self.response_head_done(block, at, out);
                skipped + used
            }
        }
    }

    fn response_head_done(&mut self, mut block: Block, at: Timestamp, out: Out) {
        let first = self.server.started.take().unwrap_or(at);
        let start = Lines(&block.raw)
            .next()
            .and_then(|line| Start::response(line.bytes));
        let Some(Start::Response { version, status }) = start else {
            self.standing.settle(Standing::Refuted);
            return self.step_aside("not_a_response", "", out);
        };
        self.standing.settle(Standing::Confirmed);
        block.fields.finish(Some(version));
        let method = self.method_asked();
        if (100..200).contains(&status) && status != 101 {
            return self.informational(status, &block);
        }
        let mut message = self.message(&mut block, first, at);
        message.start = start;
        let switches = status == 101 || method == Method::Connect && (200..300).contains(&status);
        let bodiless = method == Method::Head || matches!(status, 204 | 304);
        if status == 204 && block.fields.announce_body() {
            block.fields.note("body_in_204", "");
        }
        let body = if switches || bodiless {
            Some(Body::Length(0))
        } else {
            block.fields.body(Body::UntilClose)
        };
        if self.pending.front().is_none_or(|front| front.response.is_some()) {
            let mut orphan = self.exchange(first);
            orphan.note("response_without_request", "");
            self.orphan = Some(orphan);
        }
        // After a gap it may be the answer to a HEAD, and what follows no body.
        let is_certain = self.orphan.is_none() || !self.missed;
        if is_certain && !matches!(body, None | Some(Body::Length(0))) {
            self.keep_body(&mut message);
        }
        let Some(exchange) = self.answered() else { return };
        if status == 101 && !exchange.holds {
            block.fields.note("upgrade_not_requested", "");
        }
        exchange.note_all(block.fields.anomalies);
        exchange.response = Some(message);
        if switches {
            return self.switch(out);
        }
        match body {
            Some(Body::Length(0)) => self.response_done(out),
            Some(body) => self.server.state = State::Body(body),
            None => self.stop_server(out),
        }
        self.release(out);
    }

    /// The method of the request that the next response answers, as far as it has been seen.
    fn method_asked(&self) -> Method {
        match self.pending.front() {
            Some(front) if front.request.is_none() => {
                let (part, _) = self.client.head.part();
                memchr(b' ', part).map_or(Method::Other, |end| Method::of(&part[..end]))
            }
            Some(front) => front.method,
            None => Method::Other,
        }
    }

    /// A 1xx response: counted; the response is still to come.
    fn informational(&mut self, status: u16, block: &Block) {
        if let Some(front) = self.pending.front_mut().filter(|front| front.response.is_none()) {
            front.informational += block.size;
            front.expects &= status != 100;
        }
    }

    /// From here on the connection speaks something else.
    fn switch(&mut self, out: Out) {
        let successor = self.successor();
        if let Some(exchange) = self.answered() {
            exchange.abandoned = true;
            if let Some(response) = &mut exchange.response {
                response.whole = true;
            }
        }
        match self.orphan.take() {
            Some(orphan) => self.emit(orphan, out),
            None => self.emit_front(out),
        }
        self.step_aside("after_upgrade", "", out);
        if let Some(successor) = successor {
            self.hand_over(successor, out);
        }
    }

    /// What the client sent behind a CONNECT or an upgrade request is HTTP after all.
    fn release(&mut self, out: Out) {
        let waits = self
            .pending
            .back()
            .is_some_and(|back| back.holds && back.response.is_none());
        if let State::Held(held) = &mut self.client.state
            && !waits
        {
            let held = std::mem::take(held);
            self.client.state = State::Head;
            self.feed(Side::Client, held.at, &held.part, out);
        }
    }

    fn response_body(&mut self, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        let (max, room) = (self.limits.max_head, self.room());
        let Self {
            server,
            pending,
            orphan,
            kept,
            ..
        } = self;
        let State::Body(body) = &mut server.state else {
            return bytes.len();
        };
        let exchange = orphan.as_mut().or_else(|| pending.front_mut());
        let Some(exchange) = exchange else {
            return bytes.len();
        };
        let Some(message) = &mut exchange.response else {
            return bytes.len();
        };
        message.last = at;
        let before = message.allow(room);
        let fed = body.feed(bytes, message, &mut exchange.anomalies, max);
        *kept += message.kept() - before;
        match fed {
            Fed::More => bytes.len(),
            Fed::Done(used) => {
                self.response_done(out);
                used
            }
            Fed::Doubtful => {
                self.stop_server(out);
                bytes.len()
            }
        }
    }

    pub(super) fn response_done(&mut self, out: Out) {
        self.server.state = State::Head;
        if let Some(response) = self.answered().and_then(|exchange| exchange.response.as_mut()) {
            response.whole = true;
        }
        if let Some(orphan) = self.orphan.take() {
            if self.missed {
                // It may have answered a HEAD: then what was taken for its body was something else.
                self.server.lose();
            }
            return self.emit(orphan, out);
        }
        let Some(front) = self.pending.front() else { return };
        let sent_nothing = front
            .request
            .as_ref()
            .is_some_and(|request| request.wire == request.head_size);
        if front.asked() {
            self.emit_front(out);
        } else if front.expects && sent_nothing {
            // A client that waits for `100 Continue` may now send its body or its next request.
            self.stop_client("expectation_unanswered", "", out);
        }
    }

    /// Where this response ends is in doubt: with it ends the decoding of the connection.
    fn stop_server(&mut self, out: Out) {
        if let Some(exchange) = self.answered() {
            exchange.note("response_body_end_unknown", "");
        }
        match self.orphan.take() {
            Some(orphan) => self.emit(orphan, out),
            None if self.pending.front().is_some_and(|front| front.asked()) => self.emit_front(out),
            None => {}
        }
        self.server.stop();
        self.step_aside("responses_not_decoded", "", out);
    }

    /// A response to an unseen request may have had no body although it announced one (HEAD): a status line at the
    /// beginning of a segment then ends it.
    pub(super) fn check_doubtful_body(&mut self, bytes: &[u8], out: Out) {
        let doubtful = self.missed && self.orphan.is_some() && matches!(self.server.state, State::Body(_));
        if doubtful && response_verdict(bytes) == Verdict::Yes {
            if let Some(orphan) = self.orphan.take() {
                self.emit(orphan, out);
            }
            self.server.state = State::Head;
        }
    }
}
