//! Finds the query that a response answers.

use super::TIMEOUT;
use super::exchange::{Exchange, Failure, Seen, Transport};
use super::message::{Kind, Message};
use crate::fate::Fate;
use crate::{Close, Side};
use std::collections::VecDeque;
use weir_records::Timestamp;

/// The queries of one flow that wait for their responses.
#[derive(Debug)]
pub(super) struct Pairing {
    transport: Transport,
    max_pending: usize,
    late: bool,
    sequence: u64,
    pending: VecDeque<Pending>,
}

/// What a query that waits has beside its own fields, about.
const QUERY: usize = 256;

#[derive(Debug)]
struct Pending {
    exchange: Exchange,
    id: u16,
    /// When it was last sent.
    sent: Timestamp,
    /// The query's bytes of its question.
    question: Box<[u8]>,
}

type Out<'a> = &'a mut dyn FnMut(Exchange);

impl Pairing {
    pub fn new(transport: Transport, max_pending: usize, late: bool) -> Self {
        Self {
            transport,
            max_pending,
            late,
            sequence: 0,
            pending: VecDeque::new(),
        }
    }

    /// Memory that the queries take which wait, about: names are short.
    pub fn held(&self) -> usize {
        self.pending.len() * (size_of::<Pending>() + QUERY)
    }

    /// A whole message, sent by `side` between these two times. What is no message, or not this side's to send, is left out.
    /// True if it is this side's and could be read to its end.
    pub fn message(
        &mut self,
        side: Side,
        (first, last): (Timestamp, Timestamp),
        bytes: &[u8],
        out: Out<'_>,
    ) -> bool {
        let Some(mut message) = Message::read(bytes) else {
            return false;
        };
        let sound = message.malformed.is_none();
        if self.transport == Transport::Tcp {
            message.size += 2; // its length before it
        }
        let seen = Seen { first, last, message };
        match (side, seen.message.header.kind()) {
            (Side::Client, Kind::Query) => self.query(seen, out),
            (Side::Server, Kind::Response) => self.response(seen, out),
            _ => return false,
        }
        sound
    }

    /// Queries may have been missed.
    pub fn late(&self) -> bool {
        self.late
    }

    /// A query with this number waits for its response.
    pub fn waits_for(&self, id: u16) -> bool {
        self.pending.iter().any(|waiting| waiting.id == id)
    }

    fn query(&mut self, mut seen: Seen, out: Out<'_>) {
        self.tick(seen.first, out);
        let question = std::mem::take(&mut seen.message.raw_question);
        let id = seen.message.header.id;
        let same = |waiting: &&mut Pending| waiting.id == id && waiting.question == question;
        if self.transport == Transport::Udp
            && let Some(waiting) = self.pending.iter_mut().find(same)
        {
            waiting.exchange.repeats = waiting.exchange.repeats.saturating_add(1);
            waiting.sent = seen.last;
            return;
        }
        if self.pending.len() >= self.max_pending {
            self.give_up_the_oldest(seen.first, out);
        }
        seen.message.answers = Vec::new();
        let sent = seen.last;
        let mut exchange = self.exchange(Some(seen));
        note_malformed(&mut exchange, "query");
        self.pending.push_back(Pending {
            exchange,
            id,
            sent,
            question,
        });
    }

    fn response(&mut self, seen: Seen, out: Out<'_>) {
        let (id, question) = (seen.message.header.id, &seen.message.raw_question);
        // A server that could not read the question may leave it out (RFC 1035, 4.1.1, format error).
        let answers = |waiting: &Pending| {
            waiting.id == id && (question.is_empty() || waiting.question.eq_ignore_ascii_case(question))
        };
        let found = self.pending.iter().position(answers);
        let mut exchange = match found.and_then(|at| self.pending.remove(at)) {
            Some(waiting) => waiting.exchange,
            // Of a flow that was seen from its beginning it answers nothing, or something that has come out already.
            None if !self.late => return,
            None => self.exchange(None),
        };
        exchange.response = Some(seen);
        note_malformed(&mut exchange, "response");
        let asked = exchange
            .response
            .as_ref()
            .and_then(|response| response.message.question.as_ref());
        if asked.is_some_and(super::message::Question::is_transfer) {
            exchange
                .anomalies
                .push("zone_transfer: only its first message is told".into());
        }
        out(exchange);
    }

    /// It is now this late: queries that have waited too long come out. Over TCP the connection's end tells.
    pub fn tick(&mut self, now: Timestamp, out: Out<'_>) {
        if self.transport == Transport::Tcp {
            return;
        }
        let patience = u64::try_from(TIMEOUT.as_nanos()).unwrap_or(u64::MAX);
        // Not in order: one that was sent again waits longer than those behind it.
        let mut at = 0;
        while let Some(waiting) = self.pending.get(at) {
            if now.since(waiting.sent) < patience {
                at += 1;
            } else if let Some(waiting) = self.pending.remove(at) {
                let until = Timestamp(waiting.sent.0.saturating_add(patience));
                fail(waiting.exchange, Failure::Timeout, until, out);
            }
        }
    }

    /// A query is given up some time.
    pub fn waits(&self) -> bool {
        self.transport == Transport::Udp && !self.pending.is_empty()
    }

    /// No more responses can come.
    pub fn close(&mut self, at: Timestamp, how: Close, out: Out<'_>) {
        let failure = match (how, self.transport) {
            (Close::Reset(Side::Server), _) => Failure::ResetByServer,
            (Close::Reset(Side::Client), _) => Failure::ResetByClient,
            (Close::Finished, Transport::Tcp) => Failure::NoResponse,
            (Close::Finished, Transport::Udp) | (Close::Abandoned, _) => Failure::Abandoned,
        };
        for waiting in self.pending.drain(..) {
            fail(waiting.exchange, failure, at, out);
        }
    }

    fn give_up_the_oldest(&mut self, at: Timestamp, out: Out<'_>) {
        if let Some(mut waiting) = self.pending.pop_front() {
            waiting.exchange.anomalies.push("too_many_pending".into());
            fail(waiting.exchange, Failure::Abandoned, at, out);
        }
    }

    fn exchange(&mut self, query: Option<Seen>) -> Exchange {
        let sequence = self.sequence;
        self.sequence += 1;
        Exchange {
            transport: self.transport,
            sequence,
            late: self.late,
            query,
            response: None,
            repeats: 0,
            failure: None,
            fate: Fate::Open,
            anomalies: Vec::new(),
            alone: None,
        }
    }
}

fn fail(mut exchange: Exchange, failure: Failure, at: Timestamp, out: Out<'_>) {
    exchange.failure = Some(failure);
    exchange.fate = Fate::Ended(at);
    out(exchange);
}

fn note_malformed(exchange: &mut Exchange, what: &str) {
    let seen = exchange.response.as_ref().or(exchange.query.as_ref());
    if let Some(section) = seen.and_then(|seen| seen.message.malformed) {
        exchange.anomalies.push(format!("malformed_{what}: {section}"));
    }
}
