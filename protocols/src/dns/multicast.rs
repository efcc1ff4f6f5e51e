//! Names that hosts of a link tell each other: multicast DNS (RFC 6762) and LLMNR (RFC 4795).
//!
//! A query to a group has no one answer: many may answer, to the group or to the asker, or nobody has to. So nothing is paired,
//! each message is told alone, and a query without an answer is no failure.

use super::exchange::{Exchange, Seen, Transport};
use super::message::{Kind, Message};
use crate::detect::Dissector;
use crate::fate::Fate;
use crate::{Close, Exchange as Any, Side};
use weir_records::Timestamp;

/// Who sent a message that belongs to no other, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alone {
    pub sender: Side,
    pub naming: Naming,
}

/// How hosts of a link name each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// Multicast DNS.
    Multicast,
    /// Link-local multicast name resolution.
    LinkLocal,
}

impl Naming {
    /// The protocol's name in documents.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Multicast => "mdns",
            Self::LinkLocal => "llmnr",
        }
    }

    /// What of a class is the class: multicast DNS has a bit beside it, that an answer may come to the asker alone, or that it
    /// takes the place of earlier ones.
    pub(super) fn class(self, class: u16) -> u16 {
        match self {
            Self::Multicast => class & 0x7fff,
            Self::LinkLocal => class,
        }
    }

    /// A flag's name: LLMNR has others at two places (conflict, tentative).
    pub(super) fn flag(self, name: &'static str) -> &'static str {
        match (self, name) {
            (Self::LinkLocal, "AA") => "C",
            (Self::LinkLocal, "RD") => "T",
            (_, name) => name,
        }
    }
}

/// The decoder of messages that are told alone.
#[derive(Debug)]
struct Messages {
    naming: Naming,
    sequence: u64,
}

/// Makes the decoder.
pub(crate) fn open(naming: Naming) -> Box<dyn Dissector> {
    Box::new(Messages { naming, sequence: 0 })
}

impl Messages {
    fn message(&mut self, sender: Side, at: Timestamp, bytes: &[u8]) -> Option<Exchange> {
        let mut message = Message::read(bytes)?;
        let sequence = self.sequence;
        self.sequence += 1;
        let kind = message.header.kind();
        if kind == Kind::Query {
            message.answers = Vec::new(); // what the asker knows already
        }
        let seen = Some(Seen {
            first: at,
            last: at,
            message,
        });
        let (query, response) = match kind {
            Kind::Query => (seen, None),
            Kind::Response => (None, seen),
        };
        let mut exchange = Exchange {
            transport: Transport::Udp,
            sequence,
            late: false,
            query,
            response,
            repeats: 0,
            copies: 0,
            failure: None,
            again: false,
            doubt: None,
            fate: Fate::default(),
            anomalies: Vec::new(),
            alone: Some(Alone {
                sender,
                naming: self.naming,
            }),
        };
        let what = if kind == Kind::Query { "query" } else { "response" };
        exchange.note_oddities(what, false);
        Some(exchange)
    }
}

impl Dissector for Messages {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Any)) {
        if let Some(exchange) = self.message(side, at, bytes) {
            out(exchange.into());
        }
    }

    fn gap(&mut self, _: Side, _: Timestamp, _: Option<u64>, _: &mut dyn FnMut(Any)) {}

    fn end(&mut self, _: Side, _: Timestamp, _: &mut dyn FnMut(Any)) {}

    fn tick(&mut self, _: Timestamp, _: &mut dyn FnMut(Any)) {}

    fn close(&mut self, _: Timestamp, _: Close, _: &mut dyn FnMut(Any)) {}

    fn held(&self) -> usize {
        size_of::<Self>()
    }

    fn is_opaque(&self) -> bool {
        false
    }
}
