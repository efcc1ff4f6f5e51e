//! A request and what became of it. What it means as a document is said in `document`.

use super::framing::Message;
use crate::Side;
use crate::fate::{Doubt, Fate};

/// A request and its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Which exchange of its connection this is, from 0.
    pub(super) sequence: u64,
    /// The connection's beginning was not seen.
    pub(super) late: bool,
    /// Who asked.
    pub(super) asker: Side,
    /// Absent where only the response was seen.
    pub(super) request: Option<Box<Message>>,
    pub(super) response: Option<Box<Message>>,
    pub(super) failure: Option<Failure>,
    pub(crate) fate: Fate,
    /// The response may have come unseen.
    pub(super) doubt: Option<Doubt>,
    /// Who answers had announced that it takes no more requests.
    pub(super) read_only: bool,
    pub(super) anomalies: Vec<String>,
    /// What there was on the connection since the exchange before.
    pub(super) events: u64,
    pub(super) text: u64,
}

/// How an exchange was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This side reset the connection.
    Reset(Side),
    /// The connection was closed without a response.
    NoResponse,
    /// Nor was there one in a very long time.
    Timeout,
    /// The connection was closed within the request.
    IncompleteRequest,
    /// The connection was closed within the response.
    IncompleteResponse,
    /// The observer gave up.
    Abandoned,
}

impl Exchange {
    /// Bytes of memory that it takes beside itself.
    pub(super) fn stored(&self) -> usize {
        let kept = |message: &Option<Box<Message>>| {
            message
                .as_ref()
                .map_or(0, |message| size_of::<Message>() + message.body.capacity())
        };
        let anomalies = self.anomalies.iter().map(String::capacity).sum::<usize>();
        let list = self.anomalies.capacity() * size_of::<String>();
        kept(&self.request) + kept(&self.response) + anomalies + list
    }

    /// There is no response, and why; nothing is said against one that may have come unseen.
    pub(super) fn fail(&mut self, how: Failure) {
        let unseen = self.doubt.is_some() && matches!(how, Failure::NoResponse | Failure::Timeout);
        self.failure = (!unseen).then_some(how);
        if let Some(doubt) = self.doubt.filter(|_| how != Failure::Abandoned) {
            self.anomalies.push(doubt.note(self.asker.other(), "response"));
        }
    }

    /// No response will come.
    pub(super) fn is_one_way(&self) -> bool {
        self.request
            .as_ref()
            .is_some_and(|request| !request.header.is_two_way())
    }
}
