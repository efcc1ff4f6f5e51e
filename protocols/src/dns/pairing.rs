//! Finds the query that a response answers.

use super::TIMEOUT;
use super::exchange::{Exchange, Failure, Seen, Transport};
use super::message::{Kind, Message};
use super::past::{Key, Outcome, Past, mark};
use crate::fate::{Doubt, Fate};
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
    /// Memory that these take beside themselves.
    stored: usize,
    past: Past,
    /// Responses since the exchange before that had come already.
    copies: u32,
    /// Bytes of the client were missed or not understood: queries may have been among them.
    queries_missed: Option<Doubt>,
    /// The same of the server and responses, and the number of queries at that time.
    responses_missed: Option<(Doubt, u64)>,
    /// What is to be said of the next message of a side.
    client_note: Option<String>,
    server_note: Option<String>,
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// When its first byte came, and its last.
    pub first: Timestamp,
    pub last: Timestamp,
    pub bytes: &'a [u8],
    /// Bytes that it has, which are more where some were missed.
    pub size: u64,
    /// Its end was missed.
    pub cut: bool,
}

#[derive(Debug)]
struct Pending {
    exchange: Exchange,
    id: u16,
    /// When it was last sent.
    sent: Timestamp,
    /// The query's bytes of its question.
    question: Box<[u8]>,
    /// Memory that it takes beside itself.
    stored: usize,
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
            stored: 0,
            past: Past::default(),
            copies: 0,
            queries_missed: None,
            responses_missed: None,
            client_note: None,
            server_note: None,
        }
    }

    /// Memory that the queries take.
    pub fn held(&self) -> usize {
        self.pending.capacity() * size_of::<Pending>() + self.stored + self.past.held()
    }

    /// Messages of this side may go unseen from now on, and until its next one is found.
    pub fn doubt(&mut self, side: Side, doubt: Doubt) {
        match side {
            Side::Client => self.queries_missed = Some(doubt),
            Side::Server => self.responses_missed = Some((doubt, self.sequence)),
        }
    }

    /// Says this of the next message of this side.
    pub fn note(&mut self, side: Side, text: String) {
        match side {
            Side::Client => self.client_note = Some(text),
            Side::Server => self.server_note = Some(text),
        }
    }

    /// A message that was sent by `side`. What is no message, or not this side's to send, is left out.
    /// True if it is this side's and could be read to its end.
    pub fn message(&mut self, side: Side, piece: Piece<'_>, out: Out<'_>) -> bool {
        let Some(mut message) = Message::read(piece.bytes) else {
            return false;
        };
        let sound = message.malformed.is_none();
        if piece.cut {
            // What is missing of it is not its fault.
            message.malformed = None;
        }
        message.size = piece.size;
        if self.transport == Transport::Tcp {
            message.size += 2; // its length before it
        }
        let (first, last) = (piece.first, piece.last);
        let (kind, seen) = (message.header.kind(), Seen { first, last, message });
        match (side, kind) {
            (Side::Client, Kind::Query) => self.query(seen, piece.cut, out),
            (Side::Server, Kind::Response) => self.response(seen, piece, out),
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

    fn query(&mut self, mut seen: Seen, cut: bool, out: Out<'_>) {
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
        exchange.anomalies.extend(self.client_note.take());
        exchange.note_oddities("query", cut);
        let stored = exchange.stored() + question.len();
        self.stored += stored;
        self.pending.push_back(Pending {
            exchange,
            id,
            sent,
            question,
            stored,
        });
    }

    fn response(&mut self, seen: Seen, piece: Piece<'_>, out: Out<'_>) {
        let (key, mark) = (Key::of(&seen.message), mark(piece.bytes));
        let mut exchange = match self.find(&seen.message) {
            Some((at, by_id)) => {
                let Some(waiting) = self.remove(at) else { return };
                let mut exchange = waiting.exchange;
                if by_id {
                    exchange
                        .anomalies
                        .push("paired_by_id: a question could not be read".into());
                }
                exchange
            }
            // It answers nothing, or something that has come out already.
            None => match self.orphan(key, mark, seen.last) {
                Some(exchange) => exchange,
                None => return,
            },
        };
        exchange.anomalies.extend(self.server_note.take());
        exchange.response = Some(seen);
        exchange.note_oddities("response", piece.cut);
        let asked = exchange.asked();
        let outcome = if asked.is_some_and(super::message::Question::is_transfer) {
            exchange
                .anomalies
                .push("zone_transfer: only its first message is told".into());
            Outcome::Transferred
        } else {
            Outcome::Answered(mark)
        };
        self.past.push(key, outcome);
        out(exchange);
    }

    /// The query that a response answers, and whether only its number says so: a question that can't be read is compared with
    /// none, and then the number must be that of one query alone.
    fn find(&self, response: &Message) -> Option<(usize, bool)> {
        let (id, question) = (response.header.id, &response.raw_question);
        // A server that could not read the question may leave it out (RFC 1035, 4.1.1, format error).
        let answers = |waiting: &Pending| {
            waiting.id == id && (question.is_empty() || waiting.question.eq_ignore_ascii_case(question))
        };
        if let Some(at) = self.pending.iter().position(answers) {
            return Some((at, false));
        }
        let mut alike = self.pending.iter().enumerate().filter(|(_, waiting)| {
            let readable = waiting.exchange.has_question() && response.question.is_some();
            waiting.id == id && !readable
        });
        let (at, _) = alike.next()?;
        alike.next().is_none().then_some((at, true))
    }

    /// An exchange for a response to which no query waits; none for one that was told already.
    fn orphan(&mut self, key: Key, mark: u64, at: Timestamp) -> Option<Exchange> {
        let known = self.past.find(key);
        if matches!(known, Some(Outcome::Transferred)) {
            return None;
        }
        if known == Some(Outcome::Answered(mark)) {
            self.copies = self.copies.saturating_add(1);
            return None;
        }
        let mut exchange = self.exchange(None);
        exchange.again = known.is_some();
        let anomaly = match known {
            Some(Outcome::GivenUp(sent)) => {
                let waited = at.since(sent) / 1_000_000;
                Some(format!(
                    "late_response: {waited} ms after its query, which was given up"
                ))
            }
            Some(_) => Some("second_response: its query had another one before".into()),
            None if self.late => None,
            None => Some("unmatched_response: no query waits for it".into()),
        };
        exchange.anomalies.extend(anomaly);
        if let Some(doubt) = self.queries_missed.filter(|_| known.is_none()) {
            exchange.anomalies.push(doubt.note(Side::Client, "query"));
        }
        Some(exchange)
    }

    fn remove(&mut self, at: usize) -> Option<Pending> {
        let mut waiting = self.pending.remove(at)?;
        self.stored -= waiting.stored;
        let sequence = waiting.exchange.sequence;
        let doubt = self.responses_missed.filter(|(_, before)| sequence < *before);
        waiting.exchange.doubt = doubt.map(|(doubt, _)| doubt);
        Some(waiting)
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
            } else if let Some(waiting) = self.remove(at) {
                let first = waiting.exchange.query.as_ref().map(|query| query.first);
                let key = Key::new(waiting.id, &waiting.question);
                self.past
                    .push(key, Outcome::GivenUp(first.unwrap_or(waiting.sent)));
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
        while let Some(waiting) = self.remove(0) {
            fail(waiting.exchange, failure, at, out);
        }
    }

    fn give_up_the_oldest(&mut self, at: Timestamp, out: Out<'_>) {
        if let Some(mut waiting) = self.remove(0) {
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
            copies: std::mem::take(&mut self.copies),
            failure: None,
            again: false,
            doubt: None,
            fate: Fate::Open,
            anomalies: Vec::new(),
            alone: None,
        }
    }
}

fn fail(mut exchange: Exchange, failure: Failure, at: Timestamp, out: Out<'_>) {
    exchange.fail(failure);
    exchange.fate = Fate::Ended(at);
    out(exchange);
}
