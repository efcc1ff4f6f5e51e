//! Time as documents have it. What is measured (how long something took) follows the monotonic clock, which never jumps; when
//! something was is told by the wall clock, also after that has been set, or after the machine was suspended, while the
//! monotonic clock stood still.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use weir_records::Timestamp;

/// Between two looks at the wall clock. Nobody wakes up for one: the next document has it done.
const PERIOD: Duration = Duration::from_secs(1);
/// The clocks may differ by so much, in ns; by more the wall clock was set.
const TOLERANCE: u64 = 10_000_000;
/// A look that took longer says nothing: something else ran between its readings.
const LOOK: Duration = Duration::from_millis(2);

/// Reads a clock.
type Read<T> = Box<dyn Fn() -> T>;

/// The clocks of a data thread.
pub struct Timeline {
    monotonic: Read<Instant>,
    /// Ns since 1970.
    wall: Read<u64>,
    began: (Instant, u64),
    /// When the clocks were compared last.
    compared: Cell<Instant>,
    /// How far the wall clock was set since the beginning, in ns.
    set: Cell<i64>,
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("set", &self.set)
            .finish_non_exhaustive()
    }
}

impl Default for Timeline {
    /// The system's clocks.
    fn default() -> Self {
        Self::of(Box::new(Instant::now), Box::new(wall))
    }
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Timeline {
    /// These clocks.
    fn of(monotonic: Read<Instant>, wall: Read<u64>) -> Self {
        let began = (monotonic(), wall());
        Self {
            monotonic,
            wall,
            began,
            compared: Cell::new(began.0),
            set: Cell::new(0),
        }
    }

    /// A clock that starts now.
    pub fn start(&self) -> Clock {
        let start = (self.monotonic)();
        self.compare(start);
        Clock {
            wall: self.expected(start),
            start,
            set: self.set.get(),
        }
    }

    /// What the wall clock would say at this moment, had it not been set since it was looked at.
    fn expected(&self, at: Instant) -> u64 {
        let (start, wall) = self.began;
        let elapsed = at.saturating_duration_since(start);
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        wall.saturating_add(elapsed).saturating_add_signed(self.set.get())
    }

    fn compare(&self, now: Instant) {
        if now.saturating_duration_since(self.compared.get()) < PERIOD {
            return;
        }
        let wall = (self.wall)();
        let after = (self.monotonic)();
        if after.saturating_duration_since(now) > LOOK {
            return; // the next one will do
        }
        self.compared.set(now);
        let expected = self.expected(now);
        if wall.abs_diff(expected) > TOLERANCE {
            let by = i128::from(wall) - i128::from(expected);
            let by = i64::try_from(by).unwrap_or(0);
            self.set.set(self.set.get().saturating_add(by));
        }
    }

    /// How far the wall clock was set since this clock was started, in ns: so much has to be added to its times.
    pub fn correction(&self, clock: Clock) -> i64 {
        self.compare((self.monotonic)());
        self.set.get().saturating_sub(clock.set)
    }
}

/// Time of a connection: that of the wall clock at its beginning, and from there on by the monotonic one, so that it never runs
/// backwards.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    start: Instant,
    /// How far the wall clock had been set by then.
    set: i64,
}

impl Clock {
    /// When it was started.
    pub fn started(&self) -> Timestamp {
        Timestamp(self.wall)
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.wall.saturating_add(self.elapsed()))
    }

    /// Nanoseconds since it was started.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    const SECOND: u64 = 1_000_000_000;

    /// Clocks that stand where they are put.
    struct Hands {
        began: Instant,
        monotonic: Rc<Cell<u64>>,
        wall: Rc<Cell<u64>>,
    }

    fn hands() -> (Timeline, Hands) {
        let hands = Hands {
            began: Instant::now(),
            monotonic: Rc::default(),
            wall: Rc::new(Cell::new(100_000 * SECOND)),
        };
        let (began, monotonic, wall) = (hands.began, hands.monotonic.clone(), hands.wall.clone());
        let timeline = Timeline::of(
            Box::new(move || began + Duration::from_nanos(monotonic.get())),
            Box::new(move || wall.get()),
        );
        (timeline, hands)
    }

    impl Hands {
        fn pass(&self, monotonic: u64, wall: i64) {
            self.monotonic.set(self.monotonic.get() + monotonic);
            self.wall.set(self.wall.get().saturating_add_signed(wall));
        }
    }

    #[test]
    fn documents_follow_the_wall_clock_when_it_is_set() {
        for by in [
            -3600 * SECOND as i64,
            -(SECOND as i64),
            SECOND as i64,
            86_400 * SECOND as i64,
        ] {
            let (timeline, hands) = hands();
            let clock = timeline.start();
            assert_eq!(
                (clock.started().0, timeline.correction(clock)),
                (100_000 * SECOND, 0)
            );
            hands.pass(2 * SECOND, 2 * SECOND as i64 + by);
            assert_eq!(
                timeline.correction(clock),
                by,
                "of a connection that was open then"
            );
            let next = timeline.start();
            assert_eq!(next.started().0, hands.wall.get(), "and of the next one");
            assert_eq!(timeline.correction(next), 0);
        }
    }

    #[test]
    fn a_suspended_machine_shows_in_the_times_of_what_comes_after() {
        let (timeline, hands) = hands();
        let clock = timeline.start();
        hands.pass(SECOND, 7200 * SECOND as i64);
        assert_eq!(timeline.correction(clock), 7199 * SECOND as i64);
    }

    #[test]
    fn small_differences_are_left_and_the_wall_clock_is_asked_once_a_second() {
        let (timeline, hands) = hands();
        let clock = timeline.start();
        hands.pass(SECOND, SECOND as i64 + TOLERANCE as i64);
        assert_eq!(timeline.correction(clock), 0);
        hands.pass(SECOND / 2, 60 * SECOND as i64);
        assert_eq!(timeline.correction(clock), 0, "it is not looked at so often");
        hands.pass(SECOND / 2, SECOND as i64 / 2);
        assert!(timeline.correction(clock) > 59 * SECOND as i64);
    }

    #[test]
    fn what_is_measured_does_not_jump() {
        let timeline = Timeline::default();
        let clock = timeline.start();
        let (a, b) = (clock.now(), clock.now());
        assert!(clock.started() <= a && a <= b);
    }
}
