//! What the receiver of a segment makes of its numbers (RFC 9293, 3.10.7; RFC 5961): whether it takes the segment, as far as
//! that can be told from beside.
//!
//! A capture sees less than a receiver: packets may be missing from it, and the beginning of the connection too. So a side's
//! numbers may lie anywhere between what the receiver has acknowledged and one window beyond the last that was seen. What
//! lies there is taken; what lies elsewhere no receiver takes, unless the capture has missed more than a window.

use crate::{options::Options, packet::Segment};
use weir_protocols::Side;

/// No window is larger (RFC 7323, 2.3).
const LARGEST: i64 = 1 << 30;
/// A segment may lie this many bytes behind, at least, whatever the window is.
const BEHIND: i64 = 1 << 16;
/// The largest shift of a window (RFC 7323, 2.3).
const MOST_SHIFT: u8 = 14;

/// By what a side's windows are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shift {
    /// The SYN that says so was not seen, or not whole.
    #[default]
    Unseen,
    /// Nothing: its SYN has no such option.
    None,
    By(u8),
}

/// How far one side has got with sending.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// The number of its SYN, and the bytes that came with it.
    syn: Option<(u32, u32)>,
    /// The number of the first byte that anybody spoke of.
    first: Option<u32>,
    /// What follows the last that it was seen to send. SYN and FIN count.
    sent: Option<u32>,
    /// What the other side expects next, by its last word.
    expected: Option<u32>,
    /// The most that the other side was ready to take at once, as far as that is known.
    window: Option<u32>,
    /// It was seen to end.
    fin: bool,
    /// By what the windows are scaled that it announces.
    shift: Shift,
}

/// Both sides of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Receivers {
    client: Reach,
    server: Reach,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Taken,
    /// An old one: its bytes were seen or acknowledged long ago, and what it acknowledges is no news.
    Old,
    /// No receiver takes it, unless much was missed before it.
    Refused,
}

/// What becomes of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetJudgement {
    Taken,
    /// In the window, behind bytes that were not seen: either these were missed, or the receiver doubts it and asks.
    Doubted,
    Refused,
}

/// How far `a` is ahead of `b`.
pub(crate) fn ahead(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b).cast_signed())
}

fn later(a: u32, b: Option<u32>) -> u32 {
    b.filter(|b| ahead(*b, a) > 0).unwrap_or(a)
}

impl Reach {
    /// What follows the last that anybody spoke of.
    fn front(&self) -> Option<u32> {
        match self.expected {
            Some(expected) => Some(later(expected, self.sent)),
            None => self.sent,
        }
    }

    fn window(&self) -> i64 {
        self.window.map_or(LARGEST, i64::from)
    }

    /// True if this number is that of the first byte, or of one that came with the SYN.
    fn answers_syn(&self, number: u32) -> Option<bool> {
        let (syn, len) = self.syn?;
        Some(number.wrapping_sub(syn.wrapping_add(1)) <= len)
    }

    /// How far ahead of what is known of this side this acknowledgement is, beyond what a window allows.
    fn is_beyond(&self, acknowledged: u32) -> bool {
        // Of a side that was never seen nothing is known but this.
        self.sent.is_some()
            && self
                .front()
                .is_some_and(|front| ahead(acknowledged, front) > self.window())
    }
}

/// Bytes of a segment, its FIN counted.
fn length(segment: &Segment<'_>) -> u32 {
    u32::try_from(segment.payload.len)
        .unwrap_or(u32::MAX)
        .wrapping_add(u32::from(segment.fin))
}

/// The number behind a segment.
pub(crate) fn behind(segment: &Segment<'_>) -> u32 {
    let syn = u32::from(segment.syn);
    segment.sequence.wrapping_add(syn).wrapping_add(length(segment))
}

impl Receivers {
    fn of(&self, side: Side) -> (&Reach, &Reach) {
        match side {
            Side::Client => (&self.client, &self.server),
            Side::Server => (&self.server, &self.client),
        }
    }

    /// The number of this side's SYN.
    pub fn syn(&self, side: Side) -> Option<u32> {
        self.of(side).0.syn.map(|(sequence, _)| sequence)
    }

    /// The largest window that was announced to this side.
    pub fn window(&self, side: Side) -> i64 {
        self.of(side).0.window()
    }

    /// True if this number of `side` is one that the connection has come to.
    pub fn has_reached(&self, side: Side, number: u32) -> bool {
        let own = self.of(side).0;
        let first = own.expected.or(own.first).or(own.sent);
        let Some((first, front)) = first.zip(own.front()) else {
            return false;
        };
        ahead(number, first) >= 0 && ahead(number, front) <= 0
    }

    /// True if `side` goes on with this segment where it was: with new bytes, or such as were missed before.
    pub fn is_next(&self, side: Side, segment: &Segment<'_>) -> bool {
        let sent = self.of(side).0.sent;
        segment.payload.len > 0
            && self.judge(side, segment) == Judgement::Taken
            && sent.is_some_and(|sent| ahead(behind(segment), sent) > 0)
    }

    /// Something of this side was seen.
    pub fn is_seen(&self, side: Side) -> bool {
        self.of(side).0.sent.is_some()
    }

    /// True if this answers the SYN of `side`.
    pub fn is_syn_answered(&self, side: Side, acknowledged: u32) -> bool {
        self.of(side).0.answers_syn(acknowledged) == Some(true)
    }

    /// What the other side has said last that it expects of this one.
    pub fn expected(&self, side: Side) -> Option<u32> {
        self.of(side).0.expected
    }

    /// What becomes of a segment of `side` that is no reset and no SYN of another connection.
    pub fn judge(&self, side: Side, segment: &Segment<'_>) -> Judgement {
        let (own, other) = self.of(side);
        if !segment.syn
            && own.sent.is_some()
            && let Some(front) = own.front()
        {
            let place = ahead(segment.sequence, front);
            if place > own.window() {
                return Judgement::Refused;
            }
            let end = place + i64::from(length(segment));
            if end < -own.window().max(BEHIND) {
                return match end < -LARGEST {
                    true => Judgement::Refused,
                    false => Judgement::Old,
                };
            }
        }
        match segment.acknowledged {
            Some(next) if other.is_beyond(next) => Judgement::Refused,
            _ => Judgement::Taken,
        }
    }

    /// What becomes of a reset of `side`.
    pub fn judge_reset(&self, side: Side, segment: &Segment<'_>) -> ResetJudgement {
        let (own, other) = self.of(side);
        let taken = |is_taken: bool| match is_taken {
            true => ResetJudgement::Taken,
            false => ResetJudgement::Refused,
        };
        let Some(front) = own.front() else {
            // The other side has only asked: an answer names its SYN (RFC 9293, 3.10.7.3).
            let named = segment.acknowledged.map(|next| other.answers_syn(next));
            return taken(named.is_some_and(|named| named.unwrap_or(true)));
        };
        let first = match own.expected {
            // Some have gone back before their end.
            Some(expected) => expected.wrapping_sub(u32::from(own.fin)),
            None => front.wrapping_sub(BEHIND as u32),
        };
        let place = ahead(segment.sequence, front);
        if place <= 0 {
            return taken(ahead(segment.sequence, first) >= 0);
        }
        match place <= own.window() {
            true => ResetJudgement::Doubted,
            false => ResetJudgement::Refused,
        }
    }

    /// True if this SYN of `side`, or answer to one, is this connection's own.
    pub fn owns(&self, side: Side, segment: &Segment<'_>) -> bool {
        let (own, other) = self.of(side);
        if let Some((syn, _)) = own.syn {
            return syn == segment.sequence;
        }
        let begin = segment.sequence.wrapping_add(1);
        let begins = own
            .first
            .is_none_or(|first| first.wrapping_sub(begin) <= segment.payload.len as u32);
        let answers = segment
            .acknowledged
            .and_then(|next| other.answers_syn(next))
            .unwrap_or(true);
        begins && answers
    }

    /// A segment of `side` is taken; `anyway` if it was refused before and has turned out to be right.
    pub fn take(&mut self, side: Side, segment: &Segment<'_>, anyway: bool) {
        let (own, other) = match side {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        };
        if segment.rst {
            return;
        }
        let end = behind(segment);
        if anyway {
            (own.sent, own.expected) = (Some(end), None);
        }
        if segment.syn {
            let len = own.syn.map_or(0, |(_, len)| len).max(segment.payload.len as u32);
            own.syn = Some((segment.sequence, len));
            own.first = Some(segment.sequence.wrapping_add(1));
            own.shift = shift(segment);
        }
        own.first.get_or_insert(segment.sequence);
        own.sent = Some(later(end, own.sent));
        own.fin |= segment.fin;
        let by = match (segment.syn, own.shift, other.shift) {
            (true, ..) | (_, Shift::None, _) | (_, _, Shift::None) => 0,
            (_, Shift::By(by), _) => by.min(MOST_SHIFT),
            (_, Shift::Unseen, _) => MOST_SHIFT,
        };
        let window = (u32::from(segment.window) << by).min(LARGEST as u32);
        other.window = other.window.max(Some(window));
        if let Some(next) = segment.acknowledged {
            other.first.get_or_insert(next);
            // One lower than before takes that back, if nobody has seen what it acknowledged.
            let is_news = other.expected.is_none_or(|expected| {
                ahead(next, expected) > 0 || other.sent.is_some_and(|sent| ahead(expected, sent) > 0)
            });
            if is_news || anyway {
                other.expected = Some(next);
            }
        }
    }

    /// The server's stream begins behind another SYN than was taken for its own.
    pub fn begin_again(&mut self, side: Side) {
        let own = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        *own = Reach {
            window: own.window,
            ..Reach::default()
        };
    }

    /// Client and server change their places.
    pub fn swap(&mut self) {
        std::mem::swap(&mut self.client, &mut self.server);
    }
}

/// What a SYN says of windows' scale.
fn shift(segment: &Segment<'_>) -> Shift {
    if segment.options.len() + 20 < segment.header {
        return Shift::Unseen; // they were not captured
    }
    Options::read(segment.options)
        .shift
        .map_or(Shift::None, Shift::By)
}

#[cfg(test)]
mod tests;
