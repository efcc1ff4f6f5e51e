//! What the client sends.

use super::body::{Body, Fed};
use super::collector::{Block, Collected, Collector};
use super::connection::{Connection, Out, State};
use super::ending::fail;
use super::exchange::{Method, Start};
use super::head::{Lines, Version, request_verdict, skip_empty};
use crate::{Close, detect::Standing};
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
                    self.stop_client("data_before_the_answer", "", out);
                }
            }
            State::Lost(_) | State::Opaque => {}
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
                let waiting = self.pending.len().to_string();
                self.step_aside("too_many_pending", &waiting, out);
                return bytes.len();
            }
            self.begin_request(at, out);
        }
        match self
            .client
            .head
            .feed(&bytes[skipped..], self.limits.max_head, request_verdict)
        {
            Collected::More => bytes.len(),
            Collected::Invalid => {
                self.standing.settle(Standing::Refuted);
                self.client.head = Collector::default();
                self.stop_client("not_a_request", "", out);
                bytes.len()
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
        self.client.started = Some(at);
        self.pending.push_back(exchange);
    }

    fn request_head_done(&mut self, mut block: Block, at: Timestamp, out: Out) {
        let first = self.client.started.unwrap_or(at);
        let line = Lines(&block.raw).next().map_or(&[][..], |line| line.bytes);
        let mut start = Start::request(line);
        if let Some(Start::Request { version, .. }) = &mut start {
            *version = version.or(block.version);
        }
        let (mut method, mut version) = (Method::Other, None);
        if let Some(Start::Request {
            method: name,
            target,
            version: said,
        }) = &start
        {
            method = Method::of(&line[..name.end as usize]);
            version = *said;
            // (Cut within its version, the line has a space that is not the target's.)
            if block.version.is_none() && line[target.start as usize..target.end as usize].contains(&b' ') {
                block.fields.note("space_in_target", "");
            }
        }
        // (A server that has spoken before it was asked has yet to show that it spoke HTTP.)
        if block.fields.count > 0 && !block.fields.irregular && self.server.started.is_none() {
            self.standing.settle(Standing::Confirmed);
        }
        let expects = block.fields.expects && version == Some(Version::V11);
        block.fields.finish(version);
        if method == Method::Connect && block.fields.announce_body() {
            block.fields.doubt("body_in_connect", "");
        }
        let holds = method == Method::Connect || block.fields.upgrade;
        let body = block.fields.body(Body::Length(0));
        let mut message = self.message(&mut block, first, at);
        message.start = start;
        if !matches!(body, None | Some(Body::Length(0))) {
            self.keep_body(&mut message);
        }
        self.stored += message.head_stored();
        let Some(exchange) = self.pending.back_mut() else {
            return;
        };
        exchange.request = Some(message);
        (exchange.method, exchange.holds, exchange.expects) = (method, holds, expects);
        exchange.note_all(block.fields.anomalies);
        match body {
            Some(Body::Length(0)) => self.request_done(out),
            Some(body) => self.client.state = State::Body(body),
            None => self.stop_client("request_body_end_unknown", "", out),
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
            Fed::Doubtful => {
                self.stop_client("request_body_end_unknown", "", out);
                bytes.len()
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
            self.stored += request.trailers.len();
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
        if exchange.answered() {
            self.emit_front(out);
        } else if self.server.ended {
            fail(exchange, Close::Finished);
            if let Some(exchange) = self.pending.pop_back() {
                self.emit(exchange, out);
            }
        }
    }

    /// The client's stream is not decoded any further, for this reason.
    pub(super) fn stop_client(&mut self, kind: &str, seen: &str, out: Out) {
        self.keep_partial_request();
        if let Some(exchange) = self.pending.back_mut() {
            exchange.note(kind, seen);
            exchange.abandoned = true;
        }
        self.client.stop();
        self.request_over(out);
    }
}
