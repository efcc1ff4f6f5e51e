//! Requests added up by key.

use super::{histogram::Histogram, sample::Seen};
use std::collections::HashMap;

/// So many keys are told apart; the requests of all others are added up together.
pub const MOST_KEYS: usize = 10_000;

/// Requests of one key.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// How many.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// What both sides sent.
    pub bytes: u64,
    /// Requests that wait for their answers, beside those.
    pub hung: u64,
    /// How long they took, in ns, of those of which it is known.
    pub took: Histogram,
}

impl Row {
    fn add(&mut self, seen: &Seen<'_>) {
        self.requests += 1;
        self.errors += u64::from(seen.has_failed());
        self.bytes += seen.bytes();
        if let Some(took) = seen.took() {
            self.took.add(took);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.bytes += other.bytes;
        self.hung += other.hung;
        self.took.merge(&other.took);
    }
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Talkers {
    rows: HashMap<String, Row>,
    /// Of the keys that found no room.
    other: Row,
    /// All of it.
    total: Row,
}

impl Talkers {
    /// Adds a request.
    pub fn add(&mut self, key: &str, seen: &Seen<'_>) {
        self.row(key).add(seen);
        self.total.add(seen);
    }

    /// Adds a request that waits for its answer.
    pub fn hang(&mut self, key: &str) {
        self.row(key).hung += 1;
        self.total.hung += 1;
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (key, row) in &other.rows {
            self.row(key).merge(row);
        }
        self.other.merge(&other.other);
        self.total.merge(&other.total);
    }

    fn row(&mut self, key: &str) -> &mut Row {
        if !self.rows.contains_key(key) {
            if self.rows.len() >= MOST_KEYS {
                return &mut self.other;
            }
            self.rows.insert(key.into(), Row::default());
        }
        self.rows.get_mut(key).unwrap_or(&mut self.other)
    }

    /// The keys, each with its requests.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|(key, row)| (key.as_str(), row))
    }

    /// The requests of a key.
    pub fn row_of(&self, key: &str) -> Option<&Row> {
        self.rows.get(key)
    }

    /// The requests of keys that found no room.
    pub fn other(&self) -> &Row {
        &self.other
    }

    /// All requests.
    pub fn total(&self) -> &Row {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_beyond_the_bound_are_added_up_together() {
        let text = r#"{"event": {"outcome": "failure", "duration": 7},
            "source": {"ip": "198.18.0.1", "port": 1, "bytes": 3}, "destination": {"ip": "198.18.0.2", "port": 2, "bytes": 4}}"#;
        let seen = Seen::of_stored(text).unwrap();
        let mut talkers = Talkers::default();
        for n in 0..MOST_KEYS + 5 {
            talkers.add(&n.to_string(), &seen);
        }
        talkers.add("0", &seen);
        assert_eq!(talkers.rows().count(), MOST_KEYS);
        assert_eq!(talkers.other().requests, 5);
        assert_eq!(talkers.rows["0"].requests, 2);
        let copy = talkers.clone();
        talkers.merge(&copy);
        let total = talkers.total();
        let n = 2 * (MOST_KEYS as u64 + 6);
        assert_eq!((total.requests, total.errors, total.bytes), (n, n, 7 * n));
        assert_eq!(talkers.other().requests, 10);
        assert_eq!(talkers.rows["0"].requests, 4);
        assert_eq!(total.took.percentile(99), Some(7));
    }
}
