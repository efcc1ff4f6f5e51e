//! A request and its response as they were seen: raw heads, counts, times. What it means is said in `document`.

use super::collector::Block;
use super::fields::{Field, Spans, fields};
use super::framing::note;
use super::head::{Lines, Version};
use super::odd::spaced_status_line;
use super::start::{RequestLine, request_line, response_verdict, status_line};
use crate::detect::Verdict;
use crate::fate::Fate;
use crate::http::{Kept, Messages, Style};
use std::ops::Range;
use weir_records::{Octets, Timestamp};

/// A request and its response.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Which exchange of its connection this is, from 0.
    pub(super) sequence: u64,
    /// When its first byte was seen.
    pub(super) first: Timestamp,
    /// The connection's beginning was not seen.
    pub(super) late: bool,
    /// Absent where only a response was seen.
    pub(super) request: Option<Message>,
    pub(super) method: Method,
    /// How a call stands in the messages, if they hold one.
    pub(super) call: Option<Style>,
    /// What comes after the request depends on the answer: CONNECT, Upgrade.
    pub(super) holds: bool,
    /// The request's body waits for a `100 Continue`.
    pub(super) expects: bool,
    /// No more of the request will be seen, though it is not whole.
    pub(super) abandoned: bool,
    pub(super) response: Option<Message>,
    /// The request was found where framing was lost: it may be something else.
    pub(super) found: bool,
    /// No more of the response will be seen, though it is not whole.
    pub(super) answer_over: bool,
    /// Bytes of the server were missed where the response may have been.
    pub(super) answer_missed: bool,
    /// Bytes of 1xx responses before the response.
    pub(super) informational: u64,
    pub(super) failure: Option<Failure>,
    pub(crate) fate: Fate,
    pub(super) anomalies: Vec<String>,
}

/// The methods that change how messages are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Method {
    Connect,
    Head,
    #[default]
    Other,
}

/// How an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The client reset the connection.
    ResetByClient,
    /// The server reset it.
    ResetByServer,
    /// The server closed without an answer.
    NoResponse,
    /// It closed within its answer.
    IncompleteResponse,
    /// It answered with something that is not HTTP.
    InvalidResponse,
    /// The client closed within its request.
    IncompleteRequest,
    /// The observer gave the connection up.
    Abandoned,
}

/// One message: its head, and its body's size.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// The head as it came, up to the limit.
    pub raw: Vec<u8>,
    /// Where its fields stand.
    pub spans: Spans,
    /// Trailers as they came, up to the limit.
    pub trailers: Vec<u8>,
    /// Bytes that the whole head had.
    pub head_size: u64,
    /// Bytes that the whole trailer section had.
    pub trailer_size: u64,
    /// Fields that the whole head had.
    pub count: u64,
    /// Bytes on the wire: head, body, framing.
    pub wire: u64,
    /// Bytes of the body without framing.
    pub body: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Its end was seen.
    pub whole: bool,
    /// Its head was seen in part, and nobody knows how long it was.
    pub torn: bool,
    pub start: Option<Start>,
    /// What is kept of the body, where that is wanted.
    pub kept: Option<Box<Kept>>,
    /// Messages of a call in the body.
    pub messages: Option<Box<Messages>>,
}

/// What the start line said; ranges are of `raw`.
#[derive(Clone, Debug)]
pub(super) enum Start {
    Request {
        method: Range<u32>,
        target: Range<u32>,
        version: Option<Version>,
        /// More of the target may have been there.
        cut: bool,
    },
    Response {
        version: Version,
        status: u16,
    },
}

impl Method {
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"CONNECT" => Self::Connect,
            b"HEAD" => Self::Head,
            _ => Self::Other,
        }
    }
}

impl Exchange {
    /// The request is complete, or nothing more of it will be seen.
    pub(super) fn asked(&self) -> bool {
        self.abandoned || self.request.as_ref().is_some_and(|request| request.whole)
    }

    /// The response is complete.
    pub(super) fn answered(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.whole)
    }

    /// The response is complete, or nothing more of it will be seen.
    pub(super) fn settled(&self) -> bool {
        self.answer_over || self.answered()
    }

    /// Bytes of its request that are kept while it waits. (A response is kept only while its exchange is the oldest.)
    pub(super) fn stored(&self) -> usize {
        self.request
            .as_ref()
            .map_or(0, |request| request.head_stored() + request.tail_stored())
    }

    /// Bytes of bodies that are kept.
    pub(super) fn kept(&self) -> usize {
        let messages = self.request.iter().chain(&self.response);
        messages.map(Message::kept).sum()
    }

    pub(super) fn note(&mut self, kind: &str, seen: &str) {
        note(&mut self.anomalies, kind, seen);
    }

    pub(super) fn note_all(&mut self, anomalies: Vec<String>) {
        if self.anomalies.is_empty() {
            self.anomalies = anomalies;
            return;
        }
        for anomaly in anomalies {
            let (kind, seen) = anomaly.split_once(": ").unwrap_or((&anomaly, ""));
            self.note(kind, seen);
        }
    }
}

impl Message {
    /// A message whose head is complete.
    pub fn new(raw: Vec<u8>, head_size: u64, count: u64, first: Timestamp, last: Timestamp) -> Self {
        Self {
            raw,
            head_size,
            count,
            wire: head_size,
            first,
            last,
            ..Self::default()
        }
    }

    /// Bytes of memory that its head takes.
    pub fn head_stored(&self) -> usize {
        self.raw.len() + self.spans.stored()
    }

    /// Bytes of memory that trailers take, and what tells the end of a call.
    pub fn tail_stored(&self) -> usize {
        self.trailers.len() + self.messages.as_ref().map_or(0, |messages| messages.stored())
    }

    /// What was seen of a message whose head did not arrive whole.
    pub fn partial(raw: Vec<u8>, size: u64, first: Timestamp, last: Timestamp, side: crate::Side) -> Self {
        let block = Block::new(raw, size);
        let mut message = Self::new(block.raw, size, block.fields.count, first, last);
        message.spans = block.fields.spans;
        let line = Lines(&message.raw).next();
        message.start = line.and_then(|line| match side {
            crate::Side::Client if line.ended => Start::request(line.bytes),
            crate::Side::Server if line.ended => Start::response(line.bytes),
            crate::Side::Client => Start::cut_request(line.bytes),
            crate::Side::Server => Start::cut_response(line.bytes),
        });
        message.torn = matches!(message.start, Some(Start::Request { cut: true, .. }));
        message
    }

    /// Takes so many bytes of the body, and its content in them.
    pub fn take(&mut self, wire: usize, content: &[u8]) {
        self.wire += wire as u64;
        self.body += content.len() as u64;
        if let Some(kept) = &mut self.kept {
            kept.take(content);
        }
        if let Some(messages) = &mut self.messages {
            messages.take(self.last, content, 0);
        }
    }

    /// Bytes that are kept of the body; from now on at most `room` more.
    pub fn allow(&mut self, room: usize) -> usize {
        if let Some(kept) = &mut self.kept {
            kept.allow(room);
        }
        self.kept()
    }

    /// Bytes that are kept of the body.
    pub fn kept(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes().len())
    }

    /// Counts bytes of the body that were missed.
    pub fn skip(&mut self, missed: u64) {
        self.wire = self.wire.saturating_add(missed);
        self.body = self.body.saturating_add(missed);
        if let Some(kept) = &mut self.kept {
            kept.miss();
        }
        if let Some(messages) = &mut self.messages {
            messages.skip(self.last, u32::try_from(missed).unwrap_or(u32::MAX));
        }
    }

    /// The body holds messages of a call in this style, and is about to come.
    pub fn expect_messages(&mut self, style: Style) {
        self.messages = Some(Box::new(Messages::new(style)));
    }

    /// Keeps a piece of the trailer section.
    pub fn trailer(&mut self, piece: &[u8], max: usize) {
        self.trailer_size += piece.len() as u64;
        let room = max.saturating_sub(self.trailers.len()).min(piece.len());
        self.trailers.extend_from_slice(&piece[..room]);
    }

    /// These bytes of the head, which `start` points at.
    pub fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.raw
            .get(range.start as usize..range.end as usize)
            .unwrap_or_default()
    }

    /// The head as it came.
    pub fn head(&self) -> Octets<'_> {
        Octets::read(&self.raw)
    }

    /// The fields of the head.
    pub fn fields(&self) -> Vec<Field<'_>> {
        self.fields_of(&self.head())
    }

    /// The fields of the head, which was read before.
    pub fn fields_of<'a>(&'a self, head: &Octets<'a>) -> Vec<Field<'a>> {
        self.spans.fields(head).unwrap_or_else(|| {
            let line = memchr::memchr(b'\n', &self.raw).map_or(self.raw.len(), |end| end + 1);
            fields(&self.raw[line..]).collect()
        })
    }
}

impl From<RequestLine> for Start {
    fn from(line: RequestLine) -> Self {
        Self::Request {
            method: line.method,
            target: line.target,
            version: line.version,
            cut: false,
        }
    }
}

impl Start {
    fn request(line: &[u8]) -> Option<Self> {
        request_line(line).map(Self::from)
    }

    /// Reads the beginning of a request line: a method, and what there is of the target.
    fn cut_request(line: &[u8]) -> Option<Self> {
        let read = request_line(line)?;
        let start = read.target.start as usize;
        let length = memchr::memchr(b' ', &line[start..]);
        let end = length.map_or(line.len(), |length| start + length);
        (end > start).then_some(())?;
        Some(Self::Request {
            method: read.method,
            target: read.target.start..u32::try_from(end).ok()?,
            version: None,
            cut: length.is_none(),
        })
    }

    pub fn response(line: &[u8]) -> Option<Self> {
        let (version, status) = status_line(line).or_else(|| spaced_status_line(line))?;
        Some(Self::Response { version, status })
    }

    /// Reads the beginning of a status line.
    fn cut_response(line: &[u8]) -> Option<Self> {
        (response_verdict(line) == Verdict::Yes).then(|| Self::response(line))?
    }
}
