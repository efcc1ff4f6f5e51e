//! A query and what became of it. What it means as a document is said in `document`.

use super::message::Message;
use super::multicast::Alone;
use crate::fate::Fate;
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
    pub(super) failure: Option<Failure>,
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

    /// Either message, the response first: what it says holds for both.
    pub(super) fn either(&self) -> Option<&Message> {
        let seen = self.response.as_ref().or(self.query.as_ref());
        seen.map(|seen| &seen.message)
    }
}
