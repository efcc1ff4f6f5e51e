//! The sinks of layout `datakit`, whose points are made of many documents each: files of line protocol, and DataKit itself.

use super::{Secret, address};
use crate::{Bytes, ConfigError, Layout, Period};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Shortest and longest interval.
const ALLOWED: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// How documents become points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Points {
    /// Each point of `netflow` and `httpflow` sums up what was seen in so long a time.
    pub interval: Period,
    /// The same for `dnsflow`.
    pub dns_interval: Period,
    /// A client's port from this one on says nothing, and is written as `*`, so that a client's connections are summed up.
    pub ephemeral_port: u16,
}

impl Default for Points {
    /// Those of DataKit.
    fn default() -> Self {
        Self {
            interval: Period::seconds(60),
            dns_interval: Period::seconds(30),
            ephemeral_port: 10_001,
        }
    }
}

impl Points {
    /// The names are those of the two intervals in the file.
    fn validate(self, names: [&'static str; 2]) -> Result<(), ConfigError> {
        for (name, period) in names.into_iter().zip([self.interval, self.dns_interval]) {
            if !ALLOWED.contains(&period.0) {
                return Err(ConfigError::invalid(name, "allowed are 1s to 1h"));
            }
        }
        Ok(())
    }
}

/// `lines`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// The file; `-` for standard output.
    pub path: PathBuf,
    /// There is one layout that is written so; it stands here so that asking for another one gets an answer.
    #[serde(default = "datakit", skip_serializing)]
    pub layout: Layout,
    /// How documents become points.
    #[serde(default)]
    pub points: Points,
    /// A file that has grown to this size is renamed to `PATH.1` (and `PATH.1` to `PATH.2`, …); `0B` for never.
    #[serde(default = "super::Ndjson::rotate_bytes")]
    pub rotate_bytes: Bytes,
    /// Rotated files that are kept.
    #[serde(default = "super::Ndjson::keep")]
    pub keep: u32,
}

/// `datakit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Datakit {
    /// `http://` or `https://` address; `user:password@` in it is basic authentication.
    pub url: String,
    /// There is one layout that it takes; it stands here so that asking for another one gets an answer.
    #[serde(default = "datakit", skip_serializing)]
    pub layout: Layout,
    /// User for basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password for basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// PEM file with the authorities that may have signed the server's certificate, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Points that wait for the server may take up this much memory; past it new ones are dropped and counted.
    #[serde(default = "super::Elasticsearch::queue_bytes")]
    pub queue_bytes: Bytes,
    /// How documents become points.
    #[serde(default)]
    pub points: Points,
}

fn datakit() -> Layout {
    Layout::Datakit
}

impl Lines {
    /// The defaults with this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            layout: Layout::Datakit,
            points: Points::default(),
            rotate_bytes: super::Ndjson::rotate_bytes(),
            keep: super::Ndjson::keep(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        only_datakit("sinks.lines.layout", self.layout)?;
        self.points
            .validate(["sinks.lines.points.interval", "sinks.lines.points.dns_interval"])
    }
}

impl Datakit {
    /// The defaults with this address. `user:password@` moves out of the address into its own settings.
    ///
    /// # Errors
    /// The address has no `http://` or `https://`, or no host.
    pub fn at(url: &str) -> Result<Self, String> {
        let mut sink = Self {
            url: url.into(),
            layout: Layout::Datakit,
            username: None,
            password: None,
            ca_file: None,
            queue_bytes: super::Elasticsearch::queue_bytes(),
            points: Points::default(),
        };
        sink.normalise()?;
        Ok(sink)
    }

    /// The port that the address names, or its scheme's.
    pub fn port(&self) -> Option<u16> {
        address::port(&self.url)
    }

    fn normalise(&mut self) -> Result<(), String> {
        let address = address::split(&self.url)?;
        if let Some((user, password)) = address.credentials {
            (self.username, self.password) = (Some(user), Some(password));
        }
        self.url = address.url;
        Ok(())
    }

    pub(super) fn validate(&mut self) -> Result<(), ConfigError> {
        self.normalise()
            .map_err(|message| ConfigError::invalid("sinks.datakit.url", message))?;
        only_datakit("sinks.datakit.layout", self.layout)?;
        self.points.validate([
            "sinks.datakit.points.interval",
            "sinks.datakit.points.dns_interval",
        ])
    }
}

fn only_datakit(setting: &'static str, layout: Layout) -> Result<(), ConfigError> {
    match layout {
        Layout::Datakit => Ok(()),
        Layout::Ecs | Layout::Pipy => Err(ConfigError::invalid(
            setting,
            format!(
                "line protocol is written in layout datakit alone; layout {layout} is for ndjson and elasticsearch"
            ),
        )),
    }
}

/// Refuses layout `datakit` where JSON is written.
pub(super) fn not_datakit(setting: &'static str, layout: Layout) -> Result<(), ConfigError> {
    match layout {
        Layout::Ecs | Layout::Pipy => Ok(()),
        Layout::Datakit => Err(ConfigError::invalid(
            setting,
            "layout datakit is line protocol and not JSON; use lines+datakit:PATH, or datakit:URL for DataKit itself",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Export, Sink};
    use super::*;

    fn sink(text: &str) -> Sink {
        match text.parse() {
            Ok(Export::To(sink)) => sink,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(mut sink: Sink) -> Option<String> {
        sink.validate().err().map(|error| error.to_string())
    }

    #[test]
    fn line_protocol_goes_to_a_file_or_to_datakit() {
        for text in ["lines+datakit:/a", "lines:/a"] {
            let lines = sink(text);
            assert_eq!(lines, Sink::Lines(Lines::at("/a")), "{text}");
            assert_eq!(refused(lines), None);
        }
        let Sink::Datakit(datakit) = sink("datakit:http://me:p%40ss@kit:9529") else {
            panic!()
        };
        assert_eq!((&*datakit.url, datakit.port()), ("http://kit:9529", Some(9529)));
        assert_eq!(datakit.username.as_deref(), Some("me"));
        assert_eq!(datakit.password, Some(Secret("p@ss".into())));
        assert_eq!(refused(Sink::Datakit(datakit)), None);
    }

    #[test]
    fn each_kind_of_sink_refuses_the_layouts_that_it_cannot_write() {
        for text in ["ndjson+datakit:/a", "elasticsearch+datakit:http://a"] {
            let error = refused(sink(text)).unwrap();
            assert!(
                error.contains(".layout: ") && error.contains("lines+datakit:PATH"),
                "{error}"
            );
        }
        for text in ["lines+ecs:/a", "lines+pipy:/a", "datakit+pipy:http://a"] {
            let error = refused(sink(text)).unwrap();
            assert!(error.contains("ndjson and elasticsearch"), "{error}");
        }
        assert!(
            refused(sink("sqlite+datakit:/a"))
                .unwrap()
                .contains("sqlite.layout")
        );
    }

    #[test]
    fn an_interval_is_neither_nothing_nor_for_ever() {
        for (interval, dns_interval, wrong) in [
            (0, 30, Some("sinks.lines.points.interval")),
            (60, 7200, Some("sinks.lines.points.dns_interval")),
            (1, 3600, None),
        ] {
            let mut lines = Lines::at("/a");
            lines.points.interval = Period::seconds(interval);
            lines.points.dns_interval = Period::seconds(dns_interval);
            let error = refused(Sink::Lines(lines));
            assert_eq!(error.is_some(), wrong.is_some(), "{error:?}");
            if let Some(wrong) = wrong {
                assert!(error.unwrap().starts_with(wrong));
            }
        }
    }
}
