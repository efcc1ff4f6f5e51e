//! What is shown of a window: sorted rows, as JSON or as lines for people.

use super::{
    Source, name_of,
    talkers::{Row, Talkers},
    window::Window,
};
use crate::table::{printable, short_bytes, short_duration};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::cmp::Reverse;
use weir_records::Timestamp;

/// What stands first: the most of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Requests.
    #[default]
    Requests,
    /// Requests that failed.
    Errors,
    /// Requests that wait for their answers.
    Hung,
    /// Bytes that both sides sent.
    Bytes,
    /// The time that half of them took at most.
    P50,
    /// The time that 99 % of them took at most.
    P99,
}

/// The key of all requests whose own found no room.
const OTHER: &str = "(other)";

/// A window as it was at one moment.
pub struct Report {
    from: Timestamp,
    to: Timestamp,
    source: &'static str,
    by: String,
    sort: String,
    lost: u64,
    talkers: Talkers,
    sorted: Vec<String>,
}

impl Report {
    /// The window's now.
    pub fn new(window: &Window, sort: Sort, source: &dyn Source, now: Timestamp) -> Self {
        let talkers = window.talkers(now);
        Self {
            from: window.begin(now).max(source.begin()),
            to: now,
            source: source.name(),
            by: name_of(window.by()),
            sort: name_of(sort),
            lost: source.lost(),
            sorted: sorted(&talkers, sort),
            talkers,
        }
    }

    /// The first rows, and behind all others that of the keys that found no room.
    fn rows(&self, most: usize) -> Vec<(&str, &Row)> {
        let other = self.talkers.other();
        let row = |key: &'_ String| self.talkers.row_of(key);
        let rows = self
            .sorted
            .iter()
            .filter_map(|key| Some((key.as_str(), row(key)?)));
        let other = (other.requests + other.hung > 0).then_some((OTHER, other));
        rows.take(most).chain(other).collect()
    }

    /// One object, with this many rows at most.
    pub fn json(&self, most: usize) -> Value {
        let rows = self.rows(most).into_iter().map(|(key, row)| {
            let mut object = numbers(row);
            object["key"] = key.into();
            object
        });
        json!({
            "from": self.from,
            "to": self.to,
            "source": self.source,
            "lost_packets": self.lost,
            "by": self.by,
            "sort": self.sort,
            "keys": self.sorted.len(),
            "total": numbers(self.talkers.total()),
            "rows": rows.collect::<Vec<_>>(),
        })
    }

    /// Lines for people: a summary, titles, and this many rows at most.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let total = self.talkers.total();
        let seconds = self.to.since(self.from) / 1_000_000_000;
        let mut summary = format!(
            "{} requests in {seconds} s, {} failed, {}{}; {} of {}",
            total.requests,
            total.errors,
            match total.hung {
                0 => String::new(),
                hung => format!("{hung} hang, "),
            },
            short_bytes(total.bytes),
            self.sorted.len().min(most),
            match self.sorted.len() {
                1 => format!("1 {}", self.by),
                n => format!("{n} by {}", self.by),
            },
        );
        if self.lost > 0 {
            summary.push_str(&format!("; packets lost: {}", self.lost));
        }
        let titles = ["REQUESTS", "ERRORS", "ERR%", "HUNG", "BYTES", "P50", "P99"].map(String::from);
        let mut lines = vec![summary, line(&titles, &self.by.to_uppercase())];
        lines.extend(self.rows(most).into_iter().map(|(key, row)| {
            let took = |percent| row.took.percentile(percent).map_or("-".into(), short_duration);
            let cells = [
                row.requests.to_string(),
                row.errors.to_string(),
                format!("{:.1}", 100.0 * share(row)),
                row.hung.to_string(),
                short_bytes(row.bytes),
                took(50),
                took(99),
            ];
            line(&cells, &printable(key))
        }));
        lines
    }
}

/// Cells at the right of columns that are wide enough for nearly everything, and what they are about.
fn line(cells: &[String; 7], key: &str) -> String {
    let [requests, errors, share, hung, bytes, p50, p99] = cells;
    format!("{requests:>9} {errors:>8} {share:>6} {hung:>6} {bytes:>9} {p50:>8} {p99:>8}  {key}")
}

/// The share of requests that failed.
fn share(row: &Row) -> f64 {
    match row.requests {
        0 => 0.0,
        requests => row.errors as f64 / requests as f64,
    }
}

fn numbers(row: &Row) -> Value {
    json!({
        "requests": row.requests,
        "errors": row.errors,
        "error_ratio": share(row),
        "hung": row.hung,
        "bytes": row.bytes,
        "p50": row.took.percentile(50),
        "p99": row.took.percentile(99),
    })
}

fn sorted(talkers: &Talkers, sort: Sort) -> Vec<String> {
    let measure = |row: &Row| match sort {
        Sort::Requests => Some(row.requests),
        Sort::Errors => Some(row.errors),
        Sort::Hung => Some(row.hung),
        Sort::Bytes => Some(row.bytes),
        Sort::P50 => row.took.percentile(50),
        Sort::P99 => row.took.percentile(99),
    };
    let mut rows: Vec<_> = talkers
        .rows()
        .map(|(key, row)| (measure(row), row.requests, key))
        .collect();
    // Rows that are equal stay where they are from look to look.
    rows.sort_by_key(|(measure, requests, key)| (Reverse((*measure, *requests)), *key));
    rows.into_iter().map(|(_, _, key)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::sample::{By, Seen};
    use std::time::Duration;

    struct Nobody;

    impl Source for Nobody {
        fn gather(
            &mut self,
            _: &crate::signals::Signals,
            _: Duration,
            _: &mut Window,
        ) -> anyhow::Result<bool> {
            Ok(true)
        }

        fn name(&self) -> &'static str {
            "store"
        }
    }

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

    fn window() -> Window {
        let mut window = Window::new(Duration::from_secs(60), By::Path);
        // Path, how often, of that failed, bytes, ms.
        for (path, count, failed, bytes, ms) in [
            ("/many", 9, 1, 10, 5),
            ("/slow", 2, 0, 10, 9000),
            ("/big\\u001b", 3, 2, 2_000_000, 7),
        ] {
            for n in 0..count {
                let outcome = if n < failed { "failure" } else { "success" };
                let text = format!(
                    r#"{{"event": {{"outcome": "{outcome}", "duration": {ms}000000}}, "url": {{"path": "{path}"}},
                        "source": {{"ip": "198.18.0.1", "port": 1, "bytes": {bytes}}},
                        "destination": {{"ip": "198.18.0.2", "port": 2}}}}"#
                );
                window.add(NOW, &Seen::of_stored(&text).unwrap(), NOW);
            }
        }
        window
    }

    #[test]
    fn rows_stand_in_the_order_that_was_asked_for() {
        for (sort, first) in [
            (Sort::Requests, "/many"),
            (Sort::Errors, "/big\u{1b}"),
            (Sort::Bytes, "/big\u{1b}"),
            (Sort::P50, "/slow"),
            (Sort::P99, "/slow"),
        ] {
            let json = Report::new(&window(), sort, &Nobody, NOW).json(2);
            assert_eq!(json["rows"][0]["key"], first, "{sort:?}");
            assert_eq!(json["rows"].as_array().unwrap().len(), 2);
            assert_eq!(
                (&json["keys"], &json["total"]["requests"]),
                (&3.into(), &14.into())
            );
        }
    }

    #[test]
    fn numbers_are_those_of_the_requests() {
        let json = Report::new(&window(), Sort::Bytes, &Nobody, NOW).json(9);
        let row = &json["rows"][0];
        assert_eq!((&row["requests"], &row["errors"]), (&3.into(), &2.into()));
        assert_eq!(
            (&row["bytes"], &row["p99"]),
            (&6_000_000.into(), &7_000_000.into())
        );
        assert_eq!(json["total"]["errors"], 3);
        assert_eq!(json["to"], "2027-01-15T08:00:00.000000000Z");
        assert_eq!(json["from"], "2027-01-15T07:59:00.000000000Z");
    }

    #[test]
    fn lines_are_for_people_and_steer_no_terminal() {
        let lines = Report::new(&window(), Sort::Bytes, &Nobody, NOW).lines(9);
        assert_eq!(lines[0], "14 requests in 60 s, 3 failed, 5.7MiB; 3 of 3 by path");
        let words: Vec<_> = lines[2].split_whitespace().collect();
        assert_eq!(
            words,
            ["3", "2", "66.7", "0", "5.7MiB", "7.0ms", "7.0ms", "/big\\u{1b}"]
        );
        assert_eq!(lines[1].find("PATH"), lines[2].find("/big"));
        assert_eq!(lines.len(), 5);
    }
}
