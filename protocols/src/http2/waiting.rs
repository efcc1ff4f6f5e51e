//! Requests that wait for their answers: told once, while they wait.

use super::connection::{Connection, Out};
use super::exchange::Exchange;
use crate::Exchange as Any;
use crate::fate::Fate;
use weir_records::Timestamp;

impl Connection {
    /// It is now this late: what has waited for too long is told.
    pub(super) fn tell_waiting(&mut self, now: Timestamp, out: Out) {
        let Some(patience) = self.limits.patience() else {
            return;
        };
        for exchange in self.streams.values_mut() {
            if let Some(asked) = asked(exchange)
                && let Some(until) = exchange.fate.overdue(asked, patience, now)
            {
                exchange.fate = Fate::Told;
                let mut copy = exchange.clone();
                copy.fate = Fate::Waiting(until);
                out(Any::Http2(copy));
            }
        }
    }

    /// A request waits whose waiting is still to be told.
    pub(super) fn may_tell_waiting(&self) -> bool {
        let untold = |exchange: &Exchange| exchange.fate == Fate::Open && asked(exchange).is_some();
        self.limits.hung_after.is_some() && self.streams.values().any(|exchange| untold(exchange))
    }
}

/// When the last byte of a whole request came that has no answer, where none can have come without being seen.
fn asked(exchange: &Exchange) -> Option<Timestamp> {
    let request = exchange.request.as_ref().filter(|request| request.whole)?;
    let is_open = exchange.response.is_none() && !exchange.gap && !exchange.pushed;
    is_open.then_some(request.last)
}
