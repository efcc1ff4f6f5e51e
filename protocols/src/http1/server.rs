//! What the server sends, and which request it answers.

use super::body::{Body, Fed};
use super::collector::{Block, Collected};
use super::connection::{Connection, Out, State};
use super::exchange::{Exchange, Failure, Message, Method, Start};
use super::head::{Lines, skip_empty};
use super::odd::any_response_verdict;
use super::search::{Behind, Bodiless, Search};
use super::start::{response_verdict, status_line};
use crate::Side;
use crate::detect::{Standing, Verdict};
use crate::fate::Fate;
use crate::http::Style;
use memchr::memchr;
use weir_records::Timestamp;

impl Connection {
    /// Takes bytes of the server and tells how many.
    pub(super) fn server_data(&mut self, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        match &mut self.server.state {
            State::Head => self.response_head(at, bytes, out),
            State::Body(_) => self.response_body(at, bytes, out),
            State::Search(_) => self.search(Side::Server, at, bytes, out),
            State::Held(_) | State::Lost(_) | State::Ended => bytes.len(),
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
            .feed(&bytes[skipped..], self.limits.max_head, any_response_verdict)
        {
            Collected::More => bytes.len(),
            Collected::Invalid => {
                let (began, (part, _)) = (self.server.started, self.server.head.take_part());
                self.not_a_response();
                self.feed(Side::Server, began.unwrap_or(at), &part, out);
                skipped
            }
            Collected::Complete(block, used) => {
                self.response_head_done(block, at, out);
                skipped + used
            }
        }
    }

    /// Something else came where a response begins: the next one is looked for. If that comes before another request, it
    /// answers what waits.
    fn not_a_response(&mut self) {
        self.standing.settle(Standing::Refuted);
        if let Some(bodiless) = self.bodiless.take() {
            return self.lose_responses(Some(Behind::Bodiless(bodiless)));
        }
        let now = self.now;
        match self.pending.front_mut().filter(|front| front.response.is_none()) {
            Some(front) => {
                front.failure.get_or_insert(Failure::InvalidResponse);
                front.fate = Fate::Ended(now);
                front.note("not_a_response", "");
                self.lose_responses(None);
            }
            None => self.lose_responses(Some(Behind::Response)),
        }
    }

    /// Where the server's next response begins is not known: it is looked for.
    fn lose_responses(&mut self, behind: Option<Behind>) {
        self.uncertain = true;
        self.server.search(Search::behind(behind));
    }

    fn response_head_done(&mut self, mut block: Block, at: Timestamp, out: Out) {
        let first = self.server.started.take().unwrap_or(at);
        let line = Lines(&block.raw).next().map_or(&[][..], |line| line.bytes);
        let start = Start::response(line);
        let Some(Start::Response { version, status }) = start else {
            return self.not_a_response();
        };
        if status_line(line).is_none() {
            block.fields.note("spaces_in_status_line", "");
        }
        self.standing.settle(Standing::Confirmed);
        if self.uncertain && status < 400 {
            self.pass_misunderstood(out);
        }
        block.fields.finish(Side::Server, Some(version));
        let method = self.method_asked();
        if (100..200).contains(&status) && status != 101 {
            return self.informational(status, &block);
        }
        let mut message = self.message(&mut block, first, at);
        message.start = start;
        let switches = status == 101 || method == Method::Connect && (200..300).contains(&status);
        self.bodiless = Bodiless::of(method, status);
        if status == 204 && block.fields.announce_body() {
            block.fields.note("body_in_204", "");
        }
        let body = if switches || self.bodiless.is_some() {
            Some(Body::Length(0))
        } else {
            block.fields.body(Body::UntilClose)
        };
        let late = self.aside.pop_front().is_some();
        if late || self.pending.front().is_none_or(|front| front.response.is_some()) {
            let mut orphan = self.exchange(first);
            orphan.note(
                "response_without_request",
                if late { "its request stepped aside" } else { "" },
            );
            self.orphan = Some(orphan);
        }
        // After a gap it may be the answer to a HEAD, and what follows no body.
        let is_certain = self.orphan.is_none() || !self.missed;
        if is_certain && !matches!(body, None | Some(Body::Length(0))) {
            self.keep_body(&mut message);
        }
        let passed = self.passed_server.take();
        let Some(exchange) = self.answered() else { return };
        if let Some(style) = block.fields.style.or(exchange.call) {
            read_call(style, status, block.fields.style, exchange, &mut message);
        }
        if exchange.failure == Some(Failure::InvalidResponse) {
            exchange.failure = None;
            exchange.fate = Fate::Told;
        }
        if let Some((passed, behind)) = passed {
            if let Some(Behind::Bodiless(bodiless)) = behind {
                exchange.note(bodiless.name(), "behind the response before this");
            }
            Self::note_passed(exchange, Side::Server, passed);
            exchange.note("pairing_uncertain", "");
        }
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
        if let Some(is_head) = self.aside.front() {
            return if *is_head { Method::Head } else { Method::Other };
        }
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
        self.step_aside("after_upgrade", out);
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
        match &mut self.client.state {
            State::Held(held) if !waits => {
                let held = std::mem::take(held);
                self.client.state = State::Head;
                self.feed(Side::Client, held.at, &held.part, out);
            }
            State::Search(search) if !waits => search.waits = false,
            _ => {}
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
            Fed::Doubtful(used) => {
                self.stop_server(out);
                used
            }
        }
    }

    pub(super) fn response_done(&mut self, out: Out) {
        self.server.state = State::Head;
        self.answered_since = true;
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
            self.lose_framing("expectation_unanswered", false, out);
        }
    }

    /// Where this response ends is in doubt: the next one is looked for.
    fn stop_server(&mut self, out: Out) {
        if let Some(exchange) = self.answered() {
            exchange.note("response_body_end_unknown", "");
            exchange.answer_over = true;
        }
        match self.orphan.take() {
            Some(orphan) => self.emit(orphan, out),
            None if self.pending.front().is_some_and(|front| front.asked()) => self.emit_front(out),
            None => {}
        }
        self.lose_responses(None);
    }

    /// A status line at the beginning of a segment ends a body that may not be one: that of a response to an unseen request,
    /// which may have been a HEAD; or one that should end with the connection, while another request waits.
    pub(super) fn check_doubtful_body(&mut self, bytes: &[u8], out: Out) {
        let State::Body(body) = &self.server.state else {
            return;
        };
        let orphan = self.orphan.is_some();
        let endless = matches!(body, Body::UntilClose) && self.pending.len() + usize::from(orphan) > 1;
        let doubtful = endless || self.missed && orphan;
        if !doubtful || response_verdict(bytes) != Verdict::Yes {
            return;
        }
        if endless {
            self.stop_server(out);
        } else if let Some(orphan) = self.orphan.take() {
            self.emit(orphan, out);
            self.server.state = State::Head;
        }
    }
}

/// Reads the response to a call of this style; its content type may name another one, or none.
fn read_call(
    style: Style,
    status: u16,
    named: Option<Style>,
    exchange: &mut Exchange,
    message: &mut Message,
) {
    exchange.call.get_or_insert(style);
    let read = match exchange.call {
        // A body that is no message tells what went wrong.
        Some(Style::Unary) => Some(Style::Unary).filter(|_| status != 200),
        _ => named,
    };
    if let Some(read) = read {
        message.expect_messages(read);
    }
}
