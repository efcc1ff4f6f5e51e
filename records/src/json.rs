//! Any JSON value, as a peer sent it in a format of its own: arguments and results of calls.
//!
//! The value is one list of nodes and one text that they point into, so that a value of hundreds of parts costs two
//! allocations, keeps every digit of its numbers, and is written by whichever serialiser comes.

mod builder;
mod paths;

pub use builder::{Bounds, Builder, Name, Place};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::{borrow::Cow, fmt::Write};

/// A JSON value; nothing at all (serialised as `null`) by default. A [`Builder`] makes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json {
    nodes: Vec<Node>,
    text: String,
}

/// A part of [`Json::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// One value. What a list or a map holds comes right behind it, up to the node `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Double(f64),
    Text(Span),
    /// Text that is no language: it is not searched for words.
    Encoded(Span),
    /// Where another node stands, before that is put into words.
    Pointer(u32),
    List {
        end: u32,
    },
    /// Keys and values in turn.
    Map {
        end: u32,
        /// The first thing in it is the name of its type.
        typed: bool,
        /// Its keys can't be those of a JSON object: some are no text, occur twice, or look like ours.
        entries: bool,
    },
}

impl Json {
    /// The value `null`.
    pub fn null() -> Self {
        Self {
            nodes: vec![Node::Null],
            text: String::new(),
        }
    }

    /// Nothing was put into it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The text that it is, or the text at this key of the object that it is.
    pub fn get(&self, key: Option<&str>) -> Option<&str> {
        let Some(key) = key else {
            return self.text_of(0);
        };
        self.text_of(self.find_key(key)?)
    }

    /// The node at this key of the object that it is.
    fn find_key(&self, key: &str) -> Option<usize> {
        let Some(Node::Map { end, typed, .. }) = self.nodes.first() else {
            return None;
        };
        let mut at = 1 + usize::from(*typed);
        while at < *end as usize {
            let value = self.after(at);
            if self.text_of(at) == Some(key) {
                return Some(value);
            }
            at = self.after(value);
        }
        None
    }

    /// The whole number at this key of the object that it is, written as a number or as a text.
    pub fn whole(&self, key: &str) -> Option<i64> {
        match self.nodes.get(self.find_key(key)?)? {
            Node::Int(number) => Some(*number),
            Node::Text(span) => self.at(*span).parse().ok(),
            _ => None,
        }
    }

    /// The name of the type of the object that it is.
    pub fn type_name(&self) -> Option<&str> {
        match self.nodes.first() {
            Some(Node::Map { typed: true, .. }) => self.text_of(1),
            _ => None,
        }
    }

    /// The texts in the list that it is.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let mut at = 1;
        let list = matches!(self.nodes.first(), Some(Node::List { .. }));
        std::iter::from_fn(move || {
            let here = at;
            at = if list && here < self.nodes.len() {
                self.after(here)
            } else {
                return None;
            };
            Some(self.text_of(here).unwrap_or_default())
        })
    }

    /// What is in the list that it is; of anything else, that alone.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'_>> {
        let list = matches!(self.nodes.first(), Some(Node::List { .. }));
        let mut at = usize::from(list);
        std::iter::from_fn(move || {
            let here = at;
            at = self.after(here);
            (here < self.nodes.len()).then_some(At(self, here))
        })
    }

    /// Becomes nothing at all where it is no more than `null`, or an object or a list with nothing in it.
    pub fn drop_hollow(&mut self) {
        if let [Node::Null | Node::Map { .. } | Node::List { .. }] = &self.nodes[..] {
            *self = Self::default();
        }
    }

    /// Its texts and numbers in a row, for whoever looks for a word, up to so many bytes. Names are not among them.
    pub fn words(&self, max: usize) -> String {
        let mut words = String::new();
        self.gather(0, &mut words, max);
        words.truncate(words.floor_char_boundary(max));
        words
    }

    fn gather(&self, at: usize, words: &mut String, max: usize) {
        let mut put = |word: &dyn std::fmt::Display| {
            if !words.is_empty() {
                words.push(' ');
            }
            // Writing to a string can't fail.
            let _ = write!(words, "{word}");
        };
        match self.nodes.get(at) {
            Some(Node::Text(span)) => put(&self.at(*span)),
            Some(Node::Int(number)) => put(number),
            Some(Node::Unsigned(number)) => put(number),
            Some(Node::Double(number)) => put(number),
            Some(Node::List { end }) => {
                let mut item = at + 1;
                while item < *end as usize && words.len() < max {
                    self.gather(item, words, max);
                    item = self.after(item);
                }
            }
            Some(Node::Map { end, typed, entries }) => {
                let mut item = at + 1 + usize::from(*typed);
                while item < *end as usize && words.len() < max {
                    if *entries {
                        self.gather(item, words, max);
                    }
                    item = self.after(item);
                    self.gather(item, words, max);
                    item = self.after(item);
                }
            }
            _ => {}
        }
    }

    /// The node behind this one and all that it holds.
    fn after(&self, at: usize) -> usize {
        match self.nodes.get(at) {
            Some(Node::List { end } | Node::Map { end, .. }) => *end as usize,
            _ => at + 1,
        }
    }

    fn at(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    fn text_of(&self, at: usize) -> Option<&str> {
        match self.nodes.get(at) {
            Some(Node::Text(span)) => Some(self.at(*span)),
            _ => None,
        }
    }
}

/// A value within a [`Json`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a>(&'a Json, usize);

impl At<'_> {
    /// It is neither list nor map.
    pub(crate) fn is_plain(self) -> bool {
        !matches!(
            self.0.nodes.get(self.1),
            Some(Node::List { .. } | Node::Map { .. })
        )
    }
}

/// A key and its value as a list of two.
struct Pair<'a>(&'a Json, usize);

/// The pairs of a map.
struct Entries<'a>(&'a Json, usize, usize);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        At(self, 0).serialize(s)
    }
}

impl Serialize for At<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(json, at) = *self;
        match json.nodes.get(at) {
            Some(Node::Bool(value)) => s.serialize_bool(*value),
            Some(Node::Int(value)) => s.serialize_i64(*value),
            Some(Node::Unsigned(value)) => s.serialize_u64(*value),
            Some(Node::Double(value)) => s.serialize_f64(*value),
            Some(Node::Text(span) | Node::Encoded(span)) => s.serialize_str(json.at(*span)),
            Some(Node::List { end }) => {
                let mut list = s.serialize_seq(None)?;
                let mut item = at + 1;
                while item < *end as usize {
                    list.serialize_element(&At(json, item))?;
                    item = json.after(item);
                }
                list.end()
            }
            Some(Node::Map { end, typed, entries }) => {
                let mut map = s.serialize_map(None)?;
                let mut item = at + 1;
                if *typed {
                    map.serialize_entry("@type", &At(json, item))?;
                    item += 1;
                }
                if *entries {
                    map.serialize_entry("@entries", &Entries(json, item, *end as usize))?;
                    return map.end();
                }
                while item < *end as usize {
                    map.serialize_entry(json.text_of(item).unwrap_or_default(), &At(json, item + 1))?;
                    item = json.after(item + 1);
                }
                map.end()
            }
            Some(Node::Null | Node::Pointer(_)) | None => s.serialize_unit(),
        }
    }
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(json, mut item, end) = *self;
        let mut list = s.serialize_seq(None)?;
        while item < end {
            list.serialize_element(&Pair(json, item))?;
            item = json.after(json.after(item));
        }
        list.end()
    }
}

impl Serialize for Pair<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(json, key) = *self;
        let mut pair = s.serialize_seq(Some(2))?;
        pair.serialize_element(&At(json, key))?;
        pair.serialize_element(&At(json, json.after(key)))?;
        pair.end()
    }
}

impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-elasticsearch": "json"})
    }
}

#[cfg(test)]
mod tests;
