//! One direction: cuts it into frames.

use super::header::{Found, Header, MAGIC, SIZE, search};
use super::{EVENT_KEPT, KEPT};
use crate::fate::Doubt;
use weir_records::Timestamp;

/// One direction of a connection. Holds no memory between frames.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// Bytes since the last frame that belong to none.
    skipped: Skipped,
    pub trace: Trace,
}

/// What makes it certain that these are frames, or that they are none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    /// Every byte belongs to a frame, from the first on.
    exact: bool,
    /// Headers that were found.
    begun: u64,
    /// How many there were before the first byte that belongs to none.
    astray: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// Between frames, or in a header that has not come whole: so much of it is here.
    Header([u8; SIZE], usize, Timestamp),
    Body(Box<Message>),
    /// Somewhere: looks for a header. What may be one has not come whole.
    Lost(Vec<u8>, Timestamp),
}

/// What was between two frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skipped {
    pub bytes: u64,
    /// Some of it is no text.
    pub binary: bool,
    /// Bytes were missed too.
    pub gap: bool,
}

/// A frame, as far as it has come.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub header: Header,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// Bytes of the body that have come, those that were missed included.
    pub seen: u32,
    /// Its first byte.
    pub first: Timestamp,
    /// Its last.
    pub last: Timestamp,
    /// Bytes of it were missed.
    pub gap: bool,
}

/// What came of feeding.
#[derive(Debug)]
pub(super) enum Fed {
    More,
    /// A frame, and what was before it.
    Frame(Box<Message>, Skipped),
}

impl Message {
    fn new(header: Header, first: Timestamp) -> Box<Self> {
        Box::new(Self {
            header,
            body: Vec::new(),
            seen: 0,
            first,
            last: first,
            gap: false,
        })
    }

    /// Bytes of the frame.
    pub fn size(&self) -> u64 {
        SIZE as u64 + u64::from(self.seen)
    }

    pub fn is_whole(&self) -> bool {
        self.seen == self.header.length
    }

    /// The body is not here as a whole.
    pub fn is_cut(&self) -> bool {
        (self.body.len() as u64) < u64::from(self.header.length)
    }

    /// Takes what belongs to it; gives how much that was.
    fn take(&mut self, at: Timestamp, bytes: &[u8]) -> usize {
        let missing = self.header.length - self.seen;
        let count = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
        if !self.gap {
            let kept = if self.header.is_event() { EVENT_KEPT } else { KEPT };
            let room = kept.saturating_sub(self.body.len()).min(count);
            if self.body.is_empty() {
                // The usual case: it is all here.
                self.body = bytes[..room].to_vec();
            } else {
                self.body.extend_from_slice(&bytes[..room]);
            }
        }
        self.seen += u32::try_from(count).unwrap_or(missing);
        self.last = at;
        count
    }

    /// Forgets all but the beginning of the body.
    pub fn shorten(&mut self, kept: usize) {
        self.body.truncate(kept);
        self.body.shrink_to_fit();
    }
}

impl Framing {
    /// Memory that the frame takes which is arriving.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Header(..) => 0,
            State::Body(message) => size_of::<Message>() + message.body.capacity(),
            State::Lost(part, _) => part.capacity(),
        }
    }

    /// The header of the frame that is arriving.
    pub fn header(&self) -> Option<Header> {
        match &self.state {
            State::Body(message) => Some(message.header),
            _ => None,
        }
    }

    pub fn new(late: bool) -> Self {
        let at = Timestamp::default();
        Self {
            state: match late {
                true => State::Lost(Vec::new(), at),
                false => State::Header([0; SIZE], 0, at),
            },
            skipped: Skipped::default(),
            trace: Trace {
                exact: !late,
                begun: 0,
                astray: None,
            },
        }
    }

    /// Bytes were missed, or belong to no frame, and no frame has been found since.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost(..))
    }

    /// The response with this number is arriving.
    pub fn is_within(&self, id: i64) -> bool {
        matches!(&self.state, State::Body(message) if message.header.id == id && !message.header.is_request())
    }

    /// Takes from `bytes` up to the end of a frame.
    pub fn feed(&mut self, at: Timestamp, bytes: &mut &[u8]) -> Fed {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Header(header, known, first) => {
                    if *known == 0 {
                        *first = at;
                    }
                    let count = (SIZE - *known).min(bytes.len());
                    header[*known..*known + count].copy_from_slice(&bytes[..count]);
                    *known += count;
                    *bytes = &bytes[count..];
                    let (part, count, first) = (*header, *known, *first);
                    if is_wrong(&part[..count]) {
                        self.lose();
                        if let Some(fed) = self.look(first, &mut &part[..count]) {
                            return fed;
                        }
                    } else if count == SIZE
                        && let Some(header) = Header::read(&part)
                        && let Some(fed) = self.begin(header, first, at)
                    {
                        return fed;
                    }
                }
                State::Body(message) => {
                    let count = message.take(at, bytes);
                    *bytes = &bytes[count..];
                    if message.is_whole() {
                        return self.done();
                    }
                }
                State::Lost(..) => {
                    if let Some(fed) = self.look(at, bytes) {
                        return fed;
                    }
                }
            }
        }
        Fed::More
    }

    /// A header is complete; the frame with it, if it has no body.
    fn begin(&mut self, header: Header, first: Timestamp, at: Timestamp) -> Option<Fed> {
        self.trace.begun += 1;
        let mut message = Message::new(header, first);
        message.last = at;
        let empty = message.is_whole();
        self.state = State::Body(message);
        empty.then(|| self.done())
    }

    fn done(&mut self) -> Fed {
        let at = Timestamp::default();
        match std::mem::replace(&mut self.state, State::Header([0; SIZE], 0, at)) {
            State::Body(message) => Fed::Frame(message, std::mem::take(&mut self.skipped)),
            _ => Fed::More,
        }
    }

    /// Looks for a header in a stream that was lost.
    fn look(&mut self, at: Timestamp, bytes: &mut &[u8]) -> Option<Fed> {
        while !bytes.is_empty() {
            let State::Lost(window, first) = &mut self.state else {
                return None;
            };
            if window.is_empty() {
                let (skip, found) = match search(bytes) {
                    Found::At(skip) | Found::Partial(skip) => (skip, true),
                    Found::Nowhere => (bytes.len(), false),
                };
                self.skipped.add(&bytes[..skip]);
                self.trace.skip(skip);
                *bytes = &bytes[skip..];
                if !found {
                    return None;
                }
                *first = at;
            }
            let count = (SIZE - window.len()).min(bytes.len());
            window.extend_from_slice(&bytes[..count]);
            *bytes = &bytes[count..];
            match search(window) {
                Found::At(_) => {
                    let first = *first;
                    let header = window.first_chunk().and_then(Header::read)?;
                    match self.begin(header, first, at) {
                        None => return None,
                        fed => return fed,
                    }
                }
                Found::Partial(skip) => {
                    self.skipped.add(&window[..skip]);
                    self.trace.skip(skip);
                    window.drain(..skip);
                    if skip > 0 {
                        *first = at;
                    }
                }
                Found::Nowhere => {
                    self.skipped.add(window);
                    self.trace.skip(window.len());
                    window.clear();
                }
            }
        }
        None
    }

    /// Bytes were missed and no frame was found since, or bytes belong to no frame and the next one is not whole yet: what those
    /// bytes were can't be known. (What an operator types is no such doubt.)
    pub fn doubt(&self) -> Option<Doubt> {
        match self.state {
            State::Lost(..) if self.skipped.gap => Some(Doubt::Gap),
            _ if self.skipped.binary => Some(Doubt::Unreadable),
            _ => None,
        }
    }

    fn lose(&mut self) {
        self.state = State::Lost(Vec::new(), Timestamp::default());
    }

    /// Bytes were missed: so many, if that is known. The frame that was cut short by that.
    pub fn gap(&mut self, at: Timestamp, missed: Option<u64>) -> Option<Fed> {
        if let State::Body(message) = &mut self.state {
            message.gap = true;
            message.last = at;
            let missing = u64::from(message.header.length - message.seen);
            match missed {
                Some(missed) if missed < missing => {
                    message.seen += u32::try_from(missed).unwrap_or(0);
                    return None;
                }
                Some(missed) if missed == missing => {
                    message.seen = message.header.length;
                    return Some(self.done());
                }
                _ => {}
            }
        }
        let cut = self.take_part();
        self.lose();
        self.skipped.gap = true;
        cut.map(|message| Fed::Frame(message, Skipped::default()))
    }

    /// Nothing more comes; the frame that is incomplete.
    pub fn take_part(&mut self) -> Option<Box<Message>> {
        match std::mem::replace(&mut self.state, State::Header([0; SIZE], 0, Timestamp::default())) {
            State::Body(message) => Some(message),
            _ => None,
        }
    }
}

impl Trace {
    fn skip(&mut self, bytes: usize) {
        if bytes > 0 && (self.exact || self.begun > 0) {
            self.astray.get_or_insert(self.begun);
        }
    }

    /// Headers before anything that belongs to no frame.
    pub fn frames(&self) -> u64 {
        self.astray.unwrap_or(self.begun)
    }

    /// Something belongs to no frame.
    pub fn is_astray(&self) -> bool {
        self.astray.is_some()
    }
}

impl Skipped {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t'..=b'\r' | 0x1b | 8 | 0x7f..);
        // Telnet's own commands begin with 0xff, and its text is in any encoding.
        self.binary |= !bytes.iter().all(text);
    }
}

/// No header begins with these bytes.
fn is_wrong(part: &[u8]) -> bool {
    let known = part.len().min(MAGIC.len());
    part[..known] != MAGIC[..known]
        || part
            .first_chunk()
            .is_some_and(|header| Header::read(header).is_none())
}
