//! The last minute, or however long it is: slices of time that are forgotten one by one.

use super::{
    sample::{By, Seen},
    talkers::Talkers,
};
use std::{collections::BTreeMap, time::Duration};
use weir_records::Timestamp;

/// Slices of a window. What is shown begins with a whole one, and so up to one slice earlier than the window.
const SLICES: u64 = 12;

/// Requests by the time at which they began.
pub struct Window {
    by: By,
    /// ns.
    length: u64,
    /// By their number since the epoch.
    slices: BTreeMap<u64, Talkers>,
}

impl Window {
    /// An empty one of this length.
    pub fn new(length: Duration, by: By) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            by,
            length: length.max(SLICES),
            slices: BTreeMap::new(),
        }
    }

    /// What requests are added up by.
    pub fn by(&self) -> By {
        self.by
    }

    fn slice(&self) -> u64 {
        self.length / SLICES
    }

    fn first(&self, now: Timestamp) -> u64 {
        now.0.saturating_sub(self.length) / self.slice()
    }

    /// When what is shown now begins.
    pub fn begin(&self, now: Timestamp) -> Timestamp {
        Timestamp(self.first(now) * self.slice())
    }

    /// Adds a request that began at this time, unless that is too long ago.
    pub fn add(&mut self, at: Timestamp, seen: &Seen<'_>, now: Timestamp) {
        if at >= self.begin(now) {
            // No clock but ours says how many slices there are.
            let slice = at.min(now).0 / self.slice();
            self.slices
                .entry(slice)
                .or_default()
                .add(&seen.key(self.by), seen);
        }
    }

    /// Drops what is too long ago.
    pub fn forget(&mut self, now: Timestamp) {
        self.slices = self.slices.split_off(&self.first(now));
    }

    /// Everything since [`Self::begin`].
    pub fn talkers(&self, now: Timestamp) -> Talkers {
        let mut all = Talkers::default();
        for slice in self.slices.range(self.first(now)..) {
            all.merge(slice.1);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_too_long_ago_is_forgotten() {
        let text = r#"{"event": {}, "source": {"ip": "198.18.0.1", "port": 1}, "destination": {"ip": "198.18.0.2", "port": 2}}"#;
        let seen = Seen::of_stored(text).unwrap();
        let second = |n: u64| Timestamp(n * 1_000_000_000);
        let mut window = Window::new(Duration::from_secs(60), By::Source);
        for n in [39, 40, 70, 100, 200] {
            window.add(second(n), &seen, second(100));
        }
        let count = |window: &Window, n| window.talkers(second(n)).total().requests;
        assert_eq!(window.begin(second(100)), second(40));
        assert_eq!(count(&window, 100), 4, "no future, and nothing before the window");
        assert_eq!(count(&window, 110), 3);
        window.forget(second(140));
        assert_eq!(count(&window, 140), 2);
        assert_eq!(count(&window, 100), 2, "those are gone for good");
        assert_eq!(count(&window, 1000), 0);
    }
}
