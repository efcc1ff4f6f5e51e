//! XMPP: the elements `starttls` and `proceed` at the beginning of a stream (RFC 6120, 5).

use super::{Answer, Asked, Kind, Message, Talk};
use crate::Side;
use crate::detect::Verdict;
use memchr::memchr;
use weir_records::Preface;

pub(super) const KIND: Kind = Kind {
    first: Side::Client,
    begins: |bytes| {
        BEGINNINGS.iter().fold(Verdict::No, |verdict, beginning| {
            let length = bytes.len().min(beginning.len());
            match bytes[..length] == beginning[..length] {
                true if length == beginning.len() => Verdict::Yes,
                true if verdict == Verdict::No => Verdict::More,
                _ => verdict,
            }
        })
    },
    talk: |_| Box::new(Xmpp),
};

const BEGINNINGS: &[&[u8]] = &[b"<?xml ", b"<stream:stream "];

#[derive(Debug)]
struct Xmpp;

/// The tag is the whole of this element, or its end.
fn ends(tag: &[u8], name: &str) -> bool {
    let (closes, tag) = match tag.strip_prefix(b"</") {
        Some(tag) => (true, tag),
        None => (tag.ends_with(b"/>"), tag.strip_prefix(b"<").unwrap_or_default()),
    };
    let rest = tag.strip_prefix(name.as_bytes()).and_then(<[u8]>::first);
    closes && rest.is_some_and(|next| matches!(next, b'/' | b'>') || next.is_ascii_whitespace())
}

impl Talk for Xmpp {
    /// A tag, with what stands before it.
    fn message(&self, _: Side, bytes: &[u8]) -> Message {
        memchr(b'>', bytes).map_or(Message::More, |end| Message::Whole(end + 1))
    }

    fn client(&mut self, tag: &[u8]) -> Asked {
        let tag = tag.trim_ascii();
        let before = BEGINNINGS.iter().any(|beginning| tag.starts_with(beginning));
        match before || tag.starts_with(b"<starttls") {
            _ if ends(tag, "starttls") => Asked::Tls,
            true => Asked::Something,
            false => Asked::Other,
        }
    }

    fn server(&mut self, tag: &[u8]) -> Answer {
        let tag = tag.trim_ascii();
        match ends(tag, "proceed") {
            true => Answer::Agreed,
            false if ends(tag, "failure") => Answer::Other,
            false => Answer::Something,
        }
    }

    fn preface(&self) -> Preface {
        Preface::StartTlsXmpp
    }
}
