//! The items of a body, one behind the other, as each serialization writes them.

use super::{jsonb, lines, names};
use crate::hessian2::{Fault, Read, Reader};
use std::{borrow::Cow, fmt};
use weir_records::Builder;

/// Reads the items of one body.
pub(super) enum Items<'a> {
    Hessian2(Reader<'a>),
    Jsonb(jsonb::Items<'a>),
    Lines(lines::Items<'a>),
}

impl<'a> Items<'a> {
    /// For a body in this serialization, if it is one that is read here.
    pub fn new(serialization: u8, body: &'a [u8]) -> Option<Self> {
        Some(match serialization {
            names::HESSIAN2 | names::NATIVE_HESSIAN => Self::Hessian2(Reader::new(body)),
            names::FASTJSON2 => Self::Jsonb(jsonb::Items::new(body)),
            names::FASTJSON => Self::Lines(lines::Items::new(body)),
            _ => return None,
        })
    }

    /// A text or null.
    pub fn text(&mut self) -> Read<Option<String>> {
        match self {
            Self::Hessian2(reader) => Ok(reader.string()?.map(Cow::into_owned)),
            Self::Jsonb(items) => items.text(),
            Self::Lines(items) => items.text(),
        }
    }

    /// The last text of a body, or the beginning of one that is cut.
    pub fn last_text(&mut self) -> (Option<String>, Read<()>) {
        match self {
            Self::Hessian2(reader) => reader.last_string(),
            Self::Jsonb(_) | Self::Lines(_) => match self.text() {
                Ok(text) => (text, Ok(())),
                Err(fault) => (None, Err(fault)),
            },
        }
    }

    /// A small whole number.
    pub fn int(&mut self) -> Read<i32> {
        match self {
            Self::Hessian2(reader) => reader.int(),
            Self::Jsonb(items) => items.int(),
            Self::Lines(items) => items.int(),
        }
    }

    /// The next item is a number. (Only asked of Hessian, whose dialect Dubbox has one there.)
    pub fn is_int(&self) -> bool {
        matches!(self, Self::Hessian2(reader) if reader.is_int())
    }

    /// Any value, put into the builder.
    pub fn value(&mut self, builder: &mut Builder<'_>, place: Place) -> Read<()> {
        match self {
            Self::Hessian2(reader) => reader.value(builder),
            Self::Jsonb(items) => items.value(builder, place),
            Self::Lines(items) => items.value(builder, place),
        }
    }

    /// About so many bytes are left; 0 where that is not told.
    pub fn left(&self) -> usize {
        match self {
            Self::Hessian2(reader) => reader.left(),
            _ => 0,
        }
    }

    /// What comes next goes into another builder.
    pub fn another(&mut self) {
        if let Self::Hessian2(reader) = self {
            reader.another();
        }
    }
}

/// Where an item will stand in the document: at a JSON pointer, or so far down the list there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(pub &'static str, pub Option<usize>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(at) => write!(f, "{}/{at}", self.0),
            None => f.write_str(self.0),
        }
    }
}

/// What is wrong with an item that is not what it must be.
pub(super) const NO_TEXT: Fault = Fault::Malformed("something else stands in place of a string");
/// The same of a number.
pub(super) const NO_NUMBER: Fault = Fault::Malformed("something else stands in place of a number");
