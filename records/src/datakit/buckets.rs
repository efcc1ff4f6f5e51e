//! Sums by key, no more than so many.

use super::Point;
use std::{collections::HashMap, hash::Hash};

/// Most buckets of one measurement.
pub(super) const MOST: usize = 16_384;
/// Past so many only folded ones are begun.
pub(super) const UNFOLDED: usize = MOST / 4 * 3;

/// What buckets are told apart by.
pub(super) trait Key: Eq + Hash + Ord {
    /// Becomes one that it shares with many.
    fn fold(&mut self);
}

/// What is summed up in a bucket.
pub(super) trait Sums {
    /// Adds what others say.
    fn add(&mut self, other: Self);

    /// Documents that are in it.
    fn documents(&self) -> u64;
}

#[derive(Debug)]
pub(super) struct Buckets<K, S> {
    sums: HashMap<K, S>,
    documents: u64,
}

impl<K, S> Default for Buckets<K, S> {
    fn default() -> Self {
        Self {
            sums: HashMap::new(),
            documents: 0,
        }
    }
}

impl<K: Key, S: Sums> Buckets<K, S> {
    /// Adds to a bucket, and gives the number of documents that found none.
    pub(super) fn add(&mut self, mut key: K, sums: S) -> u64 {
        let documents = sums.documents();
        if self.sums.len() >= UNFOLDED && !self.sums.contains_key(&key) {
            key.fold();
            if self.sums.len() >= MOST && !self.sums.contains_key(&key) {
                return documents;
            }
        }
        self.documents += documents;
        match self.sums.entry(key) {
            std::collections::hash_map::Entry::Occupied(mut there) => there.get_mut().add(sums),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(sums);
            }
        }
        0
    }

    /// Adds all buckets of another one, and gives the number of documents that found none.
    pub(super) fn merge(&mut self, other: Self) -> u64 {
        other
            .sums
            .into_iter()
            .map(|(key, sums)| self.add(key, sums))
            .sum()
    }

    pub(super) fn documents(&self) -> u64 {
        self.documents
    }

    /// Empties all buckets, in the order of their keys.
    pub(super) fn drain(&mut self, point: impl Fn(&K, &S) -> Point) -> Vec<Point> {
        self.documents = 0;
        let mut all: Vec<_> = std::mem::take(&mut self.sums).into_iter().collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all.iter().map(|(key, sums)| point(key, sums)).collect()
    }
}
