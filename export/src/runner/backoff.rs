//! How long to wait before the next attempt.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// Where somebody must mend something first.
const SLOW_FIRST: Duration = Duration::from_secs(5);
const SLOW_LONGEST: Duration = Duration::from_secs(60);

/// Doubles with each failure in a row. Half of each wait is random, so that the many sidecars that lost a server
/// together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure.
    pub(super) fn next(&mut self, slow: bool) -> Duration {
        let (first, longest) = match slow {
            true => (SLOW_FIRST, SLOW_LONGEST),
            false => (FIRST, LONGEST),
        };
        let whole = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_start_again() {
        let mut backoff = Backoff::default();
        for round in 0..40 {
            let whole = FIRST.saturating_mul(1 << round.min(16)).min(LONGEST);
            let wait = backoff.next(false);
            assert!(wait >= whole / 2 && wait <= whole, "{round}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next(false) <= FIRST);
        backoff.reset();
        assert!(backoff.next(true) >= SLOW_FIRST / 2);
    }
}
