//! Headers as documents hold them. Every document about HTTP has some twenty names and values, nearly all of them short, and
//! making and dropping them is a good part of what a document costs: short texts stand in place, and a name that does not
//! repeat needs no list.

use compact_str::CompactString;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, collections::BTreeMap, slice};

/// Headers by lower-case name, in order of arrival; a repeated header has several values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    list: Vec<Header>,
    /// A bit for each name: one whose bit is not set is not there.
    seen: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    name: CompactString,
    values: Values,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    One(CompactString),
    Many(Vec<CompactString>),
}

impl Values {
    fn all(&self) -> &[CompactString] {
        match self {
            Self::One(value) => slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    fn push(&mut self, value: CompactString) {
        match self {
            Self::One(first) => *self = Self::Many(vec![std::mem::take(first), value]),
            Self::Many(values) => values.push(value),
        }
    }
}

impl Headers {
    /// None, with room for so many.
    pub fn with_capacity(most: usize) -> Self {
        Self {
            list: Vec::with_capacity(most),
            seen: 0,
        }
    }

    /// Appends a value; the name is in lower case.
    pub fn push(&mut self, name: impl Into<CompactString>, value: impl Into<CompactString>) {
        let (name, value) = (name.into(), value.into());
        let bit = bit(name.as_bytes());
        if self.seen & bit != 0
            && let Some(header) = self.list.iter_mut().find(|header| header.name == name)
        {
            return header.values.push(value);
        }
        self.seen |= bit;
        self.list.push(Header {
            name,
            values: Values::One(value),
        });
    }

    /// The values under a name in lower case.
    pub fn get(&self, name: &str) -> Option<&[CompactString]> {
        let header = self.list.iter().find(|header| header.name == name)?;
        Some(header.values.all())
    }

    /// Names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[CompactString])> {
        self.list
            .iter()
            .map(|header| (header.name.as_str(), header.values.all()))
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// One bit of 64, by the length and both ends of a name: most that occur together differ in one of them.
#[inline]
fn bit(name: &[u8]) -> u64 {
    let end = |byte: Option<&u8>| byte.copied().map_or(0, usize::from);
    1 << ((name.len() * 7 + end(name.first()) + end(name.last()) * 5) % 64)
}

impl<N: Into<CompactString>, V: Into<CompactString>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            headers.push(name, value);
        }
        headers
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.iter().map(|(name, values)| (name, Texts(values))))
    }
}

struct Texts<'a>(&'a [CompactString]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(CompactString::as_str))
    }
}

impl JsonSchema for Headers {
    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, Vec<String>>::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, Vec<String>>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn values_of_a_name_stand_together_in_order_of_arrival() {
        let long = "x".repeat(100);
        let headers: Headers = [
            ("via", "a"),
            ("host", "h"),
            ("via", "b"),
            ("via", &long),
            ("a", ""),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            serde_json::to_string(&headers).unwrap(),
            format!(r#"{{"via":["a","b","{long}"],"host":["h"],"a":[""]}}"#)
        );
        assert_eq!(headers.get("via").unwrap().len(), 3);
        assert_eq!(headers.get("Via"), None);
        assert!(Headers::with_capacity(4).is_empty());
    }
}
