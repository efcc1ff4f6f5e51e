//! Where documents go: the `sinks` section and its short form on the command line.

mod address;
mod points;

use crate::{Bytes, ConfigError, Layout, Period};
pub use points::{Datakit, Lines, Points};
use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, path::PathBuf, str::FromStr};

/// One destination of documents: `ndjson: {path: …}` in the file, `ndjson:PATH` on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sink {
    /// One JSON document a line, in a file with rotation or on standard output.
    Ndjson(Ndjson),
    /// The embedded store.
    Sqlite(Sqlite),
    /// Elasticsearch or OpenSearch.
    Elasticsearch(Elasticsearch),
    /// Line protocol, in a file with rotation or on standard output.
    Lines(Lines),
    /// DataKit, which takes line protocol.
    Datakit(Datakit),
}

/// `ndjson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ndjson {
    /// The file; `-` for standard output.
    pub path: PathBuf,
    /// The shape of documents.
    #[serde(default)]
    pub layout: Layout,
    /// A file that has grown to this size is renamed to `PATH.1` (and `PATH.1` to `PATH.2`, …); `0B` for never.
    #[serde(default = "Ndjson::rotate_bytes")]
    pub rotate_bytes: Bytes,
    /// Rotated files that are kept.
    #[serde(default = "Ndjson::keep")]
    pub keep: u32,
}

/// `sqlite`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    /// The database file.
    pub path: PathBuf,
    /// The store's readers know one shape only; it stands here so that asking for another one gets an answer.
    #[serde(default, skip_serializing)]
    pub layout: Layout,
    /// Oldest documents are deleted when the store outgrows this size; `0B` for never.
    #[serde(default = "Sqlite::max_bytes")]
    pub max_bytes: Bytes,
    /// Documents older than this are deleted; `0s` for never.
    #[serde(default = "Sqlite::max_age")]
    pub max_age: Period,
}

/// `elasticsearch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elasticsearch {
    /// `http://` or `https://` address; `user:password@` in it is basic authentication.
    pub url: String,
    /// The shape of documents.
    #[serde(default)]
    pub layout: Layout,
    /// Index that documents are written to, `weir` if none is named. In layout `pipy` there are two, `http` and `dubbo`, and
    /// a name given here stands before them: `shop` makes `shop-http` and `shop-dubbo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// User for basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password for basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// API key, encoded as Elasticsearch returns it (base64 of `id:key`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// PEM file with the authorities that may have signed the server's certificate, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Documents wait at most so long for a bulk request to fill.
    #[serde(default = "Elasticsearch::flush_interval")]
    pub flush_interval: Period,
    /// Largest bulk request before compression.
    #[serde(default = "Elasticsearch::bulk_bytes")]
    pub bulk_bytes: Bytes,
    /// Documents that wait for the server may take up this much memory; past it new ones are dropped and counted.
    #[serde(default = "Elasticsearch::queue_bytes")]
    pub queue_bytes: Bytes,
    /// Install the index template at start.
    #[serde(default = "Elasticsearch::template")]
    pub template: bool,
}

/// A value that no output shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("<redacted>")
    }
}

impl Ndjson {
    pub(super) fn rotate_bytes() -> Bytes {
        Bytes::mib(100)
    }
    pub(super) fn keep() -> u32 {
        5
    }
}

impl Sqlite {
    fn max_bytes() -> Bytes {
        Bytes::mib(512)
    }
    fn max_age() -> Period {
        Period::seconds(7 * 24 * 3600)
    }
}

impl Elasticsearch {
    fn flush_interval() -> Period {
        Period::seconds(1)
    }
    fn bulk_bytes() -> Bytes {
        Bytes::mib(4)
    }
    pub(super) fn queue_bytes() -> Bytes {
        Bytes::mib(64)
    }
    fn template() -> bool {
        true
    }

    /// The defaults with this address. `user:password@` moves out of the address into its own settings.
    ///
    /// # Errors
    /// The address has no `http://` or `https://`, or no host.
    pub fn at(url: &str) -> Result<Self, String> {
        let mut sink = Self {
            url: url.into(),
            layout: Layout::default(),
            index: None,
            username: None,
            password: None,
            api_key: None,
            ca_file: None,
            flush_interval: Self::flush_interval(),
            bulk_bytes: Self::bulk_bytes(),
            queue_bytes: Self::queue_bytes(),
            template: Self::template(),
        };
        sink.normalise()?;
        Ok(sink)
    }

    /// The port that the address names, or its scheme's.
    pub fn port(&self) -> Option<u16> {
        address::port(&self.url)
    }

    /// Takes credentials out of the address.
    fn normalise(&mut self) -> Result<(), String> {
        let address = address::split(&self.url)?;
        if let Some((user, password)) = address.credentials {
            (self.username, self.password) = (Some(user), Some(password));
        }
        self.url = address.url;
        Ok(())
    }
}

/// What `--export` may say: a sink, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// Export to this sink.
    To(Sink),
    /// Export nowhere: whatever the file says is dropped.
    None,
}

impl FromStr for Export {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "allowed are ndjson:PATH, ndjson:-, sqlite:PATH, elasticsearch:URL, none, \
            ndjson+pipy:PATH, elasticsearch+pipy:URL for that layout, and lines+datakit:PATH, datakit:URL for that one";
        if text == "none" {
            return Ok(Self::None);
        }
        let (kind, rest) = text
            .split_once(':')
            .filter(|(_, rest)| !rest.is_empty())
            .ok_or_else(|| format!("`{text}`: {ALLOWED}"))?;
        let (kind, named) = match kind.split_once('+') {
            Some((kind, layout)) => (kind, Some(layout.parse()?)),
            None => (kind, None),
        };
        let layout = named.unwrap_or_default();
        let sink = match kind {
            "ndjson" => Sink::Ndjson(Ndjson {
                path: rest.into(),
                layout,
                rotate_bytes: Ndjson::rotate_bytes(),
                keep: Ndjson::keep(),
            }),
            "sqlite" => Sink::Sqlite(Sqlite {
                path: rest.into(),
                layout,
                max_bytes: Sqlite::max_bytes(),
                max_age: Sqlite::max_age(),
            }),
            "elasticsearch" => Sink::Elasticsearch(Elasticsearch {
                layout,
                ..Elasticsearch::at(rest)?
            }),
            "lines" => Sink::Lines(Lines {
                layout: named.unwrap_or(Layout::Datakit),
                ..Lines::at(rest)
            }),
            "datakit" => Sink::Datakit(Datakit {
                layout: named.unwrap_or(Layout::Datakit),
                ..Datakit::at(rest)?
            }),
            _ => return Err(format!("`{kind}` is not a sink; {ALLOWED}")),
        };
        Ok(Self::To(sink))
    }
}

impl Sink {
    pub(crate) fn validate(&mut self) -> Result<(), ConfigError> {
        match self {
            Self::Ndjson(sink) => points::not_datakit("sinks.ndjson.layout", sink.layout),
            Self::Lines(sink) => sink.validate(),
            Self::Datakit(sink) => sink.validate(),
            Self::Sqlite(sink) => match sink.layout {
                Layout::Ecs => Ok(()),
                layout => Err(ConfigError::invalid(
                    "sinks.sqlite.layout",
                    format!(
                        "the embedded store holds documents in layout ecs alone, which its readers know; \
                         layout {layout} is for ndjson and elasticsearch"
                    ),
                )),
            },
            Self::Elasticsearch(sink) => {
                points::not_datakit("sinks.elasticsearch.layout", sink.layout)?;
                sink.normalise()
                    .map_err(|message| ConfigError::invalid("sinks.elasticsearch.url", message))?;
                if sink.api_key.is_some() && sink.username.is_some() {
                    return Err(ConfigError::invalid(
                        "sinks.elasticsearch.api_key",
                        "give either an API key or a user, not both",
                    ));
                }
                if !(1024..=1 << 30).contains(&sink.bulk_bytes.0) {
                    return Err(ConfigError::invalid(
                        "sinks.elasticsearch.bulk_bytes",
                        "allowed are 1KiB to 1GiB",
                    ));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        let Ok(Export::To(Sink::Elasticsearch(sink))) = "elasticsearch:https://me:p%40ss@es:9200/x@y".parse()
        else {
            panic!()
        };
        assert_eq!(sink.url, "https://es:9200/x@y");
        assert_eq!(
            (
                sink.username.as_deref(),
                sink.password.as_ref().map(|s| s.0.as_str())
            ),
            (Some("me"), Some("p@ss"))
        );
        assert!(!format!("{sink:?}").contains("p@ss"));
        assert!(!serde_json::to_string(&sink).unwrap().contains("p@ss"));
    }

    #[test]
    fn an_unknown_sink_says_what_is_allowed() {
        for text in ["kafka:x", "ndjson:", "ndjson", "elasticsearch:es:9200", ""] {
            assert!(
                text.parse::<Export>()
                    .unwrap_err()
                    .contains("http:// or https://")
                    || text.parse::<Export>().unwrap_err().contains("allowed are"),
                "{text}"
            );
        }
        assert_eq!("none".parse(), Ok(Export::None));
    }

    #[test]
    fn a_layout_is_named_behind_the_kind() {
        let layout = |text: &str| match text.parse() {
            Ok(Export::To(Sink::Ndjson(sink))) => (sink.layout, sink.path.display().to_string()),
            Ok(Export::To(Sink::Elasticsearch(sink))) => (sink.layout, sink.url),
            other => panic!("{other:?}"),
        };
        assert_eq!(layout("ndjson:a+pipy:b"), (Layout::Ecs, "a+pipy:b".into()));
        assert_eq!(layout("ndjson+ecs:a"), (Layout::Ecs, "a".into()));
        assert_eq!(layout("ndjson+pipy:-"), (Layout::Pipy, "-".into()));
        let url = "http://es:9200";
        assert_eq!(
            layout(&format!("elasticsearch+pipy:{url}")),
            (Layout::Pipy, url.into())
        );
        let error = "ndjson+kibana:a".parse::<Export>().unwrap_err();
        assert!(
            error.contains("`kibana`") && error.contains("ecs, pipy and datakit"),
            "{error}"
        );
    }

    #[test]
    fn the_store_has_one_layout() {
        let validated = |text: &str| match text.parse() {
            Ok(Export::To(mut sink)) => sink.validate().map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(validated("sqlite+ecs:a"), Ok(()));
        assert_eq!(validated("ndjson+pipy:a"), Ok(()));
        let error = validated("sqlite+pipy:a").unwrap_err();
        assert!(
            error.starts_with("sinks.sqlite.layout: ") && error.contains("ndjson and elasticsearch"),
            "{error}"
        );
    }
}
