//! LDAP: the extended operation StartTLS (RFC 4511, 4.14), mostly the first of a connection.

use super::{Answer, Asked, Kind, Message, Talk, sized};
use crate::Side;
use crate::detect::Verdict;
use weir_records::Preface;

pub(super) const KIND: Kind = Kind {
    first: Side::Client,
    begins,
    talk: |_| Box::new(Ldap { id: Vec::new() }),
};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
/// Operations.
const SEARCH: u8 = 0x63;
const ABANDON: u8 = 0x50;
const EXTENDED: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
/// The name of an extended operation.
const NAME: u8 = 0x80;
const STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// Longest type and length of a value.
const LONGEST_HEADER: usize = 6;

/// A message with a number, and an operation that may come before TLS.
fn begins(bytes: &[u8]) -> Verdict {
    let Some((SEQUENCE, start, _)) = header(bytes) else {
        let may_begin = bytes.first().is_none_or(|kind| *kind == SEQUENCE);
        return match may_begin && bytes.len() < LONGEST_HEADER {
            true => Verdict::More,
            false => Verdict::No,
        };
    };
    match &bytes[start..] {
        [] | [INTEGER] => Verdict::More,
        [INTEGER, size @ 1..=4, rest @ ..] => match rest.get(usize::from(*size)) {
            None => Verdict::More,
            Some(&(SEARCH | EXTENDED)) => Verdict::Yes,
            Some(_) => Verdict::No,
        },
        _ => Verdict::No,
    }
}

#[derive(Debug)]
struct Ldap {
    /// Number of the message that asked for TLS.
    id: Vec<u8>,
}

/// A value with its type and length before it (BER): its type, where it begins, and its length.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (kind, first) = (*bytes.first()?, *bytes.get(1)?);
    if first < 0x80 {
        return Some((kind, 2, first.into()));
    }
    let count = usize::from(first & 0x7f);
    let digits = bytes.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
    let length = digits
        .iter()
        .fold(0_u32, |length, digit| length << 8 | u32::from(*digit));
    Some((kind, 2 + count, usize::try_from(length).ok()?))
}

/// The first value, and what follows it. Of a value that is not whole, what there is.
fn value<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (kind, start, length) = header(bytes)?;
    let end = start.saturating_add(length).min(bytes.len());
    let content = &bytes[start..end];
    *bytes = &bytes[end..];
    Some((kind, content))
}

/// Length of a whole message.
fn length(bytes: &[u8]) -> Option<usize> {
    let (kind, start, length) = header(bytes)?;
    (kind == SEQUENCE).then(|| start.saturating_add(length))
}

/// A message's number, and what is asked or answered in it.
fn operation(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (_, start, _) = header(bytes)?;
    let mut content = &bytes[start..];
    let (INTEGER, id) = value(&mut content)? else {
        return None;
    };
    let (kind, content) = value(&mut content)?;
    Some((id, kind, content))
}

impl Talk for Ldap {
    fn message(&self, _: Side, bytes: &[u8]) -> Message {
        match length(bytes) {
            None if bytes[0] != SEQUENCE => Message::Other,
            length => sized(bytes, length),
        }
    }

    fn client(&mut self, message: &[u8]) -> Asked {
        match operation(message) {
            Some((id, EXTENDED, content)) if value(&mut &*content) == Some((NAME, STARTTLS)) => {
                self.id = id.to_vec();
                Asked::Tls
            }
            Some((_, SEARCH | ABANDON, _)) => Asked::Something,
            _ => Asked::Other,
        }
    }

    fn server(&mut self, message: &[u8]) -> Answer {
        match operation(message) {
            Some((id, EXTENDED_RESPONSE, mut content)) if id == self.id => match value(&mut content) {
                Some((ENUMERATED, [0])) => Answer::Agreed,
                _ => Answer::Refused,
            },
            _ => Answer::Something,
        }
    }

    fn preface(&self) -> Preface {
        Preface::StartTlsLdap
    }
}
