//! Which response answers which request, where that is not certain: behind framing that was lost, and where too many wait.

use super::connection::{Connection, Out, State};
use super::exchange::{Exchange, Method};
use super::search::Found;
use crate::Side;
use weir_records::Timestamp;

/// Heads of waiting requests that are kept, in multiples of the longest.
const STORED_HEADS: usize = 16;
/// Requests that have come out before their answers, and whose answers are still told from others.
const ASIDE: usize = 16 << 10;

impl Connection {
    /// So many bytes of heads wait that no further request is taken.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= self.limits.max_pending || self.stored > STORED_HEADS * self.limits.max_head
    }

    /// The oldest requests come out without their answers, until there is room for another. A response that is under way
    /// goes on.
    pub fn make_room(&mut self, out: Out) {
        let waiting = self.pending.len().to_string();
        while self.is_full()
            && let Some(mut oldest) = self.pending.pop_front()
        {
            if oldest.response.is_some() && self.orphan.is_none() {
                self.stored = self.stored.saturating_sub(oldest.stored());
                self.kept = self.kept.saturating_sub(oldest.kept());
                self.orphan = Some(oldest);
                continue;
            }
            if self.aside.len() == ASIDE {
                self.aside.pop_front();
                self.uncertain = true;
            }
            self.aside.push_back(oldest.method == Method::Head);
            oldest.note("too_many_pending", &waiting);
            self.emit(oldest, out);
        }
    }

    /// Looks for a head in a stream whose framing was lost, and tells how many bytes are done with.
    pub fn search(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: Out) -> usize {
        let State::Search(search) = &mut self.stream(side).state else {
            return 0;
        };
        let Some(found) = search.feed(side, at, bytes) else {
            self.searched |= side == Side::Server;
            return bytes.len();
        };
        let Found {
            part,
            at: began,
            from,
            passed,
            behind,
        } = found;
        self.stream(side).state = State::Head;
        match side {
            Side::Client => self.passed = Some(passed),
            Side::Server => self.passed_server = Some((passed, behind)),
        }
        self.feed(side, began, &part, out);
        from
    }

    /// Notes what was passed over before a message that was found again.
    pub fn note_passed(exchange: &mut Exchange, side: Side, passed: u64) {
        exchange.note(
            "resynchronised",
            &format!("{passed} bytes of the {} were passed over", side.name()),
        );
    }

    /// Says of a request what is not certain about it, behind a place where framing was lost.
    pub fn doubt_pairing(&mut self, exchange: &mut Exchange, out: Out) {
        let idle = self.pending.is_empty() && self.orphan.is_none() && self.aside.is_empty();
        let between = matches!(self.server.state, State::Head) && self.server.started.is_none();
        // The server has said something since, though nobody knows what: most likely what waits is answered.
        let unheard = matches!(self.server.state, State::Search(_)) && self.searched;
        // Whoever goes on after an answer does not take for requests what was found on the way.
        let unasked = self.passed.is_none()
            && between
            && self.answered_since
            && self.pending.iter().all(|waiting| waiting.found);
        if unheard || unasked {
            while !self.pending.is_empty() {
                self.emit_front(out);
            }
        }
        if idle && between {
            self.uncertain = false;
        }
        if let Some(passed) = self.passed.take()
            && (passed > 0 || self.uncertain)
        {
            Self::note_passed(exchange, Side::Client, passed);
            exchange.found = true;
            self.answered_since = false;
            self.uncertain = true;
        }
        self.searched = false;
        if self.uncertain {
            exchange.note("pairing_uncertain", "");
        }
    }

    /// No server welcomes what it does not understand: such a response answers the next request, if there is one.
    pub fn pass_misunderstood(&mut self, out: Out) {
        while self.pending.len() > 1
            && self.orphan.is_none()
            && self.pending[0].request.is_none()
            && self.pending[0].response.is_none()
        {
            self.emit_front(out);
        }
    }
}
