//! What is kept of the traffic itself: how much of packets in mode `tap`, and bodies on request.

use crate::{Bytes, ConfigError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// Most bytes of a body that may be asked for.
const MOST: Bytes = Bytes::mib(1);

/// The `capture` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// In mode `tap`, memory for packets that wait to be read: of the whole process, shared by its data threads.
    pub ring: Bytes,
    /// In mode `tap`, bytes that are kept of a packet, from its IP header on; those behind them are a gap of known size.
    pub snaplen: Bytes,
    /// In the modes that relay, packets are looked at too, as in mode `tap`: for what is not redirected.
    pub beside: bool,
    /// Bodies of HTTP messages.
    pub bodies: Bodies,
}

/// Which bodies are kept, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bodies {
    /// Most bytes of a body that its document holds, counted once without its content codings; 0 for no bodies.
    pub max_bytes: Bytes,
    /// Media types whose bodies are kept: `application/json`, `text/*`, `*/*+json`; `*/*` is any, and none at all.
    pub content_types: Vec<MediaRange>,
}

/// Media types of a kind, written as `application/json`, `text/*`, `*/*+json` or `*/*`, in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRange {
    /// In lower case; `None` is any.
    kind: Option<String>,
    /// In lower case; with [`Self::ends`] only its end.
    subtype: String,
    /// The subtype ends so, as in `*+json`; `*` is an empty end.
    ends: bool,
}

/// Texts that programs send each other.
const USUAL: [&str; 8] = [
    "text/*",
    "application/json",
    "*/*+json",
    "application/x-ndjson",
    "application/xml",
    "*/*+xml",
    "application/x-www-form-urlencoded",
    "application/graphql",
];

impl Default for Bodies {
    fn default() -> Self {
        Self {
            max_bytes: Bytes(0),
            content_types: USUAL.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            ring: Bytes::mib(16),
            snaplen: Bytes(256 << 10),
            beside: false,
            bodies: Bodies::default(),
        }
    }
}

impl Capture {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.bodies.max_bytes > MOST {
            return Err(ConfigError::invalid(
                "capture.bodies.max_bytes",
                format!("allowed are 0 to {MOST}"),
            ));
        }
        if !(Bytes::mib(1)..=Bytes::mib(1024)).contains(&self.ring) {
            return Err(ConfigError::invalid("capture.ring", "allowed are 1MiB to 1GiB"));
        }
        if !(96..=256 << 10).contains(&self.snaplen.0) {
            // Headers of IPv6 and TCP with options have to be there.
            return Err(ConfigError::invalid(
                "capture.snaplen",
                "allowed are 96B to 256KiB",
            ));
        }
        Ok(())
    }
}

impl Bodies {
    /// Most bytes of a body that are kept; 0 for no bodies.
    pub fn max(&self) -> usize {
        usize::try_from(self.max_bytes.0).unwrap_or(usize::MAX)
    }

    /// Whether the body of a message with this Content-Type is kept; parameters and case do not matter.
    pub fn keeps(&self, content_type: Option<&[u8]>) -> bool {
        if self.max_bytes.0 == 0 {
            return false;
        }
        let media = content_type.unwrap_or_default();
        let media = media.split(|byte| *byte == b';').next().unwrap_or_default();
        let media = media.trim_ascii();
        self.content_types.iter().any(|range| range.matches(media))
    }
}

impl MediaRange {
    /// Whether this media type, without parameters, is one of them. One that is none is only of `*/*`.
    fn matches(&self, media: &[u8]) -> bool {
        let mut parts = media.splitn(2, |byte| *byte == b'/');
        let kind = parts.next().unwrap_or_default();
        let Some(subtype) = parts.next() else {
            return self.kind.is_none() && self.ends && self.subtype.is_empty();
        };
        let same = |a: &[u8], b: &str| a.eq_ignore_ascii_case(b.as_bytes());
        if self.kind.as_ref().is_some_and(|own| !same(kind, own)) {
            return false;
        }
        if !self.ends {
            return same(subtype, &self.subtype);
        }
        let end = subtype.len().checked_sub(self.subtype.len());
        end.is_some_and(|end| same(&subtype[end..], &self.subtype))
    }
}

impl FromStr for MediaRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
        };
        let lower = text.trim().to_ascii_lowercase();
        if let Some((kind, subtype)) = lower.split_once('/')
            && (kind == "*" || token(kind))
        {
            let end = subtype.strip_prefix('*');
            if end.map_or_else(|| token(subtype), |end| end.is_empty() || token(end)) {
                return Ok(Self {
                    kind: (kind != "*").then(|| kind.to_owned()),
                    subtype: end.unwrap_or(subtype).to_owned(),
                    ends: end.is_some(),
                });
            }
        }
        Err(format!(
            "`{text}` is not a media type; write for example application/json, text/*, */*+json, or */* for any"
        ))
    }
}

impl fmt::Display for MediaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = if self.ends { "*" } else { "" };
        write!(f, "{}/{any}{}", self.kind.as_deref().unwrap_or("*"), self.subtype)
    }
}

impl Serialize for MediaRange {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MediaRange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(ranges: &[&str], content_type: Option<&str>) -> bool {
        let bodies = Bodies {
            max_bytes: Bytes(1),
            content_types: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        };
        bodies.keeps(content_type.map(str::as_bytes))
    }

    #[test]
    fn media_types_are_told_by_type_subtype_or_suffix() {
        for (range, inside, outside) in [
            (
                "application/json",
                "Application/JSON; charset=utf-8",
                "application/json5",
            ),
            ("text/*", "text/html", "application/text"),
            ("*/*+json", "application/problem+json", "application/json"),
            ("application/*+xml", "application/soap+xml ;a=b", "image/svg+xml"),
            ("*/json", "x/json", "application/x-json"),
        ] {
            assert!(keeps(&[range], Some(inside)), "{range}");
            assert!(!keeps(&[range], Some(outside)), "{range}");
            assert!(!keeps(&[range], None), "{range}");
        }
        for any in [Some("image/png"), Some("nonsense"), Some(""), None] {
            assert!(keeps(&["*/*"], any));
            assert!(!keeps(&["text/*", "*/*+json"], any));
            assert!(!keeps(&[], any));
        }
    }

    #[test]
    fn by_default_no_body_is_kept_and_then_texts_are() {
        let mut bodies = Bodies::default();
        assert!(!bodies.keeps(Some(b"application/json")));
        bodies.max_bytes = Bytes(1);
        assert_eq!(bodies.content_types.len(), USUAL.len());
        for kept in [
            "application/json",
            "text/plain",
            "application/problem+json",
            "application/atom+xml",
        ] {
            assert!(bodies.keeps(Some(kept.as_bytes())), "{kept}");
        }
        for left in [
            "application/grpc",
            "image/png",
            "application/octet-stream",
            "multipart/form-data",
        ] {
            assert!(!bodies.keeps(Some(left.as_bytes())), "{left}");
        }
    }

    #[test]
    fn ranges_are_written_as_they_are_read() {
        for text in ["text/*", "*/*+json", "*/*", "application/json", "*/json"] {
            assert_eq!(text.parse::<MediaRange>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "*",
            "json",
            "text/",
            "/json",
            "text/a b",
            "a*/b",
            "text/*x*",
            "text/a;b=c",
        ] {
            let error = text.parse::<MediaRange>().unwrap_err();
            assert!(error.contains("application/json"), "{error}");
        }
    }
}
