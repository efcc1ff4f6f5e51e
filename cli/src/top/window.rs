//! The last minute, or however long it is: slices of time that are forgotten one by one, and the requests that wait.

use super::{
    sample::{By, Kind, Seen},
    talkers::Talkers,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use weir_records::Timestamp;

/// Slices of a window. What is shown begins with a whole one, and so up to one slice earlier than the window.
const SLICES: u64 = 12;
/// Most requests that are known to wait; what is beyond that is not counted among those that hang.
const MOST_HUNG: usize = 65_536;
/// A request that was asked so long ago, in ns, is no longer said to hang: who observed it may be gone.
const LONGEST: u64 = 3600 * 1_000_000_000;

/// Requests by the time at which they ended, and those that have not.
pub struct Window {
    by: By,
    /// ns.
    length: u64,
    /// By their number since the epoch.
    slices: BTreeMap<u64, Talkers>,
    /// By the identity of the document that will tell how each ends: its key, and when it was asked.
    hung: HashMap<String, (String, Timestamp)>,
}

impl Window {
    /// An empty one of this length.
    pub fn new(length: Duration, by: By) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            by,
            length: length.max(SLICES),
            slices: BTreeMap::new(),
            hung: HashMap::new(),
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

    /// Adds a request that was asked at this time, unless its end is too long ago.
    pub fn add(&mut self, asked: Timestamp, seen: &Seen<'_>, now: Timestamp) {
        match seen.kind() {
            Kind::Other => {}
            Kind::Waiting if self.hung.len() < MOST_HUNG => {
                let key = seen.key(self.by).into_owned();
                self.hung.insert(seen.id().to_owned(), (key, asked));
            }
            Kind::Waiting => {}
            Kind::Request => {
                self.hung.remove(seen.id());
                let ended = Timestamp(asked.0.saturating_add(seen.took().unwrap_or(0)));
                if ended >= self.begin(now) {
                    // No clock but ours says how many slices there are.
                    let slice = ended.min(now).0 / self.slice();
                    let talkers = self.slices.entry(slice).or_default();
                    talkers.add(&seen.key(self.by), seen);
                }
            }
        }
    }

    /// Drops what is too long ago.
    pub fn forget(&mut self, now: Timestamp) {
        self.slices = self.slices.split_off(&self.first(now));
        self.hung.retain(|_, (_, asked)| now.since(*asked) < LONGEST);
    }

    /// Everything since [`Self::begin`], and what hangs.
    pub fn talkers(&self, now: Timestamp) -> Talkers {
        let mut all = Talkers::default();
        for slice in self.slices.range(self.first(now)..) {
            all.merge(slice.1);
        }
        for (key, _) in self.hung.values() {
            all.hang(key);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Timestamp {
        Timestamp(n * 1_000_000_000)
    }

    fn document(event: &str, weir: &str) -> String {
        format!(
            r#"{{"event": {{{event}}}, "weir": {{{weir}}},
                "source": {{"ip": "198.18.0.1", "port": 1}}, "destination": {{"ip": "198.18.0.2", "port": 2}}}}"#
        )
    }

    #[test]
    fn a_request_counts_when_it_ends_however_long_ago_it_began() {
        let mut window = Window::new(Duration::from_secs(60), By::Source);
        let text = document(r#""outcome": "failure", "duration": 3600000000000"#, "");
        window.add(second(10_000), &Seen::of_stored(&text).unwrap(), second(13_600));
        let total = window.talkers(second(13_600)).total().clone();
        assert_eq!((total.requests, total.errors), (1, 1));
        assert_eq!(total.took.percentile(99), Some(3_600_000_000_000));
        assert_eq!(window.talkers(second(13_700)).total().requests, 0);
    }

    #[test]
    fn requests_that_wait_hang_until_their_last_documents_come() {
        let mut window = Window::new(Duration::from_secs(60), By::Source);
        let waiting = |id| {
            document(
                r#""id": "w", "duration": 10000000000"#,
                &format!(r#""state": "waiting", "final_id": "{id}""#),
            )
        };
        for id in [1, 2, 2, 3] {
            window.add(second(100), &Seen::of_stored(&waiting(id)).unwrap(), second(110));
        }
        let hung = |window: &Window, n| {
            let talkers = window.talkers(second(n));
            let row = talkers.row_of("198.18.0.1").map_or(0, |row| row.hung);
            assert_eq!(row, talkers.total().hung);
            (talkers.total().requests, row)
        };
        assert_eq!(hung(&window, 110), (0, 3));
        let answered = document(r#""id": "2", "duration": 20000000000"#, "");
        window.add(second(100), &Seen::of_stored(&answered).unwrap(), second(120));
        assert_eq!(hung(&window, 120), (1, 2));
        window.forget(second(1000));
        assert_eq!(hung(&window, 1000), (0, 2), "longer than the window");
        window.forget(second(3700));
        assert_eq!(hung(&window, 3700), (0, 0), "nobody knows what became of them");
    }

    #[test]
    fn what_lasts_as_long_as_its_connection_is_no_request() {
        let mut window = Window::new(Duration::from_secs(60), By::Source);
        for dataset in super::super::sample::NO_REQUESTS {
            let text = document(&format!(r#""dataset": "{dataset}""#), "");
            window.add(second(100), &Seen::of_stored(&text).unwrap(), second(100));
        }
        assert_eq!(window.talkers(second(100)).total().requests, 0);
    }

    #[test]
    fn what_ended_too_long_ago_is_forgotten() {
        let text = r#"{"event": {}, "source": {"ip": "198.18.0.1", "port": 1}, "destination": {"ip": "198.18.0.2", "port": 2}}"#;
        let seen = Seen::of_stored(text).unwrap();
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
