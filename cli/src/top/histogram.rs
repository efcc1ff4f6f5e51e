//! Percentiles of durations, in little memory: values are counted by buckets, 32 for each power of two, so that a percentile is
//! at most 1/32 too high.

/// Bits of a value within its power of two that are told apart.
const BITS: u32 = 5;

/// How often values were seen.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Bucket and count, in rising order: most keys have few different ones.
    buckets: Vec<(u16, u64)>,
    count: u64,
    largest: u64,
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.add_many(bucket(value), 1);
        self.largest = self.largest.max(value);
    }

    /// Counts all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add_many(*bucket, *count);
        }
        self.largest = self.largest.max(other.largest);
    }

    fn add_many(&mut self, bucket: u16, count: u64) {
        self.count += count;
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// The least value that this share of all, in percent, do not exceed; nothing if there are none.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map(|(bucket, _)| last_of(*bucket).min(self.largest))
    }
}

/// The bucket of a value: small ones have one each.
fn bucket(value: u64) -> u16 {
    let power = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    // At most 59 * 32 + 63.
    ((u64::from(power) << BITS) + (value >> power)) as u16
}

/// The largest value of a bucket.
fn last_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let power = (bucket >> BITS).saturating_sub(1);
    let first = bucket - (power << BITS);
    (first << power) + ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_whose_last_is_hardly_larger() {
        let powers = (0..64).map(|bits| 1_u64 << bits);
        for value in powers
            .flat_map(|p| [p - 1, p, p + 1, p + p / 3])
            .chain([u64::MAX])
        {
            let last = last_of(bucket(value));
            assert!(last >= value && last - value <= value / 32, "{value}: {last}");
            assert_eq!(bucket(last), bucket(value));
            assert!(
                last == u64::MAX || bucket(last + 1) == bucket(value) + 1,
                "{value}"
            );
        }
    }

    #[test]
    fn percentiles_are_those_of_all_that_was_added() {
        let (mut odd, mut even) = (Histogram::default(), Histogram::default());
        assert_eq!(odd.percentile(50), None);
        for value in (1..=1000).map(|n| n * 1_000_000) {
            let half = if value % 2_000_000 == 0 {
                &mut even
            } else {
                &mut odd
            };
            half.add(value);
        }
        odd.merge(&even);
        for (percent, exact) in [(0, 1_000_000), (50, 500_000_000), (99, 990_000_000)] {
            let found = odd.percentile(percent).unwrap();
            assert!(
                found >= exact && found <= exact + exact / 32,
                "{percent}: {found}"
            );
        }
        assert_eq!(
            odd.percentile(100),
            Some(1_000_000_000),
            "never more than the largest"
        );
    }
}
