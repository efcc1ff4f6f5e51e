//! One connection: two streams, and the exchanges that are under way between them.

use super::body::Body;
use super::collector::{Block, Collector};
use super::exchange::{Exchange, Message};
use super::head::Lines;
use super::search::{Behind, Bodiless, Search};
use crate::detect::{Dissector, Probe, Standing, Verdict};
use crate::fate::Fate;
use crate::http::{Kept, TOGETHER};
use crate::{Close, Exchange as Any, Limits, Side, Undecoded};
use std::{borrow::Cow, collections::VecDeque, sync::Arc};
use weir_records::{Octets, Timestamp};

/// What takes exchanges.
pub(super) type Out<'a> = &'a mut dyn FnMut(Any);

/// Longest start line that is waited for where the stream has to be found again.
const SEARCH_LINE: usize = 8 << 10;

/// The decoder of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub limits: Arc<Limits>,
    pub late: bool,
    pub client: Stream,
    pub server: Stream,
    /// Requests without a complete response, in order; the last one may still be arriving.
    pub pending: VecDeque<Box<Exchange>>,
    /// A response that answers no request, while it arrives.
    pub orphan: Option<Box<Exchange>>,
    /// Bytes of heads kept in `pending`.
    pub stored: usize,
    /// Bytes of bodies kept in `pending` and `orphan`.
    pub kept: usize,
    pub sequence: u64,
    /// The time of what is looked at now.
    pub now: Timestamp,
    /// Bytes were missed, so the next exchange is marked.
    pub gap: bool,
    /// Bytes of the client were passed over before its next request: so many.
    pub passed: Option<u64>,
    /// The same of the server, before its next response.
    pub passed_server: Option<(u64, Option<Behind>)>,
    /// The last response had no body for this reason.
    pub bodiless: Option<Bodiless>,
    /// Bytes of the server were looked through in vain since the last request began.
    pub searched: bool,
    /// A response has ended since a request was found.
    pub answered_since: bool,
    /// What a response answers is not certain, until the next request after everything was quiet.
    pub uncertain: bool,
    /// Requests that have come out before their answers, because too many waited: whether each was a HEAD.
    pub aside: VecDeque<bool>,
    /// Requests may have been missed: what a response answers is not certain.
    pub missed: bool,
    /// A request whose every line is a field is certain, and so is a response: what else begins with a request line may
    /// be something else.
    pub standing: Standing,
    /// It is within so many tunnels.
    pub depth: u8,
    /// Nothing more can come out.
    pub opaque: bool,
    /// What decodes the connection since it went on in another protocol.
    pub successor: Option<Box<dyn Dissector>>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Stream {
    pub state: State,
    pub head: Collector,
    /// When the first byte of the head that is being collected came.
    pub started: Option<Timestamp>,
    pub ended: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// Between messages, or in a head.
    Head,
    Body(Body),
    /// After a CONNECT or an upgrade request: what these bytes are depends on the answer.
    Held(Probe),
    /// Somewhere behind bytes that were missed: looks for a start line at the beginning of a segment.
    Lost(Probe),
    /// Somewhere behind a message whose end is in doubt: looks for a head wherever it may be.
    Search(Box<Search>),
    /// This side has ended.
    Ended,
}

/// The decoder for a connection.
pub(super) fn open(limits: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    Box::new(Connection::new(limits, late))
}

impl Stream {
    fn new(late: bool) -> Self {
        let state = if late {
            State::Lost(Probe::default())
        } else {
            State::Head
        };
        Self {
            state,
            head: Collector::default(),
            started: None,
            ended: false,
        }
    }

    pub fn lose(&mut self) {
        *self = Self {
            ended: self.ended,
            ..Self::new(true)
        };
    }

    pub fn stop(&mut self) {
        *self = Self {
            state: State::Ended,
            ended: self.ended,
            ..Self::new(false)
        };
    }

    /// The next head is looked for.
    pub fn search(&mut self, search: Search) {
        *self = Self {
            state: State::Search(Box::new(search)),
            ended: self.ended,
            ..Self::new(false)
        };
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn held(&self) -> usize {
        let state = match &self.state {
            State::Held(probe) | State::Lost(probe) => probe.held(),
            State::Search(search) => search.held(),
            State::Head | State::Body(_) | State::Ended => 0,
        };
        state + self.head.held()
    }
}

impl Connection {
    pub fn new(limits: &Arc<Limits>, late: bool) -> Self {
        Self {
            limits: Arc::clone(limits),
            late,
            client: Stream::new(late),
            server: Stream::new(late),
            pending: VecDeque::new(),
            orphan: None,
            stored: 0,
            kept: 0,
            sequence: 0,
            now: Timestamp::default(),
            gap: false,
            passed: None,
            passed_server: None,
            bodiless: None,
            searched: false,
            answered_since: false,
            uncertain: false,
            aside: VecDeque::new(),
            missed: late,
            standing: Standing::Guess,
            depth: 0,
            opaque: false,
            successor: None,
        }
    }

    pub fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    pub fn feed(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], out: Out) {
        while !bytes.is_empty() && !self.opaque {
            if let Some(successor) = &mut self.successor {
                return successor.data(side, at, bytes, out);
            }
            let used = match side {
                Side::Client => self.client_data(at, bytes, out),
                Side::Server => self.server_data(at, bytes, out),
            };
            bytes = &bytes[used..];
        }
    }

    /// Looks for the beginning of a message in a stream that was lost; true once the stream is to be decoded.
    fn find(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: Out) -> bool {
        let State::Lost(probe) = &mut self.stream(side).state else {
            return true;
        };
        let check: &dyn Fn(&[u8]) -> Verdict = match side {
            Side::Client => &super::start::midway_request_verdict,
            Side::Server => &super::start::response_verdict,
        };
        let kept = !probe.part.is_empty();
        let mut verdict = probe.push(at, bytes, SEARCH_LINE, check);
        if verdict == Verdict::No && kept {
            verdict = probe.push(at, bytes, SEARCH_LINE, check);
        }
        if verdict != Verdict::Yes {
            return false;
        }
        let Probe { part, at } = std::mem::take(probe);
        self.stream(side).state = State::Head;
        self.feed(side, at, &part, out);
        true
    }

    /// A new exchange, with its place in the order.
    pub fn exchange(&mut self, first: Timestamp) -> Box<Exchange> {
        let mut exchange = Box::new(Exchange {
            sequence: self.sequence,
            first,
            late: self.late,
            ..Exchange::default()
        });
        self.sequence += 1;
        if std::mem::take(&mut self.gap) {
            exchange.note("gap", "bytes before this were missed");
        }
        exchange
    }

    /// A message out of its head; leaves out fields past the limit.
    pub fn message(&self, block: &mut Block, first: Timestamp, last: Timestamp) -> Message {
        let mut raw = std::mem::take(&mut block.raw);
        let max = self.limits.max_headers;
        if block.fields.count > max as u64 {
            block
                .fields
                .note("too_many_headers", &block.fields.count.to_string());
            let starts_field = |line: &[u8]| !matches!(line.first(), None | Some(b' ' | b'\t'));
            let mut lines = Lines(&raw);
            lines.next();
            let mut seen = 0;
            let mut rest = lines.0.len();
            while let Some(line) = lines.next() {
                seen += usize::from(starts_field(line.bytes));
                if seen > max {
                    break;
                }
                rest = lines.0.len();
            }
            raw.truncate(raw.len() - rest);
            raw.shrink_to_fit();
        }
        let mut message = Message::new(raw, block.size, block.fields.count, first, last);
        message.spans = std::mem::take(&mut block.fields.spans);
        message.spans.truncate(max);
        message
    }

    /// The message has a body, which is about to come.
    pub fn keep_body(&self, message: &mut Message) {
        message.kept = Kept::wanted(&self.limits.bodies, || {
            let is_type = |field: &super::Field<'_>| field.name.eq_ignore_ascii_case(b"content-type");
            // (One that is folded counts as none.)
            match message.fields().into_iter().find(is_type)?.value {
                Octets::Text(value) => Some(value.as_bytes()),
                Octets::Bytes(Cow::Borrowed(value)) => Some(value),
                Octets::Bytes(Cow::Owned(_)) => None,
            }
        });
    }

    /// Bytes of bodies that may yet be kept.
    pub fn room(&self) -> usize {
        let max = self.limits.bodies.max();
        TOGETHER.saturating_mul(max).saturating_sub(self.kept)
    }

    /// The oldest exchange comes out.
    pub fn emit_front(&mut self, out: Out) {
        if let Some(exchange) = self.pending.pop_front() {
            self.emit(exchange, out);
        }
    }

    pub fn emit(&mut self, mut exchange: Box<Exchange>, out: Out) {
        let ended = matches!(exchange.fate, Fate::Ended(_));
        if exchange.failure.is_some() && !exchange.answered() && !ended {
            exchange.fate = Fate::Ended(self.now);
        }
        self.stored = self.stored.saturating_sub(exchange.stored());
        self.kept = self.kept.saturating_sub(exchange.kept());
        out(Any::Http1(exchange));
    }

    /// The connection goes on in something else; what is under way comes out as it is.
    pub fn step_aside(&mut self, kind: &str, out: Out) {
        self.opaque = true;
        self.keep_partial_request(false);
        self.keep_partial_response(false);
        let waiting = std::mem::take(&mut self.pending);
        for mut exchange in waiting.into_iter().chain(self.orphan.take()) {
            exchange.note(kind, "");
            self.emit(exchange, out);
        }
    }
}

impl Dissector for Connection {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: Out) {
        if let Some(successor) = &mut self.successor {
            return successor.data(side, at, bytes, out);
        }
        self.now = at;
        if side == Side::Server {
            self.check_doubtful_body(bytes, out);
        }
        if self.find(side, at, bytes, out) {
            self.feed(side, at, bytes, out);
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: Out) {
        if let Some(successor) = &mut self.successor {
            return successor.gap(side, at, missed, out);
        }
        self.now = at;
        self.miss(side, at, missed, out);
    }

    fn end(&mut self, side: Side, at: Timestamp, out: Out) {
        if let Some(successor) = &mut self.successor {
            return successor.end(side, at, out);
        }
        self.now = at;
        match side {
            Side::Client => self.client_end(out),
            Side::Server => self.server_end(out),
        }
    }

    fn close(&mut self, at: Timestamp, how: Close, out: Out) {
        if let Some(successor) = &mut self.successor {
            return successor.close(at, how, out);
        }
        self.now = at;
        self.finish(how, out);
    }

    fn tick(&mut self, at: Timestamp, out: Out) {
        match &mut self.successor {
            Some(successor) => successor.tick(at, out),
            None => self.tell_waiting(at, out),
        }
    }

    fn waits(&self) -> bool {
        match &self.successor {
            Some(successor) => successor.waits(),
            None => self.may_tell_waiting(),
        }
    }

    fn take_events(&mut self) -> u64 {
        match &mut self.successor {
            Some(successor) => successor.take_events(),
            None => 0,
        }
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn held(&self) -> usize {
        let waiting = self.pending.len() + usize::from(self.orphan.is_some());
        let kept = self.stored + self.kept + waiting * size_of::<Exchange>();
        let successor = self.successor.as_ref().map_or(0, |successor| successor.held());
        size_of::<Self>() + kept + self.aside.capacity() + self.client.held() + self.server.held() + successor
    }

    fn set_depth(&mut self, tunnels: u8) {
        self.depth = tunnels;
    }

    fn set_begun(&mut self) {
        self.late = false;
        self.gap = true;
    }

    fn gave_up(&self) -> Undecoded {
        match &self.successor {
            Some(successor) => successor.gave_up(),
            None => Undecoded::Upgraded,
        }
    }

    fn is_opaque(&self) -> bool {
        match &self.successor {
            Some(successor) => successor.is_opaque(),
            None => self.opaque,
        }
    }
}
