//! What became of a request that has no whole answer, and when that was known: the same for every protocol.

use crate::Side;
use weir_records::{Document, DocumentId, ExchangeState, Timestamp};

/// What became of an exchange, beside its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing has been said of the exchange, or its answer says all.
    #[default]
    Open,
    /// A document has told that the request waits; the exchange is still under way.
    Told,
    /// A copy of an exchange under way, for the document that tells that its request has waited until then.
    Waiting(Timestamp),
    /// The exchange was cut short, or given up, at this time.
    Ended(Timestamp),
}

/// Why a message may have gone unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Bytes were missed.
    Gap,
    /// Bytes could not be read as messages.
    Unreadable,
}

impl Doubt {
    /// What is said of an exchange whose request or response (`what`) may be among those bytes of this side.
    pub fn note(self, side: Side, what: &str) -> String {
        let side = side.name();
        match self {
            Self::Gap => format!("gap: bytes of the {side} were missed, the {what} may be among them"),
            Self::Unreadable => {
                format!("unreadable: bytes of the {side} could not be read, the {what} may be among them")
            }
        }
    }
}

impl Fate {
    /// When a request whose last byte came at `asked` has waited for too long, if nobody has told so and `now` is later.
    pub fn overdue(self, asked: Timestamp, patience: u64, now: Timestamp) -> Option<Timestamp> {
        let due = Timestamp(asked.0.saturating_add(patience));
        (self == Self::Open && now >= due).then_some(due)
    }

    /// The document tells of an exchange that is still under way.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    /// `event.end`: of an answered exchange, its duration says as much.
    pub fn end(self) -> Option<Timestamp> {
        match self {
            Self::Open | Self::Told => None,
            Self::Waiting(at) | Self::Ended(at) => Some(at),
        }
    }

    /// `event.duration`, from the first byte of the request to the last of the answer, or as long as the request is known to
    /// have waited for one.
    pub fn duration(self, asked: Option<Timestamp>, answered: Option<Timestamp>) -> Option<u64> {
        Some(self.end().or(answered)?.since(asked?))
    }
}

/// Marks the document of an exchange that is still under way: its last document has another identity, which this one names.
pub(crate) fn mark(document: &mut Document, state: ExchangeState) {
    let id = &mut document.event.id;
    document.weir.final_id = Some(*id);
    *id = DocumentId::of(&(*id, "waiting")); // the same of all states: an exchange has one of these documents
    document.weir.state = Some(state);
}

#[cfg(test)]
mod tests {
    use super::Fate;
    use weir_records::Timestamp;

    #[test]
    fn a_request_is_overdue_once_and_from_its_last_byte_on() {
        let asked = Timestamp(5);
        assert_eq!(Fate::Open.overdue(asked, 10, Timestamp(14)), None);
        assert_eq!(Fate::Open.overdue(asked, 10, Timestamp(99)), Some(Timestamp(15)));
        assert_eq!(Fate::Told.overdue(asked, 10, Timestamp(99)), None);
    }

    #[test]
    fn a_duration_needs_a_request_and_an_end() {
        let (asked, answered) = (Some(Timestamp(5)), Some(Timestamp(9)));
        assert_eq!(Fate::Told.duration(asked, answered), Some(4));
        assert_eq!(Fate::Open.duration(asked, None), None);
        assert_eq!(Fate::Ended(Timestamp(30)).duration(asked, answered), Some(25));
        assert_eq!(Fate::Ended(Timestamp(30)).duration(None, answered), None);
    }
}
