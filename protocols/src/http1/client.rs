//! What the client sends.

use super::body::{Body, Fed};
use super::collector::{Block, Collected};
use super::connection::{Connection, Out, State};
use super::ending::fail;
use super::exchange::{Method, Start};
use super::framing::{Fields, quote};
use super::head::{Lines, Version, skip_empty};
use super::odd::{Odd, any_request_verdict};
use super::search::Search;
use super::start::request_line;
use crate::{Close, Side, detect::Standing, http::Style};
use weir_records::Timestamp;

impl Connection {
    /// Takes bytes of the client and tells how many.
    pub(super) fn client_data(&mut self, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        match &mut self.client.state {
            State::Head => return self.request_head(at, bytes, out),
            State::Body(_) => return self.request_body(at, bytes, out),
            State::Held(held) => {
                if held.part.is_empty() {
                    held.at = at;
                }
                if held.part.len() + bytes.len() <= self.limits.max_head {
                    held.part.extend_from_slice(bytes);
                } else {
                    let (began, part) = (held.at, std::mem::take(&mut held.part));
                    self.lose_framing("data_before_the_answer", true, out);
                    self.feed(Side::Client, began, &part, out);
                    return 0;
                }
            }
            State::Search(_) => return self.search(Side::Client, at, bytes, out),
            State::Lost(_) | State::Ended => {}
        }
        bytes.len()
    }

    fn request_head(&mut self, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        let mut skipped = 0;
        if self.client.started.is_none() {
            skipped = bytes.len() - skip_empty(bytes).len();
            if skipped == bytes.len() {
                return skipped;
            }
            if self.is_full() {
                self.make_room(out);
            }
            self.begin_request(at, out);
        }
        match self
            .client
            .head
            .feed(&bytes[skipped..], self.limits.max_head, any_request_verdict)
        {
            Collected::More => bytes.len(),
            Collected::Invalid => {
                self.standing.settle(Standing::Refuted);
                let (began, (part, _)) = (self.client.started, self.client.head.take_part());
                self.lose_framing("not_a_request", false, out);
                self.feed(Side::Client, began.unwrap_or(at), &part, out);
                skipped
            }
            Collected::Complete(block, used) => {
                self.request_head_done(block, at, out);
                skipped + used
            }
        }
    }

    /// The first byte of a request.
    fn begin_request(&mut self, at: Timestamp, out: Out) {
        let mut exchange = self.exchange(at);
        if matches!(self.server.state, State::Lost(_)) && !self.pending.is_empty() {
            // Answers were missed, and clients that pipeline are rare: most likely these are answered already.
            while !self.pending.is_empty() {
                self.emit_front(out);
            }
            exchange.note("pairing_uncertain", "");
        }
        if self.uncertain || self.passed.is_some() {
            self.doubt_pairing(&mut exchange, out);
        }
        self.client.started = Some(at);
        self.pending.push_back(exchange);
    }

    fn request_head_done(&mut self, mut block: Block, at: Timestamp, out: Out) {
        let first = self.client.started.unwrap_or(at);
        let line = Lines(&block.raw).next().map_or(&[][..], |line| line.bytes);
        let read = request_line(line);
        let odd = read.as_ref().and_then(|line| line.odd.clone());
        let mut start = read.map(Start::from);
        if let Some(Start::Request { version, .. }) = &mut start {
            *version = version.or(block.version);
        }
        let (mut method, mut version) = (Method::Other, None);
        if let Some(Start::Request {
            method: name,
            target,
            version: said,
            ..
        }) = &start
        {
            method = Method::of(&line[..name.end as usize]);
            version = *said;
            // (Cut within its version, the line has a space that is not the target's.)
            if block.version.is_none() && line[target.start as usize..target.end as usize].contains(&b' ') {
                block.fields.note("space_in_target", "");
            }
            if let Some(odd) = odd {
                note_odd(&mut block.fields, line, odd);
            }
        }
        // (A server that has spoken before it was asked has yet to show that it spoke HTTP.)
        if block.fields.count > 0 && !block.fields.irregular && self.server.started.is_none() {
            self.standing.settle(Standing::Confirmed);
        }
        let expects = block.fields.expects && version == Some(Version::V11);
        block.fields.finish(Side::Client, version);
        if method == Method::Connect && block.fields.announce_body() {
            block.fields.doubt("body_in_connect", "");
        }
        let holds = method == Method::Connect || block.fields.upgrade;
        let body = block.fields.body(Body::Length(0));
        let mut message = self.message(&mut block, first, at);
        message.start = start;
        if !matches!(body, None | Some(Body::Length(0))) {
            self.keep_body(&mut message);
            if let Some(style) = block.fields.style.filter(|style| *style != Style::Unary) {
                message.expect_messages(style);
            }
        }
        self.stored += message.head_stored();
        let Some(exchange) = self.pending.back_mut() else {
            return;
        };
        exchange.request = Some(message);
        exchange.call = block.fields.style;
        (exchange.method, exchange.holds, exchange.expects) = (method, holds, expects);
        exchange.note_all(block.fields.anomalies);
        match body {
            Some(Body::Length(0)) => self.request_done(out),
            Some(body) => self.client.state = State::Body(body),
            None => self.lose_framing("request_body_end_unknown", false, out),
        }
    }

    fn request_body(&mut self, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        let room = self.room();
        let State::Body(body) = &mut self.client.state else {
            return bytes.len();
        };
        let Some(exchange) = self.pending.back_mut() else {
            return bytes.len();
        };
        let Some(message) = &mut exchange.request else {
            return bytes.len();
        };
        message.last = at;
        let kept = message.allow(room);
        let fed = body.feed(bytes, message, &mut exchange.anomalies, self.limits.max_head);
        self.kept += message.kept() - kept;
        match fed {
            Fed::More => bytes.len(),
            Fed::Done(used) => {
                self.request_done(out);
                used
            }
            Fed::Doubtful(used) => {
                self.lose_framing("request_body_end_unknown", false, out);
                used
            }
        }
    }

    pub(super) fn request_done(&mut self, out: Out) {
        self.client.started = None;
        self.client.state = State::Head;
        let Some(exchange) = self.pending.back_mut() else {
            return;
        };
        if let Some(request) = &mut exchange.request {
            request.whole = true;
            self.stored += request.tail_stored();
        }
        if exchange.holds && exchange.response.is_none() {
            self.client.state = State::Held(Default::default());
        }
        self.request_over(out);
    }

    /// The last request is over, one way or another: if it has its answer, it comes out.
    pub(super) fn request_over(&mut self, out: Out) {
        let Some(exchange) = self.pending.back_mut() else {
            return;
        };
        if exchange.settled() {
            self.emit_front(out);
        } else if self.server.ended {
            fail(exchange, Close::Finished);
            if let Some(exchange) = self.pending.pop_back() {
                self.emit(exchange, out);
            }
        }
    }

    /// Where the client's next request begins is not known, for this reason: it is looked for, once the answer is there if
    /// that is to be waited for.
    pub(super) fn lose_framing(&mut self, kind: &str, waits: bool, out: Out) {
        self.keep_partial_request(false);
        if let Some(exchange) = self.pending.back_mut() {
            exchange.note(kind, "");
            exchange.abandoned = true;
        }
        self.client.search(Search::waiting(waits));
        self.request_over(out);
    }
}

/// Notes what is odd about a request line.
fn note_odd(fields: &mut Fields, line: &[u8], odd: Odd) {
    match odd {
        Odd::Spaces => fields.note("spaces_in_request_line", ""),
        Odd::NoTarget => fields.note("no_target", ""),
        Odd::Version(version) => {
            let version = &line[version];
            let seen = quote(version);
            match version.starts_with(b"HTTP/1.") {
                true => fields.note("invalid_version", &seen),
                // Of another version it is not known what follows.
                false => fields.doubt("invalid_version", &seen),
            }
        }
    }
}
