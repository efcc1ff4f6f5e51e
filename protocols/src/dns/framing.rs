//! One direction of DNS over TCP: cuts it into messages, each with its length before it (RFC 1035, 4.2.2; RFC 7766), and finds
//! the next one where bytes were missed or belong to none.
//!
//! A message is found again where a length stands before a sound message of exactly that length. What is looked at more than
//! once is paid for by the bytes that come, so that the work stays in proportion to these.

use super::LONGEST_QUERY;
use super::message::{Header, Kind, Message, beginning};
use crate::detect::Verdict;
use crate::fate::Doubt;
use weir_records::Timestamp;

/// Bytes before a message.
const LENGTH: usize = 2;
/// Bytes in which no message is found, after which there will be none.
const SEARCHED: usize = 1 << 20;
/// Bytes of what may be messages that are read at once where the next message is looked for, and for each byte that comes.
const CREDIT: usize = 128 << 10;
const CREDIT_PER_BYTE: usize = 4;

/// One direction. Holds no memory between messages, and never much more than 64 KiB and the bytes that came last.
#[derive(Debug)]
pub(super) struct Framing {
    kind: Kind,
    /// What has come of the next message, its length before it; behind that what is known to follow.
    buffer: Vec<u8>,
    /// Where in the buffer that begins.
    from: usize,
    /// Bytes of the message that were missed, or came behind such.
    beyond: Option<usize>,
    /// When the message's first byte came, and when the last piece of data.
    first: Timestamp,
    latest: Timestamp,
    /// The beginning of the message is none: it is believed only as a whole.
    weak: Option<bool>,
    /// Where the next message begins is not known.
    lost: bool,
    /// Up to here in the buffer no message begins.
    refused: usize,
    searched: usize,
    credit: usize,
    skipped: Skipped,
}

/// What stood before a message that was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    pub bytes: usize,
    /// Bytes were missed too.
    pub gap: bool,
}

/// A message, without its length.
#[derive(Debug)]
pub(super) struct Found {
    pub bytes: Vec<u8>,
    pub first: Timestamp,
    /// Bytes that it has.
    pub size: usize,
    /// Its end was missed.
    pub cut: bool,
    pub skipped: Option<Skipped>,
}

/// What came of feeding.
#[derive(Debug)]
pub(super) enum Fed {
    More,
    Message(Found),
    /// It is no message, and none has been looked for.
    Broken,
}

impl Framing {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            buffer: Vec::new(),
            from: 0,
            beyond: None,
            first: Timestamp::default(),
            latest: Timestamp::default(),
            weak: None,
            lost: false,
            refused: 0,
            searched: 0,
            credit: 0,
            skipped: Skipped::default(),
        }
    }

    /// Memory that it takes.
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// What has come of the message that is arriving, without its length.
    pub fn part(&self) -> Option<&[u8]> {
        self.ahead().get(LENGTH..)
    }

    /// Why a message may go unseen.
    pub fn doubt(&self) -> Option<Doubt> {
        self.lost.then_some(match self.skipped.gap {
            true => Doubt::Gap,
            false => Doubt::Unreadable,
        })
    }

    /// The next message has been looked for in vain for too long.
    pub fn has_given_up(&self) -> bool {
        self.lost && self.searched > SEARCHED
    }

    /// Takes from `bytes` up to the end of a message. `search`: the next one is looked for where there is none.
    pub fn feed(&mut self, at: Timestamp, bytes: &mut &[u8], search: bool) -> Fed {
        self.latest = at;
        loop {
            if self.lost {
                self.gather(bytes);
                return self.search(self.buffer.len(), false);
            }
            if self.ahead().is_empty() {
                self.first = at;
            }
            for _ in 0..2 {
                self.fill(bytes);
            }
            let whole = self.length().filter(|_| self.missing() == 0);
            let short = whole.is_some_and(|length| length < Header::SIZE);
            if search && !short && self.is_weak() {
                // What is found in such a message goes before it, whether its bytes came at once or not.
                if let Fed::Message(found) = self.search_within(false) {
                    return Fed::Message(found);
                }
            }
            match whole {
                None => return Fed::More,
                Some(_) if short && !search => return Fed::Broken,
                Some(_) if short || search && !self.is_believed() => self.lose(),
                Some(_) => return Fed::Message(self.take()),
            }
        }
    }

    /// Bytes were missed: so many, if that is known. The message that was cut by that.
    pub fn gap(&mut self, at: Timestamp, missed: Option<u64>) -> Option<Found> {
        let missed = missed.and_then(|missed| usize::try_from(missed).ok());
        self.latest = at;
        let mut cut = None;
        if !self.lost && self.length().is_some_and(|length| length >= Header::SIZE) && !self.is_weak() {
            let missing = self.missing();
            let fits = missed.filter(|missed| *missed <= missing);
            self.beyond = Some(self.beyond.unwrap_or(0) + fits.unwrap_or(missing));
            match fits {
                Some(fits) if fits < missing => return None,
                Some(_) => return Some(self.take()),
                None => cut = Some(self.take()),
            }
        }
        self.skipped.bytes += self.ahead().len();
        self.clear();
        self.lose();
        self.skipped.gap = true;
        cut
    }

    /// No more comes: a message that was taken for a part of another, or of nothing.
    pub fn finish(&mut self) -> Option<Found> {
        if !self.lost {
            if self.weak != Some(true) {
                return None;
            }
            self.lose();
        }
        match self.search(self.buffer.len(), true) {
            Fed::Message(found) => Some(found),
            _ => None,
        }
    }

    fn ahead(&self) -> &[u8] {
        self.buffer.get(self.from..).unwrap_or_default()
    }

    /// The length of the message that is arriving.
    fn length(&self) -> Option<usize> {
        let length = self.ahead().first_chunk::<LENGTH>()?;
        Some(usize::from(u16::from_be_bytes(*length)))
    }

    /// Bytes that are missing of the message, or of its length.
    fn missing(&self) -> usize {
        let whole = LENGTH + self.length().unwrap_or(0);
        whole.saturating_sub(self.ahead().len() + self.beyond.unwrap_or(0))
    }

    /// Takes from `bytes` what belongs to the message, or to its length.
    fn fill(&mut self, bytes: &mut &[u8]) {
        let (taken, rest) = bytes.split_at(self.missing().min(bytes.len()));
        match &mut self.beyond {
            Some(beyond) => *beyond += taken.len(),
            None => {
                if self.from > self.ahead().len() {
                    self.compact();
                }
                self.buffer.extend_from_slice(taken);
            }
        }
        *bytes = rest;
    }

    /// Takes all bytes: one of them begins the next message.
    fn gather(&mut self, bytes: &mut &[u8]) {
        if self.ahead().is_empty() {
            self.first = self.latest;
        }
        self.compact();
        self.buffer.extend_from_slice(bytes);
        self.pay(bytes.len());
        *bytes = &[];
    }

    /// Forgets what has been taken from the buffer.
    fn compact(&mut self) {
        self.buffer.drain(..self.from);
        self.refused = self.refused.saturating_sub(self.from);
        self.from = 0;
    }

    fn pay(&mut self, bytes: usize) {
        self.searched = self.searched.saturating_add(bytes);
        self.credit = (self.credit + bytes.saturating_mul(CREDIT_PER_BYTE)).min(CREDIT);
    }

    /// The message that is whole, or cut.
    fn take(&mut self) -> Found {
        let length = self.length().unwrap_or(0);
        let end = (LENGTH + length).min(self.ahead().len());
        let bytes = self.ahead().get(LENGTH..end).unwrap_or_default().to_vec();
        let skipped = std::mem::take(&mut self.skipped);
        let found = Found {
            bytes,
            first: self.first,
            size: length,
            cut: self.beyond.take().is_some(),
            skipped: Some(skipped).filter(|skipped| *skipped != Skipped::default()),
        };
        self.from += end;
        self.first = self.latest;
        (self.weak, self.lost, self.searched) = (None, false, 0);
        if self.ahead().is_empty() {
            self.clear();
        }
        found
    }

    fn clear(&mut self) {
        (self.buffer, self.from, self.refused) = (Vec::new(), 0, 0);
    }

    /// No message begins where one should.
    fn lose(&mut self) {
        if !self.lost {
            (self.searched, self.credit) = (0, CREDIT);
        }
        (self.lost, self.weak, self.beyond) = (true, None, None);
        self.refused = self.refused.max(self.from);
        if !self.ahead().is_empty() {
            self.refused = self.refused.max(self.from + 1);
        }
    }

    /// The message that is whole begins as one, or can be read as one; or it was cut.
    fn is_believed(&self) -> bool {
        let end = LENGTH + self.length().unwrap_or(0);
        let message = || self.ahead().get(LENGTH..end).unwrap_or_default();
        self.weak != Some(true) || self.beyond.is_some() || is_sound(message(), self.kind)
    }

    /// The beginning of the message that is arriving is none.
    fn is_weak(&mut self) -> bool {
        if self.weak.is_none() {
            let (Some(length), Some(part)) = (self.length(), self.part()) else {
                return false;
            };
            self.weak = match beginning(part.get(..length).unwrap_or(part), length, self.kind) {
                Verdict::Yes => Some(false),
                Verdict::No => Some(true),
                Verdict::More => None,
            };
            if self.weak == Some(true) {
                (self.searched, self.credit) = (0, CREDIT);
                self.refused = self.from + 1;
            }
        }
        self.weak == Some(true)
    }

    /// Looks for a message in what may be one, but does not begin as one.
    fn search_within(&mut self, last: bool) -> Fed {
        let known = self.refused;
        let end = self.from + LENGTH + self.length().unwrap_or(0);
        let fed = self.search(end.min(self.buffer.len()), last);
        if matches!(fed, Fed::More) {
            self.pay(self.refused - known);
        }
        fed
    }

    /// The next message begins here at the earliest.
    fn skip(&mut self, at: usize) {
        if at > self.from {
            self.skipped.bytes += at - self.from;
            self.first = self.latest;
        }
        (self.from, self.refused, self.beyond) = (at, at, None);
    }

    /// Looks for the next message in the buffer, up to `end`. `last`: no more bytes come.
    fn search(&mut self, end: usize, last: bool) -> Fed {
        let mut at = self.refused;
        while let Some(rest) = self.buffer.get(at..end).filter(|rest| !rest.is_empty()) {
            let verdict = candidate(rest, self.kind);
            let length = rest
                .first_chunk()
                .map(|length| usize::from(u16::from_be_bytes(*length)));
            let whole = length.and_then(|length| rest.get(LENGTH..LENGTH + length));
            match (verdict, whole) {
                (Verdict::Yes, Some(message)) if message.len() <= self.credit => {
                    self.credit -= message.len();
                    if is_sound(message, self.kind) {
                        self.skip(at);
                        return Fed::Message(self.take());
                    }
                }
                (Verdict::Yes | Verdict::More, None) if !last => break,
                _ => {}
            }
            at += 1;
        }
        self.refused = at;
        if self.lost {
            self.skip(at);
            if self.ahead().is_empty() {
                self.clear();
            }
        }
        Fed::More
    }
}

/// Whether a length and the beginning of a message stand here.
fn candidate(bytes: &[u8], kind: Kind) -> Verdict {
    let Some((length, message)) = bytes.split_first_chunk::<LENGTH>() else {
        return Verdict::More;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length < Header::SIZE || kind == Kind::Query && length > LONGEST_QUERY {
        return Verdict::No;
    }
    beginning(message.get(..length).unwrap_or(message), length, kind)
}

/// The bytes are a message of this kind from the first to the last.
fn is_sound(bytes: &[u8], kind: Kind) -> bool {
    let message = Message::read(bytes);
    message
        .is_some_and(|message| message.header.kind() == kind && message.malformed.is_none() && message.ends)
}
