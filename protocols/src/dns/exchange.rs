//! A query and what became of it. What it means as a document is said in `document`.

use super::message::{Message, Question};
use super::multicast::Alone;
use crate::Side;
use crate::fate::{Doubt, Fate};
use weir_records::Timestamp;

/// A query and its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub(super) transport: Transport,
    /// Which query of its flow this is, from 0.
    pub(super) sequence: u64,
    /// The flow's beginning was not seen.
    pub(super) late: bool,
    /// Absent where only the response was seen.
    pub(super) query: Option<Seen>,
    pub(super) response: Option<Seen>,
    /// How often the query was sent again before it was answered.
    pub(super) repeats: u32,
    /// Responses that had come already, since the exchange before.
    pub(super) copies: u32,
    pub(super) failure: Option<Failure>,
    /// The response is a further one to a query that has come out.
    pub(super) again: bool,
    /// The response may have come unseen.
    pub(super) doubt: Option<Doubt>,
    pub(super) fate: Fate,
    pub(super) anomalies: Vec<String>,
    /// Of a message that is told without the one that it may belong to.
    pub(super) alone: Option<Alone>,
}

/// A message, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Its first byte.
    pub first: Timestamp,
    /// Its last.
    pub last: Timestamp,
    pub message: Message,
}

/// What carried the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// None came in time.
    Timeout,
    /// UDP: nobody listens there (ICMP). TCP: the server reset the connection.
    ResetByServer,
    /// The client reset the connection.
    ResetByClient,
    /// The server closed the connection without one.
    NoResponse,
    /// The observer gave up.
    Abandoned,
}

impl Exchange {
    /// The response's code, EDNS's part included; -1 if there is no response.
    pub fn rcode(&self) -> i32 {
        self.response
            .as_ref()
            .map_or(-1, |response| response.message.code.into())
    }

    /// The protocol's name.
    pub fn protocol(&self) -> &'static str {
        self.alone.map_or("dns", |alone| alone.naming.name())
    }

    /// No response came in time.
    pub fn is_timeout(&self) -> bool {
        self.failure == Some(Failure::Timeout)
    }

    /// There is no response, and why; nothing is said against one that may have come unseen.
    pub(super) fn fail(&mut self, failure: Failure) {
        let unseen = self.doubt.is_some() && failure == Failure::NoResponse;
        self.failure = (!unseen).then_some(failure);
        if let Some(doubt) = self.doubt.filter(|_| failure != Failure::Abandoned) {
            self.anomalies.push(doubt.note(Side::Server, "response"));
        }
    }

    /// Says what is odd about the message that came last, the query or the response.
    pub(super) fn note_oddities(&mut self, what: &str, cut: bool) {
        let Some(seen) = self.response.as_ref().or(self.query.as_ref()) else {
            return;
        };
        let (malformed, questions) = (seen.message.malformed, seen.message.header.counts[0]);
        if let Some(section) = malformed {
            self.anomalies.push(format!("malformed_{what}: {section}"));
        }
        if cut {
            self.anomalies
                .push(format!("gap: bytes of the {what} were missed"));
        }
        let asked = self.query.as_ref().filter(|_| self.response.is_some());
        let told = asked.is_some_and(|query| query.message.header.counts[0] == questions);
        if questions > 1 && !told {
            self.anomalies.push(format!(
                "several_questions: {questions}, of which one at most is told"
            ));
        }
    }

    /// What was asked, as the response repeats it.
    pub(super) fn asked(&self) -> Option<&Question> {
        self.response.as_ref()?.message.question.as_ref()
    }

    /// The query's question could be read.
    pub(super) fn has_question(&self) -> bool {
        let query = self.query.as_ref();
        query.is_some_and(|query| query.message.question.is_some())
    }

    /// Memory that a query takes beside itself.
    pub(super) fn stored(&self) -> usize {
        let message = self.query.as_ref().map(|query| &query.message);
        let question = message.and_then(|message| message.question.as_ref());
        let subnet = message.and_then(|message| message.client_subnet.as_ref());
        let texts = self.anomalies.iter().chain(subnet);
        let errors = message.iter().flat_map(|message| &message.extended_errors);
        question.map_or(0, |question| question.name.capacity())
            + texts.chain(errors).map(String::capacity).sum::<usize>()
            + self.anomalies.capacity() * size_of::<String>()
    }

    /// Either message, the response first: what it says holds for both.
    pub(super) fn either(&self) -> Option<&Message> {
        let seen = self.response.as_ref().or(self.query.as_ref());
        seen.map(|seen| &seen.message)
    }
}
