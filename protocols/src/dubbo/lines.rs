//! Fastjson's text: a line of JSON for each item.

use super::items::{NO_NUMBER, NO_TEXT, Place};
use super::jsonpath;
use crate::hessian2::{Fault, Read};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, fmt};
use weir_records::Builder;

/// The items that are left.
pub(super) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    fn line(&mut self) -> Read<&'a [u8]> {
        if self.0.is_empty() {
            return Err(Fault::End);
        }
        let end = memchr::memchr(b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(line)
    }

    pub fn text(&mut self) -> Read<Option<String>> {
        serde_json::from_slice(self.line()?).map_err(|error| fault(&error, NO_TEXT))
    }

    pub fn int(&mut self) -> Read<i32> {
        serde_json::from_slice(self.line()?).map_err(|error| fault(&error, NO_NUMBER))
    }

    pub fn value(&mut self, builder: &mut Builder<'_>, place: Place) -> Read<()> {
        let line = self.line()?;
        let mut json = serde_json::Deserializer::from_slice(line);
        Put { builder, place }
            .deserialize(&mut json)
            .and_then(|()| json.end())
            .map_err(|error| fault(&error, Fault::Malformed("a line is not JSON")))
    }
}

fn fault(error: &serde_json::Error, otherwise: Fault) -> Fault {
    if error.is_eof() { Fault::End } else { otherwise }
}

/// Puts a value into a builder.
struct Put<'b, 'p> {
    builder: &'b mut Builder<'p>,
    place: Place,
}

impl<'p> Put<'_, 'p> {
    fn again(&mut self) -> Put<'_, 'p> {
        Put {
            builder: self.builder,
            place: self.place,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Put<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Put<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.builder.null();
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.builder.bool(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.builder.int(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.builder.unsigned(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.builder.double(value);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.builder.text(text, text.len() as u64);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.builder.begin_list();
        while items.next_element_seed(self.again())?.is_some() {}
        self.builder.end();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut key = map.next_key::<Cow<'de, str>>()?;
        match key.as_deref() {
            // Fastjson's own keys come first.
            Some("@type") => {
                let kind: String = map.next_value()?;
                let kind = self.builder.name(&kind);
                self.builder.begin_map(Some(kind), false);
                key = map.next_key()?;
            }
            Some("$ref") => {
                let path: String = map.next_value()?;
                self.builder
                    .reference_to(&jsonpath::pointer(&self.place.to_string(), &path));
                while map
                    .next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?
                    .is_some()
                {}
                return Ok(());
            }
            _ => {
                self.builder.begin_map(None, false);
            }
        }
        while let Some(name) = key {
            self.builder.key(&name);
            map.next_value_seed(self.again())?;
            key = map.next_key()?;
        }
        self.builder.end();
        Ok(())
    }
}
