//! One message. What can't be read of it costs only itself: the header and every record before it are still told.

use super::names::{self, text};
use crate::detect::Verdict;
use hickory_proto::{
    rr::{Name, RData, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, Restrict},
};
use std::{fmt::Write, net::IpAddr};

/// Answers that are read; a message of 64 KiB could hold thousands.
const MAX_ANSWERS: usize = 128;
/// Bytes of record data that are written out where only their bytes are known.
const MAX_UNKNOWN: usize = 256;
/// Classes that are asked for: IN, CH, HS, NONE, ANY.
const CLASSES: [u16; 5] = [1, 3, 4, 254, 255];
const NAME: usize = 255;
/// The OPT pseudo-record (RFC 6891).
const OPT: u16 = 41;

/// Query or response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Response,
}

/// The twelve bytes that every message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub id: u16,
    flags: u16,
    /// Questions, answers, authorities, additional records.
    pub counts: [u16; 4],
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub name: String,
    pub kind: u16,
    pub class: u16,
}

/// One record of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub name: String,
    pub kind: u16,
    pub class: u16,
    pub ttl: u32,
    pub data: String,
    /// Of an A or AAAA record.
    pub ip: Option<IpAddr>,
}

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub header: Header,
    /// The first question.
    pub question: Option<Question>,
    /// Its bytes, for comparison; empty where there is none.
    pub raw_question: Box<[u8]>,
    /// Answers that were read.
    pub answers: Vec<Answer>,
    /// The whole code, EDNS's part included.
    pub code: u16,
    /// EDNS's DO: the asker wants signatures.
    dnssec_ok: bool,
    /// What could not be read.
    pub malformed: Option<&'static str>,
    /// Bytes that it had.
    pub size: u64,
}

impl Header {
    pub const SIZE: usize = 12;

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes
            .get(..Self::SIZE)?
            .chunks_exact(2)
            .map(|word| u16::from_be_bytes([word[0], word[1]]));
        let mut next = || words.next();
        Some(Self {
            id: next()?,
            flags: next()?,
            counts: [next()?, next()?, next()?, next()?],
        })
    }

    pub fn kind(&self) -> Kind {
        if self.flags & 0x8000 == 0 {
            Kind::Query
        } else {
            Kind::Response
        }
    }

    pub fn op_code(&self) -> u8 {
        (self.flags >> 11) as u8 & 0xf
    }
}

impl Message {
    /// Reads a message; nothing if it is too short to have a header.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let header = Header::read(bytes)?;
        let mut message = Self {
            header,
            question: None,
            raw_question: Box::default(),
            answers: Vec::new(),
            code: header.flags & 0xf,
            dnssec_ok: false,
            malformed: None,
            size: bytes.len() as u64,
        };
        message.malformed = message.sections(bytes).err();
        Some(message)
    }

    /// The header's flags by name, and EDNS's DO.
    pub fn flags(&self) -> Vec<&'static str> {
        const FLAGS: [(u16, &str); 6] = [
            (0x0400, "AA"),
            (0x0200, "TC"),
            (0x0100, "RD"),
            (0x0080, "RA"),
            (0x0020, "AD"),
            (0x0010, "CD"),
        ];
        let set = FLAGS.iter().filter(|(bit, _)| self.header.flags & bit != 0);
        set.map(|(_, name)| *name)
            .chain(self.dnssec_ok.then_some("DO"))
            .collect()
    }

    /// Its end was cut off by the server (TC): what is missing from it is not its fault.
    pub fn is_cut(&self) -> bool {
        self.header.flags & 0x0200 != 0
    }

    fn sections(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut at = Header::SIZE;
        let [questions, answers, authorities, additional] = self.header.counts;
        for i in 0..questions {
            let end = skip_name(bytes, at).and_then(|name| fits(bytes, name, 4));
            let end = end.ok_or("question")?;
            if i == 0 {
                self.raw_question = bytes[at..end].into();
                self.question = Some(question(bytes, at, end).ok_or("question")?);
            }
            at = end;
        }
        let records = [
            ("answer", answers),
            ("authority", authorities),
            ("additional", additional),
        ];
        for (section, count) in records {
            for _ in 0..count {
                // A cut answer may end within a record, and its counts may be those of the whole.
                let frame = match Frame::read(bytes, at) {
                    Some(frame) => frame,
                    None if self.is_cut() => return Ok(()),
                    None => return Err(section),
                };
                at = frame.end;
                if frame.kind == OPT {
                    self.code |= (frame.ttl >> 24 << 4) as u16;
                    self.dnssec_ok = frame.ttl & 0x8000 != 0;
                } else if section == "answer" && self.answers.len() < MAX_ANSWERS {
                    self.answers.push(frame.answer(bytes).ok_or(section)?);
                }
            }
        }
        Ok(())
    }
}

/// Where the name at `at` ends in place.
fn skip_name(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    loop {
        match *bytes.get(end)? {
            0 => return Some(end + 1),
            length @ 1..=63 => end += 1 + usize::from(length),
            0xc0.. => return fits(bytes, end, 2),
            _ => return None,
        }
    }
}

/// `at + length`, if there is so much.
fn fits(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    at.checked_add(length).filter(|end| *end <= bytes.len())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*word))
}

/// A decoder that stands at `at`.
fn decoder(bytes: &[u8], at: usize) -> Option<BinDecoder<'_>> {
    u16::try_from(at).ok().map(|at| BinDecoder::new(bytes).clone(at))
}

fn name(bytes: &[u8], at: usize) -> Option<Name> {
    Name::read(&mut decoder(bytes, at)?).ok()
}

fn question(bytes: &[u8], at: usize, end: usize) -> Option<Question> {
    Some(Question {
        name: text(&name(bytes, at)?),
        kind: word(bytes, end - 4)?,
        class: word(bytes, end - 2)?,
    })
}

/// Where the parts of a record are.
struct Frame {
    start: usize,
    kind: u16,
    class: u16,
    ttl: u32,
    data: usize,
    end: usize,
}

impl Frame {
    fn read(bytes: &[u8], start: usize) -> Option<Self> {
        let at = skip_name(bytes, start)?;
        let ttl = bytes.get(at + 4..)?.first_chunk::<4>()?;
        let length = word(bytes, at + 8)?;
        Some(Self {
            start,
            kind: word(bytes, at)?,
            class: word(bytes, at + 2)?,
            ttl: u32::from_be_bytes(*ttl),
            data: at + 10,
            end: fits(bytes, at + 10, length.into())?,
        })
    }

    fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        let data = self.data(bytes);
        Some(Answer {
            name: text(&name(bytes, self.start)?),
            kind: self.kind,
            class: self.class,
            ttl: self.ttl,
            ip: data.as_ref().and_then(RData::ip_addr),
            data: data
                .and_then(|data| written(&data))
                .unwrap_or_else(|| unknown(&bytes[self.data..self.end])),
        })
    }

    /// The record's data, if it is of a known type and well-formed.
    fn data(&self, bytes: &[u8]) -> Option<RData> {
        let length = u16::try_from(self.end - self.data)
            .ok()
            .filter(|length| *length > 0)?;
        // Nothing behind the record may be read as a part of it.
        let mut decoder = decoder(&bytes[..self.end], self.data)?;
        let kind = RecordType::from(self.kind);
        let data = RData::read(&mut decoder, kind, Restrict::new(length)).ok()?;
        decoder.is_empty().then_some(data)
    }
}

/// Record data as a zone file has it, names without the last dot.
fn written(data: &RData) -> Option<String> {
    Some(match data {
        RData::CNAME(name) => text(name),
        RData::NS(name) => text(name),
        RData::PTR(name) => text(name),
        RData::MX(mx) => format!("{} {}", mx.preference, text(&mx.exchange)),
        RData::SRV(srv) => format!(
            "{} {} {} {}",
            srv.priority,
            srv.weight,
            srv.port,
            text(&srv.target)
        ),
        RData::Unknown { .. } | RData::NULL(_) => return None,
        other => {
            let mut written = String::new();
            // (Not `to_string`: that panics where a type has no text.)
            write!(written, "{other}").ok()?;
            written
        }
    })
}

/// Bytes as RFC 3597 writes them.
fn unknown(data: &[u8]) -> String {
    let mut text = format!("\\# {}", data.len());
    for (i, byte) in data.iter().take(MAX_UNKNOWN).enumerate() {
        // Writing to a String does not fail.
        let _ = write!(text, "{}{byte:02x}", if i == 0 { " " } else { "" });
    }
    if data.len() > MAX_UNKNOWN {
        text.push('…');
    }
    text
}

/// Whether these are the first bytes of a message of this kind and length, with one question.
pub(super) fn beginning(bytes: &[u8], length: usize, kind: Kind) -> Verdict {
    let or = |is_not: bool| if is_not { Verdict::No } else { Verdict::More };
    if let Some([first]) = bytes.get(2..3).and_then(|byte| byte.first_chunk::<1>()) {
        let response = first & 0x80 != 0;
        // QUERY, STATUS, NOTIFY, UPDATE.
        if response != (kind == Kind::Response) || !matches!(first >> 3 & 0xf, 0 | 2 | 4 | 5) {
            return Verdict::No;
        }
    }
    if let Some(second) = bytes.get(3) {
        let (reserved, code) = (second & 0x40 != 0, second & 0xf);
        if reserved || (kind == Kind::Query && code != 0) {
            return Verdict::No;
        }
    }
    if bytes.get(4).is_some_and(|high| *high != 0) || bytes.get(5).is_some_and(|low| *low != 1) {
        return Verdict::No;
    }
    let Some(header) = Header::read(bytes) else {
        return or(false);
    };
    let [_, answers, authorities, additional] = header.counts;
    let update = header.op_code() == 5;
    if kind == Kind::Query && !update && (answers > 1 || authorities > 1 || additional > 4) {
        return Verdict::No;
    }
    // A question's name is never compressed: nothing stands before it.
    let mut at = Header::SIZE;
    loop {
        match bytes.get(at) {
            None => return or(at + 5 > length),
            Some(0) => break,
            Some(label @ 1..=63) => at += 1 + usize::from(*label),
            Some(_) => return Verdict::No,
        }
        if at - Header::SIZE > NAME || at + 5 > length {
            return Verdict::No;
        }
    }
    if at + 5 > length {
        return Verdict::No;
    }
    match word(bytes, at + 3) {
        None => Verdict::More,
        Some(class) if CLASSES.contains(&class) => Verdict::Yes,
        Some(_) => Verdict::No,
    }
}

impl Question {
    pub fn type_name(&self) -> String {
        names::record_type(self.kind)
    }

    /// AXFR or IXFR: the answer is more than one message.
    pub fn is_transfer(&self) -> bool {
        matches!(self.kind, 251 | 252)
    }
}
