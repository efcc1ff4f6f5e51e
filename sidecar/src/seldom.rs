//! Keeps a complaint that every connection could make from filling the log.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Lets one in ten seconds pass.
#[derive(Debug, Default)]
pub struct Seldom(Cell<Option<Instant>>);

impl Seldom {
    const PERIOD: Duration = Duration::from_secs(10);

    /// True if it is time to complain again.
    pub fn now(&self) -> bool {
        let due = self.0.get().is_none_or(|last| last.elapsed() >= Self::PERIOD);
        if due {
            self.0.set(Some(Instant::now()));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_a_burst_passes() {
        let seldom = Seldom::default();
        assert!(seldom.now());
        assert!((0..100).all(|_| !seldom.now()));
    }
}
