//! Round trips, as the side that sends would time them: from a segment to the acknowledgement of it, where both were seen.
//!
//! As Linux does it (`net/ipv4/tcp_input.c`), so that the numbers are those of `ss -ti` where the tap sits beside the sender:
//! one sample for each acknowledgement of something new, from the oldest segment that it acknowledges; none from what was
//! sent again (Karn's algorithm), for which the time stamp that comes back tells which of the two was meant (RFC 7323).

use std::collections::VecDeque;
use weir_records::Timestamp;

/// Most segments on their way that are timed at once; those sent past it are not.
const MOST: usize = 64;

/// Segments that follow each other so soon, in ns, were sent together: by a network card's driver, which cuts them.
const TOGETHER: u64 = 50_000;

/// A segment on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Place of its first byte, and of what follows its last.
    pub from: i64,
    pub to: i64,
    pub at: Timestamp,
    /// The sender's clock in it.
    pub stamp: Option<u32>,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// All before this place has come.
    pub until: i64,
    pub at: Timestamp,
    /// The time stamp that comes back.
    pub echo: Option<u32>,
    /// What has come though others before it have not.
    pub block: Option<(i64, i64)>,
}

/// The smoothed time and its variation (RFC 6298, 2), both in ns.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    /// Eight times the smoothed time; 0 before the first sample.
    smoothed: i64,
    /// Four times the variation.
    variation: i64,
}

impl Estimate {
    fn sample(&mut self, took: u64) {
        let took = i64::try_from(took).unwrap_or(i64::MAX >> 4).min(i64::MAX >> 4);
        if self.smoothed == 0 {
            self.smoothed = (took * 8).max(1);
            self.variation = took * 2;
            return;
        }
        let error = took - self.smoothed / 8;
        self.smoothed = (self.smoothed + error).max(1);
        let change = error.abs() - self.variation / 4;
        // Where it took less than expected, a variation that grows does so eight times slower, as Linux has it.
        self.variation += match error < 0 && change > 0 {
            true => change / 8,
            false => change,
        };
    }
}

/// One side's segments on their way.
#[derive(Debug)]
pub(super) struct RoundTrips {
    /// Sent once, and whether they are known to have come; in their order.
    flights: VecDeque<(Flight, bool)>,
    /// Sent again.
    again: VecDeque<Flight>,
    /// From the first to the last byte of what was sent again, until all of it has come.
    resent: Option<(i64, i64)>,
    /// All before this place has come.
    come: i64,
    estimate: Estimate,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self {
            flights: VecDeque::new(),
            again: VecDeque::new(),
            resent: None,
            come: -1, // the SYN has a place too, before all others
            estimate: Estimate::default(),
        }
    }
}

impl RoundTrips {
    /// Sent for the first time.
    pub fn sent(&mut self, flight: Flight) {
        // What was cut from one piece is timed as one.
        let same = TOGETHER.min(self.smoothed().unwrap_or(0) / 16);
        if let Some((last, false)) = self.flights.back_mut()
            && last.to == flight.from
            && last.stamp == flight.stamp
            && flight.at.since(last.at) < same
        {
            last.to = flight.to;
        } else if self.flights.len() < MOST {
            self.flights.push_back((flight, false));
        }
    }

    /// Sent again, or such that nobody knows which time this was.
    pub fn resent(&mut self, flight: Flight) {
        if flight.to <= self.come {
            return; // it was on its way when it was sent again, and no acknowledgement will tell
        }
        if self.again.len() == MOST {
            self.again.pop_front();
        }
        self.again.push_back(flight);
        self.resent = Some(match self.resent {
            Some((from, to)) => (from.min(flight.from), to.max(flight.to)),
            None => (flight.from, flight.to),
        });
    }

    /// Something has come.
    pub fn answered(&mut self, answer: &Answer) {
        let block = answer.block.and_then(|block| self.block(block));
        let advance = match answer.until > self.come {
            true => self.advance(answer),
            false => None,
        };
        // (An answer may have been captured before what it answers.)
        if let Some(sent) = advance.or(block).filter(|sent| *sent <= answer.at) {
            self.estimate.sample(answer.at.since(sent));
        }
    }

    /// Marks what has come out of its order; when the first of it was sent.
    fn block(&mut self, (from, to): (i64, i64)) -> Option<Timestamp> {
        let again = &self.again;
        let mut first = None;
        for (flight, come) in &mut self.flights {
            if *come || flight.from < from || flight.to > to {
                continue;
            }
            *come = true;
            let is_again = again
                .iter()
                .any(|other| other.from < flight.to && other.to > flight.from);
            if !is_again {
                first = first.or(Some(flight.at));
            }
        }
        first
    }

    /// All before a place has come; when what has come now was sent, if that is known.
    fn advance(&mut self, answer: &Answer) -> Option<Timestamp> {
        let until = answer.until;
        let is_again = self
            .resent
            .is_some_and(|(from, to)| from < until && to > self.come);
        let echoed = match is_again {
            true => answer.echo.and_then(|echo| self.stamped(echo)),
            false => None,
        };
        self.come = until;
        let mut first = None;
        while let Some((flight, come)) = self.flights.front_mut()
            && flight.from < until
        {
            if !*come {
                first = first.or(Some(flight.at));
            }
            if flight.to > until {
                flight.from = until;
                break;
            }
            self.flights.pop_front();
        }
        if is_again {
            self.again.retain(|flight| flight.to > until);
            self.resent = self.resent.filter(|(_, to)| *to > until);
            return echoed;
        }
        first
    }

    /// When the first segment with this time stamp was sent.
    fn stamped(&self, stamp: u32) -> Option<Timestamp> {
        let flights = self.flights.iter().map(|(flight, _)| flight);
        let all = flights.chain(&self.again);
        all.filter(|flight| flight.stamp == Some(stamp))
            .map(|flight| flight.at)
            .min()
    }

    /// Nothing is known any more of what is on its way.
    pub fn forget(&mut self, come: i64) {
        self.flights.clear();
        self.again.clear();
        (self.resent, self.come) = (None, come);
    }

    /// Smoothed, in ns.
    pub fn smoothed(&self) -> Option<u64> {
        match self.estimate.smoothed {
            0 => None,
            smoothed => Some(smoothed.unsigned_abs() / 8),
        }
    }

    /// Its variation, in ns.
    pub fn variation(&self) -> Option<u64> {
        self.smoothed()?;
        Some(self.estimate.variation.unsigned_abs() / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn flight(from: i64, to: i64, ms: u64) -> Flight {
        Flight {
            from,
            to,
            at: Timestamp(ms * MS),
            stamp: Some(ms as u32),
        }
    }

    fn answer(until: i64, ms: u64) -> Answer {
        Answer {
            until,
            at: Timestamp(ms * MS),
            echo: None,
            block: None,
        }
    }

    #[test]
    fn a_sample_is_from_the_oldest_segment_that_is_acknowledged() {
        let mut trips = RoundTrips::default();
        assert_eq!((trips.smoothed(), trips.variation()), (None, None));
        trips.sent(flight(0, 10, 0));
        trips.sent(flight(10, 20, 5));
        trips.answered(&answer(20, 40));
        assert_eq!(
            (trips.smoothed(), trips.variation()),
            (Some(40 * MS), Some(20 * MS))
        );
        // Nothing new: no sample.
        trips.answered(&answer(20, 900));
        trips.sent(flight(20, 30, 1000));
        trips.answered(&answer(30, 1048));
        assert_eq!(
            (trips.smoothed(), trips.variation()),
            (Some(41 * MS), Some(17 * MS))
        );
        // Less than expected by far: the variation grows slowly.
        trips.sent(flight(30, 40, 2000));
        trips.answered(&answer(40, 2001));
        assert_eq!(trips.smoothed(), Some(36 * MS));
        assert_eq!(
            trips.variation(),
            Some((17 * 4 + (40 - 17) / 8) * MS / 4 + 218_750)
        );
    }

    #[test]
    fn what_was_sent_again_is_timed_by_its_time_stamp_alone() {
        let mut trips = RoundTrips::default();
        trips.sent(flight(0, 10, 0));
        trips.resent(flight(0, 10, 200));
        trips.answered(&answer(10, 230));
        assert_eq!(trips.smoothed(), None);
        trips.sent(flight(10, 20, 300));
        trips.resent(flight(10, 20, 500));
        trips.answered(&Answer {
            echo: Some(500),
            ..answer(20, 530)
        });
        assert_eq!(trips.smoothed(), Some(30 * MS));
        assert!(trips.again.is_empty() && trips.resent.is_none());
    }

    #[test]
    fn what_has_come_out_of_its_order_is_timed_once() {
        let mut trips = RoundTrips::default();
        for n in 0..3 {
            trips.sent(flight(n * 10, n * 10 + 10, n as u64));
        }
        let block = |to, ms| Answer {
            block: Some((10, to)),
            ..answer(0, ms)
        };
        trips.answered(&block(20, 31));
        assert_eq!(trips.smoothed(), Some(30 * MS));
        trips.answered(&block(20, 700));
        assert_eq!(trips.smoothed(), Some(30 * MS));
        trips.answered(&block(30, 32));
        trips.resent(flight(0, 10, 33));
        trips.answered(&answer(30, 900));
        assert_eq!(trips.smoothed(), Some(30 * MS));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut trips = RoundTrips::default();
        for n in 0..10_000 {
            trips.sent(flight(n, n + 1, 0));
            trips.resent(flight(n, n + 1, 0));
        }
        assert_eq!((trips.flights.len(), trips.again.len()), (MOST, MOST));
        trips.answered(&answer(10_000, 7));
        assert_eq!((trips.flights.len(), trips.again.len()), (0, 0));
    }
}
