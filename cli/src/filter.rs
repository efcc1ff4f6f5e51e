//! Which documents are shown. A filter is a condition in SQL, so that the store itself looks for the last N that match.

use rusqlite::types::Value;
use std::{
    ops::RangeInclusive,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

/// Only the documents that match all of these
#[derive(clap::Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "Filters (repeatable or comma-separated; a document must match one of each kind given)"
)]
pub struct Filter {
    /// Host that was asked for, by request or by DNS, or the server's address; * and ? as in file names
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// Path that starts with this, or, with *, ? or [ in it, that matches it as file names do
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Status: 404, 5xx, 400-499
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<Statuses>,
    /// Method, in capitals or not
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    method: Vec<String>,
    /// Which way: ingress (or in) for what the container serves, egress (or out) for what it calls
    #[arg(long, value_name = "DIRECTION")]
    direction: Option<Direction>,
    /// Since when: a period such as 5m, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "SINCE")]
    since: Option<Since>,
    /// Show documents about connections as a whole too (weir.flow), which otherwise are left out
    #[arg(long, help_heading = None)]
    flows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Direction {
    #[value(alias = "in")]
    Ingress,
    #[value(alias = "out")]
    Egress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statuses(RangeInclusive<u16>);

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let status = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|status| (100..=999).contains(status))
        };
        let class = |text: &str| match text.as_bytes() {
            [digit @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] => Some(u16::from(digit - b'0') * 100),
            _ => None,
        };
        let range = match text.split_once('-') {
            Some((first, last)) => status(first).zip(status(last)),
            None => class(text)
                .map(|first| (first, first + 99))
                .or_else(|| status(text).map(|status| (status, status))),
        };
        range
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| Self(first..=last))
            .ok_or_else(|| "allowed are a status (404), a class (5xx) and a range (400-499)".into())
    }
}

/// A point in time, in ns since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since(i64);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = match humantime::parse_duration(text) {
            Ok(period) => SystemTime::now().checked_sub(period),
            Err(_) => humantime::parse_rfc3339_weak(text).ok(),
        };
        time.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
            .and_then(|ns| i64::try_from(ns).ok())
            .map(Self)
            .ok_or_else(|| {
                "write a period such as 5m or 1h30m, or a time in UTC such as 2026-01-31T12:00:00Z".into()
            })
    }
}

/// A condition and the values of its `?`, in their order.
#[derive(Debug, Default, PartialEq)]
pub struct Condition {
    /// SQL that is true for the documents that match.
    pub sql: String,
    /// What its placeholders stand for.
    pub values: Vec<Value>,
}

impl Condition {
    fn and(&mut self, alternatives: Vec<(&str, Vec<Value>)>) {
        if alternatives.is_empty() {
            return;
        }
        let sql: Vec<_> = alternatives.iter().map(|(sql, _)| *sql).collect();
        self.sql.push_str(&format!(" AND ({})", sql.join(" OR ")));
        self.values
            .extend(alternatives.into_iter().flat_map(|(_, values)| values));
    }
}

impl Filter {
    /// True if a point in time was given from which on all is to be shown.
    pub fn has_since(&self) -> bool {
        self.since.is_some()
    }

    /// The filter as a condition on the columns of `documents`.
    pub fn condition(&self) -> Condition {
        let text = |text: &str| Value::from(text.to_owned());
        let mut all = Condition {
            sql: "TRUE".into(),
            values: Vec::new(),
        };
        if !self.flows {
            all.and(vec![("dataset <> 'weir.flow'", Vec::new())]);
        }
        if let Some(since) = self.since {
            all.and(vec![("time >= ?", vec![since.0.into()])]);
        }
        if let Some(direction) = self.direction {
            let name = match direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            };
            all.and(vec![("document ->> '$.network.direction' = ?", vec![text(name)])]);
        }
        let host = |host: &String| {
            const SQL: &str = "lower(document ->> '$.url.domain') GLOB ?
                OR lower(document ->> '$.destination.domain') GLOB ? OR document ->> '$.destination.ip' GLOB ?
                OR lower(document ->> '$.dns.question.name') GLOB ?";
            (SQL, vec![text(&host.to_lowercase()); 4])
        };
        all.and(self.host.iter().map(host).collect());
        let path = |path: &String| match path.contains(['*', '?', '[']) {
            true => ("document ->> '$.url.path' GLOB ?", vec![text(path)]),
            false => {
                const SQL: &str = "substr(document ->> '$.url.path', 1, length(?)) = ?";
                (SQL, vec![text(path); 2])
            }
        };
        all.and(self.path.iter().map(path).collect());
        let status = |Statuses(range): &Statuses| {
            const SQL: &str = "document ->> '$.http.response.status_code' BETWEEN ? AND ?";
            let bounds = [*range.start(), *range.end()];
            (SQL, bounds.map(|status| i64::from(status).into()).to_vec())
        };
        all.and(self.status.iter().map(status).collect());
        let method = |method: &String| {
            const SQL: &str = "upper(document ->> '$.http.request.method') = ?";
            (SQL, vec![text(&method.to_uppercase())])
        };
        all.and(self.method.iter().map(method).collect());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_a_class_or_a_range() {
        for (text, range) in [("404", 404..=404), ("5xx", 500..=599), ("400-499", 400..=499)] {
            assert_eq!(text.parse(), Ok(Statuses(range)), "{text}");
        }
        for text in ["", "4", "xx", "6000", "499-400", "0xx", "4xx-5xx", "-1"] {
            assert!(
                text.parse::<Statuses>().unwrap_err().contains("400-499"),
                "{text}"
            );
        }
    }

    #[test]
    fn since_is_a_period_or_a_time() {
        assert_eq!(
            "2026-01-31T12:00:00Z".parse(),
            Ok(Since(1_769_860_800_000_000_000))
        );
        let five: Since = "5m".parse().unwrap();
        let ten: Since = "10m".parse().unwrap();
        assert!((299_000_000_000..=301_000_000_000).contains(&(five.0 - ten.0)));
        assert!("yesterday".parse::<Since>().unwrap_err().contains("5m"));
    }
}
