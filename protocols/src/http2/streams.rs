//! The streams of a connection: how they are opened, what is said of frames outside of them, and how their exchanges come
//! out.

use super::FINISHED;
use super::connection::{Connection, Out};
use super::exchange::{Exchange, Failure};
use super::tunnels;
use crate::fate::Fate;
use crate::http1::note;
use crate::{Exchange as Any, Side};

impl Connection {
    /// The exchange on a stream; `None` if there is nothing more to say of it.
    pub fn stream(&mut self, id: u32, side: Side, opens: bool, out: Out) -> Option<&mut Exchange> {
        if id == 0 {
            return None;
        }
        if !self.streams.contains_key(&id) {
            let from_server = id.is_multiple_of(2);
            let highest = &mut self.highest[usize::from(from_server)];
            let opener = if from_server { Side::Server } else { Side::Client };
            let is_new = id > *highest && opens && side == opener;
            let is_finished = || self.finished.iter().any(|(finished, _)| *finished == id);
            // A client that numbers its streams wrongly asks for something all the same, and may be answered.
            let is_wrong = !is_new && self.exact && opens && side == Side::Client && !is_finished();
            if !is_new && !is_wrong && (self.exact || is_finished()) {
                return None;
            }
            if !is_wrong {
                *highest = id.max(*highest);
            }
            if self.streams.len() >= self.limits.max_pending.max(1)
                && let Some((oldest, mut exchange)) = self.streams.pop_first()
            {
                exchange.note("too_many_pending", &self.limits.max_pending.to_string());
                exchange.failure = Some(Failure::Abandoned);
                self.emit(oldest, exchange, out);
            }
            let mut exchange = Exchange {
                sequence: self.sequence,
                stream: id,
                late: self.late,
                pushed: from_server && !is_wrong,
                anomalies: std::mem::take(&mut self.anomalies),
                ..Exchange::default()
            };
            self.sequence += 1;
            if is_wrong && from_server {
                exchange.note("stream_id_even", &id.to_string());
            } else if is_wrong {
                exchange.note("stream_id_not_increasing", &id.to_string());
            }
            self.streams.insert(id, Box::new(exchange));
        }
        self.streams.get_mut(&id).map(|exchange| &mut **exchange)
    }

    /// Notes a frame of a stream that is not open, where its side may not send it. (What comes after the other side has
    /// reset the stream may have been on its way.)
    pub fn note_stray(&mut self, id: u32, side: Side, kind: &str) {
        let by_server = usize::from(side == Side::Server);
        let finished = self.finished.iter().find(|(finished, _)| *finished == id);
        let seen = format!("{kind} of the {} on stream {id}", side.name());
        match finished {
            Some((_, ended)) if ended[by_server] => {
                note(&mut self.anomalies, "frame_on_closed_stream", &seen);
            }
            None if self.exact && id > self.highest[usize::from(id.is_multiple_of(2))] => {
                note(&mut self.anomalies, "frame_on_idle_stream", &seen);
            }
            _ => {}
        }
    }

    /// Reckons anew what the exchange on a stream stores.
    pub fn reckon(&mut self, id: u32) {
        if let Some(exchange) = self.streams.get_mut(&id) {
            reckon(&mut self.stored, exchange);
        }
    }

    /// The exchange comes out if it is over.
    pub fn settle(&mut self, id: u32, out: Out) {
        if self.streams.get(&id).is_some_and(|exchange| exchange.is_done())
            && let Some(exchange) = self.streams.remove(&id)
        {
            self.emit(id, exchange, out);
        }
    }

    pub(super) fn emit(&mut self, id: u32, mut exchange: Box<Exchange>, out: Out) {
        if exchange.failure.is_some() && !exchange.is_answered() {
            exchange.fate = Fate::Ended(self.now);
        }
        self.stored = self.stored.saturating_sub(exchange.reckoned);
        self.kept = self.kept.saturating_sub(exchange.kept());
        if self.finished.len() >= FINISHED {
            self.finished.pop_front();
        }
        let ended = |side| exchange.message(side).is_some_and(|message| message.whole);
        self.finished
            .push_back((id, [ended(Side::Client), ended(Side::Server)]));
        // A promise of which nothing came, or a stream of which only its end was seen, is no exchange.
        if exchange.request.is_some() || exchange.response.is_some() {
            let how = tunnels::end(&exchange);
            out(Any::Http2(exchange));
            self.tunnels.close(id, self.now, how, out);
        }
    }

    /// These exchanges come out as they are.
    pub(super) fn fail(
        &mut self,
        which: impl Fn(&Exchange) -> bool,
        how: impl Fn(&Exchange) -> Option<Failure>,
        out: Out,
    ) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            if self.streams.get(&id).is_some_and(|exchange| which(exchange))
                && let Some(mut exchange) = self.streams.remove(&id)
            {
                exchange.failure = how(&exchange);
                if let Some(code) = self.error {
                    exchange.note("goaway", &super::names::error(code));
                }
                self.emit(id, exchange, out);
            }
        }
    }

    pub(super) fn reset(&mut self, side: Side, id: u32, code: u32, out: Out) {
        let Some(mut exchange) = self.streams.remove(&id) else {
            return;
        };
        // After a whole response it says that the rest of the request is not wanted. A stream whose request has ended is
        // only reset while its response has not.
        let asked = exchange
            .message(Side::Client)
            .is_some_and(|request| request.whole);
        let unanswered = !exchange.is_answered();
        if unanswered && (asked || !exchange.may_be_answered()) {
            exchange.failure = Some(Failure::Stream(side, code));
        } else if unanswered {
            let seen = format!("by the {}: {}", side.name(), super::names::error(code));
            exchange.note("stream_reset", &seen);
        }
        self.emit(id, exchange, out);
    }

    /// Streams of the other side beyond the last one were not looked at.
    pub(super) fn go_away(&mut self, side: Side, last: u32, code: u32, out: Out) {
        if side == Side::Server {
            let unseen = |exchange: &Exchange| {
                exchange.stream > last && !exchange.pushed && exchange.response.is_none()
            };
            self.fail(unseen, |_| Some(Failure::GoAway(code)), out);
        }
        self.error = (code != 0).then_some(code).or(self.error);
    }
}

/// Reckons anew what an exchange stores, as part of what its connection does.
pub(super) fn reckon(stored: &mut usize, exchange: &mut Exchange) {
    let now = exchange.stored();
    *stored = (*stored + now).saturating_sub(exchange.reckoned);
    exchange.reckoned = now;
}
