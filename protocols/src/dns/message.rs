//! One message. What can't be read of it costs only itself: the header and every record before it are still told.

use super::data;
use super::names::{self, text};
use super::wire::Wire;
use crate::detect::Verdict;
use std::net::IpAddr;

/// Answers that are read; a message of 64 KiB could hold thousands.
const MAX_ANSWERS: usize = 128;
/// Extended errors that are told of one message.
const MAX_ERRORS: usize = 8;
/// Classes that are asked for: IN, CH, HS, NONE, ANY.
const CLASSES: [u16; 5] = [1, 3, 4, 254, 255];
const NAME: usize = 255;
/// A name, a type and a class.
const LONGEST_QUESTION: usize = NAME + 4;
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
    /// EDNS's client subnet (RFC 7871): for whom is asked, or for whom the answer holds.
    pub client_subnet: Option<String>,
    /// EDNS's extended errors (RFC 8914).
    pub extended_errors: Vec<String>,
    /// Nothing stands behind its last record.
    pub ends: bool,
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
            client_subnet: None,
            extended_errors: Vec::new(),
            ends: false,
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
        let mut wire = Wire::new(bytes, Header::SIZE, bytes.len());
        let [questions, answers, authorities, additional] = self.header.counts;
        let mut result = Ok(());
        for i in 0..questions {
            let (start, mut ahead) = (wire.at(), wire);
            let end = wire.skip_name().and_then(|()| wire.take(4));
            if i == 0 {
                // One that can't be read is known again by its bytes, or by all that there are.
                let until = end.map_or(bytes.len().min(start + LONGEST_QUESTION), |_| wire.at());
                self.raw_question = bytes[start..until].into();
                self.question = end.and_then(|_| question(&mut ahead));
                // What stands behind a name that points astray can be read all the same.
                result = self.question.as_ref().map(drop).ok_or("question");
            }
            end.ok_or("question")?;
        }
        let records = [
            ("answer", answers),
            ("authority", authorities),
            ("additional", additional),
        ];
        for (section, count) in records {
            for _ in 0..count {
                // A cut answer may end within a record, and its counts may be those of the whole.
                let record = match Record::read(&mut wire) {
                    Some(record) => record,
                    None if self.is_cut() => return result,
                    None => return result.and(Err(section)),
                };
                if record.kind == OPT {
                    self.code |= (record.ttl >> 24 << 4) as u16;
                    self.dnssec_ok = record.ttl & 0x8000 != 0;
                    let _ = self.options(record.data);
                } else if section == "answer" && self.answers.len() < MAX_ANSWERS {
                    match record.answer() {
                        Some(answer) => self.answers.push(answer),
                        None => return result.and(Err(section)),
                    }
                }
            }
        }
        self.ends = wire.left() == 0;
        result
    }

    /// Options of EDNS that are told. One that is malformed ends them.
    fn options(&mut self, mut options: Wire<'_>) -> Option<()> {
        while options.left() > 0 {
            let (code, length) = (options.u16()?, options.u16()?);
            let value = options.take(length.into())?;
            let mut value = Wire::new(value, 0, value.len());
            match code {
                8 => self.client_subnet = Some(subnet(&mut value)?),
                15 if self.extended_errors.len() < MAX_ERRORS => {
                    let error = names::extended_error(value.u16()?, value.rest());
                    self.extended_errors.push(error);
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// `ADDRESS/BITS`, by the bits that the asker gave.
fn subnet(value: &mut Wire<'_>) -> Option<String> {
    let (family, bits, _scope) = (value.u16()?, value.u8()?, value.u8()?);
    let address: IpAddr = match family {
        1 if bits <= 32 => data::filled::<4>(value.rest())?.into(),
        2 if bits <= 128 => data::filled::<16>(value.rest())?.into(),
        _ => return None,
    };
    Some(format!("{address}/{bits}"))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*word))
}

fn question(wire: &mut Wire<'_>) -> Option<Question> {
    Some(Question {
        name: text(&wire.name()?),
        kind: wire.u16()?,
        class: wire.u16()?,
    })
}

/// The parts of a record.
struct Record<'a> {
    /// From its name on.
    whole: Wire<'a>,
    kind: u16,
    class: u16,
    ttl: u32,
    data: Wire<'a>,
}

impl<'a> Record<'a> {
    fn read(wire: &mut Wire<'a>) -> Option<Self> {
        let whole = *wire;
        wire.skip_name()?;
        let (kind, class, ttl) = (wire.u16()?, wire.u16()?, wire.u32()?);
        let length = usize::from(wire.u16()?);
        let data = wire.part(length)?;
        Some(Self {
            whole,
            kind,
            class,
            ttl,
            data,
        })
    }

    fn answer(mut self) -> Option<Answer> {
        Some(Answer {
            name: text(&self.whole.name()?),
            kind: self.kind,
            class: self.class,
            ttl: self.ttl,
            data: data::written(self.kind, self.class, self.data),
            ip: data::address(self.kind, self.class, self.data),
        })
    }
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
