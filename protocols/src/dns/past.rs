//! What became of the last queries of a flow, so that what answers them again, or too late, is known for that.

use super::message::Message;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use weir_records::Timestamp;

/// Queries that are remembered.
const MAX_PAST: usize = 32;

/// The last queries, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<(Key, Outcome)>);

/// A query, as its response names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    id: u16,
    /// Of the bytes of its question, in lower case; none where there is no question.
    question: Option<u64>,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It had a response with this mark.
    Answered(u64),
    /// It was the first of a zone's messages, which come one behind the other.
    Transferred,
    /// It was sent at this time, and given up.
    GivenUp(Timestamp),
}

impl Key {
    pub fn new(id: u16, question: &[u8]) -> Self {
        let lower = || question.to_ascii_lowercase();
        Self {
            id,
            question: (!question.is_empty()).then(|| mark(&lower())),
        }
    }

    pub fn of(message: &Message) -> Self {
        Self::new(message.header.id, &message.raw_question)
    }

    /// A message without a question is any with its number.
    fn is_like(&self, other: &Self) -> bool {
        let same = self.question.is_none() || other.question.is_none() || self.question == other.question;
        self.id == other.id && same
    }
}

/// A number by which bytes are known again.
pub(super) fn mark(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Past {
    /// Memory that they take.
    pub fn held(&self) -> usize {
        self.0.capacity() * size_of::<(Key, Outcome)>()
    }

    pub fn push(&mut self, key: Key, outcome: Outcome) {
        if self.0.len() >= MAX_PAST {
            self.0.pop_front();
        }
        self.0.push_back((key, outcome));
    }

    /// What became of the query that a response with this key answers.
    pub fn find(&self, key: Key) -> Option<Outcome> {
        let mut latest = self.0.iter().rev();
        latest
            .find(|(known, _)| known.is_like(&key))
            .map(|(_, outcome)| *outcome)
    }
}
