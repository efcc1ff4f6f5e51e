//! One side: cuts it into frames and counts the messages that they make. Nothing is kept but a header that has not come
//! whole, and the payload of a close frame.

use super::exchange::{CloseFrame, Counts};
use super::frame::{CLOSE, Header, LONGEST, PING, PONG, Rules, TEXT, size};
use crate::Side;
use weir_records::Timestamp;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    side: Side,
    rules: Rules,
    state: State,
    message: Option<Message>,
    pub counts: Counts,
    /// The first close frame.
    pub close: Option<CloseFrame>,
}

#[derive(Debug)]
enum State {
    /// Between frames, or in a header: so much of it has come.
    Header([u8; LONGEST], usize),
    Payload(Payload),
    /// Where frames begin is not known any more.
    Lost,
}

/// A payload on its way.
#[derive(Debug)]
struct Payload {
    header: Header,
    left: u64,
    /// That of a close frame.
    kept: Vec<u8>,
}

/// A message whose last frame has not come whole.
#[derive(Clone, Copy, Debug)]
struct Message {
    text: bool,
    compressed: bool,
    size: u64,
    first: Timestamp,
}

impl Half {
    /// Frames begin with the next byte, if it is `exact`.
    pub fn new(side: Side, rules: Rules, exact: bool) -> Self {
        Self {
            side,
            rules,
            state: if exact { State::start() } else { State::Lost },
            message: None,
            counts: Counts::default(),
            close: None,
        }
    }

    /// Takes bytes. Gives what is wrong with a frame, after which they are only counted.
    pub fn feed(&mut self, at: Timestamp, mut bytes: &[u8]) -> Option<&'static str> {
        self.counts.wire = self.counts.wire.saturating_add(bytes.len() as u64);
        while !bytes.is_empty() {
            match &mut self.state {
                State::Lost => return None,
                State::Header(part, known) => {
                    if *known == 0 {
                        self.counts.begun = at;
                    }
                    let count = (size(&part[..*known]) - *known).min(bytes.len());
                    part[*known..*known + count].copy_from_slice(&bytes[..count]);
                    *known += count;
                    bytes = &bytes[count..];
                    let (part, known) = (*part, *known);
                    if known == size(&part[..known])
                        && let Some(header) = Header::read(&part[..known])
                        && let Some(fault) = self.begin(header, at)
                    {
                        self.lose();
                        return Some(fault);
                    }
                }
                State::Payload(payload) => {
                    let count = usize::try_from(payload.left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    let (piece, rest) = bytes.split_at(count);
                    bytes = rest;
                    payload.take(piece);
                    self.settle(at);
                }
            }
        }
        None
    }

    /// A header is complete.
    fn begin(&mut self, header: Header, at: Timestamp) -> Option<&'static str> {
        let fault = header.fault(self.side, self.rules, self.message.is_some());
        if fault.is_some() {
            return fault;
        }
        if !header.is_control() {
            let first = self.counts.begun;
            let message = self.message.get_or_insert(Message {
                text: header.opcode == TEXT,
                compressed: header.is_compressed(),
                size: 0,
                first,
            });
            message.size = message.size.saturating_add(header.length);
        }
        self.state = State::Payload(Payload {
            header,
            left: header.length,
            kept: Vec::new(),
        });
        self.settle(at);
        None
    }

    /// The frame, if all of it has come, is counted.
    fn settle(&mut self, at: Timestamp) {
        let State::Payload(payload) = &mut self.state else {
            return;
        };
        if payload.left > 0 {
            return;
        }
        let (header, kept) = (payload.header, std::mem::take(&mut payload.kept));
        self.state = State::start();
        match header.opcode {
            CLOSE => {
                self.close.get_or_insert(CloseFrame { payload: kept });
            }
            PING => self.counts.pings += 1,
            PONG => self.counts.pongs += 1,
            _ if header.fin => {
                if let Some(message) = self.message.take() {
                    self.counts.add(message.text, message.compressed, message.size);
                    self.counts.first.get_or_insert(message.first);
                    self.counts.last = Some(at);
                }
            }
            _ => {}
        }
    }

    /// Bytes were missed. False if where frames begin is lost with them.
    pub fn gap(&mut self, at: Timestamp, missed: Option<u64>) -> bool {
        self.counts.wire = self.counts.wire.saturating_add(missed.unwrap_or(0));
        match (&mut self.state, missed) {
            // (Of a close frame every byte counts, and nothing comes after it.)
            (State::Payload(payload), Some(missed))
                if missed <= payload.left && payload.header.opcode != CLOSE =>
            {
                payload.left -= missed;
                self.settle(at);
                true
            }
            _ => {
                self.lose();
                false
            }
        }
    }

    fn lose(&mut self) {
        self.state = State::Lost;
        self.message = None;
    }

    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Bytes of a message that has not ended.
    pub fn unfinished(&self) -> Option<u64> {
        let left = match &self.state {
            State::Payload(payload) if !payload.header.is_control() => payload.left,
            _ => 0,
        };
        self.message.map(|message| message.size.saturating_sub(left))
    }
}

impl State {
    fn start() -> Self {
        Self::Header([0; LONGEST], 0)
    }
}

impl Payload {
    fn take(&mut self, piece: &[u8]) {
        if self.header.opcode == CLOSE {
            let from = self.kept.len();
            self.kept.extend_from_slice(piece);
            if let Some(mask) = self.header.mask {
                for (at, byte) in self.kept.iter_mut().enumerate().skip(from) {
                    *byte ^= mask[at % 4];
                }
            }
        }
        self.left -= piece.len() as u64;
    }
}
