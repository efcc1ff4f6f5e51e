//! Requests that wait for their answers: told once, while they wait.

use super::connection::{Connection, Out, State};
use super::exchange::Exchange;
use crate::Exchange as Any;
use crate::fate::Fate;
use weir_records::Timestamp;

impl Connection {
    /// It is now this late: what has waited for too long is told.
    pub(super) fn tell_waiting(&mut self, now: Timestamp, out: Out) {
        let Some(patience) = self.limits.patience().filter(|_| self.sees_answers()) else {
            return;
        };
        let begun = self.server.started.is_some();
        for (place, exchange) in self.pending.iter_mut().enumerate() {
            if let Some(asked) = asked(exchange).filter(|_| place > 0 || !begun)
                && let Some(until) = exchange.fate.overdue(asked, patience, now)
            {
                exchange.fate = Fate::Told;
                let mut copy = exchange.clone();
                copy.fate = Fate::Waiting(until);
                out(Any::Http1(copy));
            }
        }
    }

    /// A request waits whose waiting is still to be told.
    pub(super) fn may_tell_waiting(&self) -> bool {
        let untold = |exchange: &Exchange| exchange.fate == Fate::Open && asked(exchange).is_some();
        let wanted = self.limits.hung_after.is_some() && self.sees_answers();
        wanted && self.pending.iter().any(|exchange| untold(exchange))
    }

    /// No answer can have come without being seen.
    fn sees_answers(&self) -> bool {
        matches!(self.server.state, State::Head | State::Body(_))
    }
}

/// When the last byte of a whole request came that has no answer.
fn asked(exchange: &Exchange) -> Option<Timestamp> {
    let request = exchange.request.as_ref().filter(|request| request.whole)?;
    exchange.response.is_none().then_some(request.last)
}
