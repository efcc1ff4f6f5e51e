//! Cuts one direction into frames. DATA passes through in pieces; of other frames the payload is gathered, within a bound.

use super::PREFACE;
use super::frame::{
    CONTINUATION, DATA, DEFAULT_MAX, FrameFault, GOAWAY, HEADER, HEADERS, Header, MAX, PADDED, PUSH_PROMISE,
    RST_STREAM, SETTINGS, search,
};
use crate::Side;
use std::borrow::Cow;
use weir_records::Timestamp;

/// One direction.
#[derive(Debug)]
pub(super) struct Framing {
    side: Side,
    state: State,
    /// Longest frame that this side may send.
    pub max_frame: u32,
    /// Bytes of a payload that are kept.
    keep: usize,
    /// When the frame's first byte came.
    first: Timestamp,
    /// What is wrong with the frame whose header came last, until that is taken.
    pub fault: Option<(Header, FrameFault)>,
}

#[derive(Debug)]
enum State {
    /// So much of the preface has come.
    Preface(usize),
    Header([u8; HEADER], usize),
    Payload(Header, Vec<u8>, u32),
    Data(Data),
    Skip(u32),
    /// Somewhere: looks for a frame.
    Lost,
}

/// A DATA frame on its way.
#[derive(Clone, Copy, Debug)]
struct Data {
    header: Header,
    /// The byte that says how much padding there is has yet to come.
    unread: bool,
    content: u32,
    padding: u32,
    /// Bytes of the frame that have come since the piece before.
    wire: u64,
}

/// What bytes gave.
#[derive(Debug)]
pub(super) enum Fed<'a> {
    /// Nothing yet.
    More,
    /// A frame other than DATA, and what was kept of its payload.
    Frame(Header, Cow<'a, [u8]>, Timestamp),
    /// A piece of a DATA frame.
    Data(Piece<'a>),
    /// Bytes that belong to no frame which was found.
    Passed,
    /// These are no frames.
    Broken,
}

/// A piece of a DATA frame.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub header: Header,
    pub content: &'a [u8],
    /// Bytes of content that were missed in its stead.
    pub missed: u32,
    /// Bytes of the frame that it took.
    pub wire: u64,
    /// When the frame's first byte came.
    pub first: Timestamp,
    /// The frame ends with it.
    pub last: bool,
}

impl Framing {
    /// Memory that the payload takes which is being gathered.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Payload(_, payload, _) => payload.capacity(),
            _ => 0,
        }
    }

    pub fn new(side: Side, late: bool, keep: usize) -> Self {
        let state = match side {
            _ if late => State::Lost,
            Side::Client => State::Preface(0),
            Side::Server => State::Header([0; HEADER], 0),
        };
        Self {
            side,
            state,
            max_frame: if late { MAX } else { DEFAULT_MAX },
            keep,
            first: Timestamp::default(),
            fault: None,
        }
    }

    /// Takes what it can from the beginning of `bytes`, all unless something comes of it.
    pub fn feed<'a>(&mut self, at: Timestamp, bytes: &mut &'a [u8]) -> Fed<'a> {
        match &mut self.state {
            State::Preface(have) => {
                let want = &PREFACE[*have..];
                let length = want.len().min(bytes.len());
                if bytes[..length] != want[..length] {
                    self.state = State::Lost;
                    return Fed::Broken;
                }
                *have += length;
                *bytes = &bytes[length..];
                if *have == PREFACE.len() {
                    self.state = State::Header([0; HEADER], 0);
                }
                Fed::More
            }
            State::Header(..) => self.header(at, bytes),
            State::Payload(header, part, left) => {
                let (header, taken) = (*header, (*left as usize).min(bytes.len()));
                let (payload, rest) = bytes.split_at(taken);
                *bytes = rest;
                *left -= u32::try_from(taken).unwrap_or(u32::MAX);
                if *left == 0 && part.is_empty() {
                    self.state = State::Header([0; HEADER], 0);
                    let kept = &payload[..payload.len().min(self.keep)];
                    return Fed::Frame(header, Cow::Borrowed(kept), self.first);
                }
                let room = self.keep.saturating_sub(part.len()).min(payload.len());
                part.extend_from_slice(&payload[..room]);
                if *left > 0 {
                    return Fed::More;
                }
                let payload = std::mem::take(part);
                self.state = State::Header([0; HEADER], 0);
                Fed::Frame(header, Cow::Owned(payload), self.first)
            }
            State::Data(_) => self.data(bytes),
            State::Skip(left) => {
                let taken = (*left as usize).min(bytes.len());
                *bytes = &bytes[taken..];
                *left -= u32::try_from(taken).unwrap_or(u32::MAX);
                if *left == 0 {
                    self.state = State::Header([0; HEADER], 0);
                }
                Fed::More
            }
            State::Lost => {
                if self.side == Side::Client && bytes.starts_with(PREFACE) {
                    self.state = State::Preface(0);
                    return Fed::More;
                }
                let found = search(bytes, self.side, self.max_frame.min(DEFAULT_MAX));
                if found.is_some() {
                    self.state = State::Header([0; HEADER], 0);
                }
                *bytes = &bytes[found.unwrap_or(bytes.len())..];
                if found == Some(0) { Fed::More } else { Fed::Passed }
            }
        }
    }

    fn header<'a>(&mut self, at: Timestamp, bytes: &mut &'a [u8]) -> Fed<'a> {
        let State::Header(part, have) = &mut self.state else {
            return Fed::More;
        };
        if *have == 0 {
            self.first = at;
        }
        let length = (HEADER - *have).min(bytes.len());
        part[*have..*have + length].copy_from_slice(&bytes[..length]);
        *bytes = &bytes[length..];
        *have += length;
        if *have < HEADER {
            return Fed::More;
        }
        let header = Header::read(part);
        if header.length > self.max_frame {
            self.state = State::Lost;
            return Fed::Broken;
        }
        self.fault = header.fault(self.side).map(|fault| (header, fault));
        match header.kind {
            DATA => {
                let padded = header.flags & PADDED != 0 && header.length > 0;
                self.state = State::Data(Data {
                    header,
                    unread: padded,
                    content: header.length,
                    padding: 0,
                    wire: HEADER as u64,
                });
                if header.length == 0 {
                    self.data(bytes)
                } else {
                    Fed::More
                }
            }
            HEADERS | RST_STREAM | SETTINGS | PUSH_PROMISE | GOAWAY | CONTINUATION => {
                self.state = State::Payload(header, Vec::new(), header.length);
                if header.length == 0 {
                    self.state = State::Header([0; HEADER], 0);
                    return Fed::Frame(header, Cow::Borrowed(&[]), self.first);
                }
                Fed::More
            }
            _ => {
                self.state = match header.length {
                    0 => State::Header([0; HEADER], 0),
                    length => State::Skip(length),
                };
                Fed::More
            }
        }
    }

    fn data<'a>(&mut self, bytes: &mut &'a [u8]) -> Fed<'a> {
        let State::Data(data) = &mut self.state else {
            return Fed::More;
        };
        if data.unread {
            let Some((padding, rest)) = bytes.split_first() else {
                return Fed::More;
            };
            *bytes = rest;
            data.unread = false;
            data.wire += 1;
            // More padding than there is room for is an error of the connection: it is all padding.
            if u32::from(*padding) >= data.content {
                self.fault = Some((data.header, FrameFault::Padding));
            }
            data.padding = u32::from(*padding).min(data.content - 1);
            data.content -= 1 + data.padding;
            // (A fault of the padding is told before what follows, in however many pieces that comes.)
            if data.content + data.padding > 0 {
                return Fed::More;
            }
        }
        let (content, rest) = bytes.split_at((data.content as usize).min(bytes.len()));
        let (padding, rest) = rest.split_at((data.padding as usize).min(rest.len()));
        *bytes = rest;
        data.content -= u32::try_from(content.len()).unwrap_or(u32::MAX);
        data.padding -= u32::try_from(padding.len()).unwrap_or(u32::MAX);
        let wire = data.wire + (content.len() + padding.len()) as u64;
        self.piece(content, 0, wire)
    }

    fn piece<'a>(&mut self, content: &'a [u8], missed: u32, wire: u64) -> Fed<'a> {
        let State::Data(data) = &mut self.state else {
            return Fed::More;
        };
        data.wire = 0;
        let piece = Piece {
            header: data.header,
            content,
            missed,
            wire,
            first: self.first,
            last: data.content + data.padding == 0,
        };
        if piece.last {
            self.state = State::Header([0; HEADER], 0);
        }
        Fed::Data(piece)
    }

    /// The preface, with which a client begins, has not come whole.
    pub fn awaits_preface(&self) -> bool {
        matches!(self.state, State::Preface(_))
    }

    /// Bytes were missed. Within a frame of data that goes on behind them only its content is lost, otherwise the next
    /// frame has to be found: then this is `Broken`.
    pub fn gap(&mut self, missed: Option<u64>) -> Fed<'static> {
        let missed = missed.and_then(|missed| u32::try_from(missed).ok());
        match (&mut self.state, missed) {
            (State::Lost, _) => Fed::More,
            (State::Data(data), Some(missed)) if !data.unread && missed <= data.content + data.padding => {
                let content = missed.min(data.content);
                data.content -= content;
                data.padding -= missed - content;
                let wire = data.wire + u64::from(missed);
                self.piece(&[], content, wire)
            }
            (State::Skip(left), Some(missed)) if missed < *left => {
                *left -= missed;
                Fed::More
            }
            _ => {
                self.state = State::Lost;
                Fed::Broken
            }
        }
    }
}
