//! Points in time: nanoseconds since the Unix epoch.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer, ser::Error};
use std::borrow::Cow;

/// Nanoseconds of a second.
const NANOS: u64 = 1_000_000_000;
/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days of 4, 100 and 400 years.
const FOUR_YEARS: u64 = 4 * 365 + 1;
const CENTURY: u64 = 25 * FOUR_YEARS - 1;
const ERA: u64 = 4 * CENTURY + 1;
/// Days from 0000-03-01 to 1970-01-01.
const MARCH_OF_YEAR_0: u64 = 719_468;

/// A point in time in nanoseconds since the Unix epoch. Sources take care that it never runs backwards within a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Moves it by so many nanoseconds.
    pub(crate) fn shift(&mut self, by: i64) {
        self.0 = self.0.saturating_add_signed(by);
    }

    /// Nanoseconds from `earlier` to here; 0 if it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Serialize for Timestamp {
    /// RFC 3339 in UTC with nanoseconds.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text = rfc3339(self.0);
        s.serialize_str(str::from_utf8(&text).map_err(S::Error::custom)?)
    }
}

/// `2006-01-02T15:04:05.123456789Z`. Every document has one or more, so it goes without the formatting machinery.
fn rfc3339(nanos: u64) -> [u8; 30] {
    let seconds = nanos / NANOS;
    let (year, month, day) = date(seconds / DAY);
    let of_day = seconds % DAY;
    // (All of these fit, and dividing them costs half as much.)
    let (year, of_day, fraction) = (year as u32, of_day as u32, (nanos % NANOS) as u32);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    for (at, number) in [
        (0, year / 100),
        (2, year % 100),
        (5, month as u32),
        (8, day as u32),
        (11, of_day / 3600),
        (14, of_day / 60 % 60),
        (17, of_day % 60),
        (20, fraction / 10_000_000),
        (22, fraction / 100_000 % 100),
        (24, fraction / 1000 % 100),
        (26, fraction / 10 % 100),
    ] {
        text[at..at + 2].copy_from_slice(&PAIRS[number as usize]);
    }
    text[28] += (fraction % 10) as u8;
    text
}

/// The two digits of each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// Year, month and day of the day that is so many after 1970-01-01, in a calendar of 400 years that begin in March, so that a
/// leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + MARCH_OF_YEAR_0;
    let (era, of_era) = (days / ERA, days % ERA);
    // Every fourth year has a day more, but for the last of each century, but for the last of all.
    let year = (of_era - of_era / (FOUR_YEARS - 1) + of_era / (CENTURY - 1) - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // Five months in turn have 153 days.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january = u64::from(month >= 10);
    (era * 400 + year + january, month + 3 - 12 * january, day)
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn assert_as_another_has_it(nanos: u64) {
        let expected = humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string();
        assert_eq!(str::from_utf8(&rfc3339(nanos)).unwrap(), expected);
    }

    #[test]
    fn every_day_has_its_date() {
        for day in 0..=u64::MAX / NANOS / DAY {
            assert_as_another_has_it(day * DAY * NANOS);
        }
        assert_as_another_has_it(u64::MAX);
    }

    proptest! {
        #[test]
        fn every_point_in_time_is_written_as_another_writes_it(nanos: u64) {
            assert_as_another_has_it(nanos);
        }
    }
}
