//! A request and its response on one stream. What they mean as a document is said in `document`.

use super::faults::Fault;
use super::hpack::Fields;
use crate::Side;
use crate::fate::Fate;
use crate::http::{Kept, Messages, Style};
use crate::http1::note;
use weir_records::Timestamp;

/// A request and its response.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Which exchange of its connection this is, from 0.
    pub(super) sequence: u64,
    pub(super) stream: u32,
    /// The connection's beginning was not seen.
    pub(super) late: bool,
    /// The server sent the request as well (PUSH_PROMISE).
    pub(super) pushed: bool,
    /// Bytes of this exchange were missed: how it ended may be unknown for that reason.
    pub(super) gap: bool,
    /// A remote call, and how its messages stand in the bodies.
    pub(super) call: Option<Style>,
    /// A call of Triple: its first messages are kept.
    pub(super) triple: bool,
    /// Absent where only the response was seen.
    pub(super) request: Option<Message>,
    pub(super) response: Option<Message>,
    /// Bytes of 1xx responses before the response.
    pub(super) informational: u64,
    pub(super) failure: Option<Failure>,
    pub(crate) fate: Fate,
    pub(super) anomalies: Vec<String>,
    /// What its connection reckons that it stores.
    pub(super) reckoned: usize,
}

/// One message.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// Absent where it was missed.
    pub head: Option<Fields>,
    pub trailers: Option<Fields>,
    /// Bytes of its frames.
    pub wire: u64,
    /// Bytes of its content.
    pub body: u64,
    /// Bytes that its content has by its head.
    pub length: Option<u64>,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Its end was seen.
    pub whole: bool,
    /// Of gRPC.
    pub messages: Option<Box<Messages>>,
    /// What is kept of the body, where that is wanted.
    pub kept: Option<Box<Kept>>,
}

/// How an exchange was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This side reset the stream, with this code.
    Stream(Side, u32),
    /// The server went away before it looked at the request, with this code.
    GoAway(u32),
    /// This side reset the connection.
    Connection(Side),
    /// The connection was closed without a response.
    NoResponse,
    /// It was closed within the request.
    IncompleteRequest,
    /// It was closed within the response.
    IncompleteResponse,
    /// The observer gave up.
    Abandoned,
}

impl From<Exchange> for crate::Exchange {
    fn from(exchange: Exchange) -> Self {
        Self::Http2(Box::new(exchange))
    }
}

impl Exchange {
    pub(super) fn note(&mut self, kind: &str, seen: &str) {
        note(&mut self.anomalies, kind, seen);
    }

    /// Notes what is wrong with a message of this side.
    pub(super) fn note_faults(&mut self, faults: Vec<(Fault, String)>, side: Side) {
        for (fault, seen) in faults {
            match side {
                Side::Client => self.note(fault.name(), &seen),
                Side::Server if seen.is_empty() => self.note(fault.name(), "response"),
                Side::Server => self.note(fault.name(), &format!("{seen} (response)")),
            }
        }
    }

    /// How messages stand in a body behind these fields, of which `call` was said. Of an answer without streams only that of
    /// an error is looked into.
    pub(super) fn messages_of(&self, said: Option<Option<Style>>, fields: &Fields) -> Option<Style> {
        if self.call == Some(Style::Unary) {
            let status = fields.get(b":status")?;
            return (status != b"200").then_some(Style::Unary);
        }
        said.unwrap_or(self.call)
    }

    /// Notes trailers that come again, or that don't end their message.
    pub(super) fn note_trailers(&mut self, side: Side, again: bool, open: bool) {
        let whose = format!("of the {}", side.name());
        if again {
            self.note("trailers_repeated", &whose);
        } else if open {
            self.note("trailers_without_end", &whose);
        }
    }

    /// A response with a status follows one whose status is unknown: that was an interim one.
    pub(super) fn pass_interim(&mut self, side: Side, fields: &Fields) {
        let interim = |message: &Message| {
            let head = message.head.as_ref();
            let unknown = head.is_some_and(|head| head.is_partial() && !head.has(b":status"));
            unknown && message.body == 0 && !message.whole && message.trailers.is_none()
        };
        if side == Side::Server
            && fields.has(b":status")
            && let Some(message) = self.response.take_if(|message| interim(message))
        {
            self.informational += message.wire;
        }
    }

    pub(super) fn message(&self, side: Side) -> Option<&Message> {
        match side {
            Side::Client => self.request.as_ref(),
            Side::Server => self.response.as_ref(),
        }
    }

    /// The message that `side` sends, from now on at the latest.
    pub(super) fn begin(&mut self, side: Side, first: Timestamp) -> &mut Message {
        let message = match side {
            Side::Client => &mut self.request,
            Side::Server => &mut self.response,
        };
        message.get_or_insert_with(|| Message {
            first,
            last: first,
            ..Message::default()
        })
    }

    /// Both messages have been seen to their ends, or as much as will be.
    pub(super) fn is_done(&self) -> bool {
        let asked = self.request.as_ref().is_none_or(|request| request.whole);
        asked && self.is_answered()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.whole)
    }

    /// That no whole response was seen says nothing: bytes were missed, or what came before the first thing that was seen.
    pub(super) fn may_be_answered(&self) -> bool {
        let begun = |message: &Message| message.head.is_some();
        let opened = self.request.as_ref().is_some_and(begun);
        self.gap || !opened && self.response.is_none()
    }

    /// Bytes of memory that its headers, messages and anomalies take.
    pub(super) fn stored(&self) -> usize {
        let stored = |message: &Message| {
            let fields = message.head.iter().chain(&message.trailers);
            let messages = message.messages.as_ref();
            let kept = messages.map_or(0, |messages| size_of::<Messages>() + messages.stored());
            fields.map(Fields::stored).sum::<usize>() + kept
        };
        let messages: usize = self.request.iter().chain(&self.response).map(stored).sum();
        let anomalies = self.anomalies.capacity() * size_of::<String>();
        messages + anomalies + self.anomalies.iter().map(String::capacity).sum::<usize>()
    }

    /// Bytes of bodies that are kept.
    pub(super) fn kept(&self) -> usize {
        let kept = |message: &Message| message.kept.as_ref().map_or(0, |kept| kept.bytes().len());
        self.request.iter().chain(&self.response).map(kept).sum()
    }

    /// What it means that the connection was closed now.
    pub(super) fn cut_short(&self) -> Option<Failure> {
        match (&self.request, &self.response) {
            _ if self.may_be_answered() => None,
            (_, Some(response)) if response.whole => None,
            (_, Some(_)) => Some(Failure::IncompleteResponse),
            (Some(request), None) if !request.whole => Some(Failure::IncompleteRequest),
            _ => Some(Failure::NoResponse),
        }
    }
}
