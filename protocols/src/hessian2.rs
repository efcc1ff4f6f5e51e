//! Hessian 2 (<http://hessian.caucho.com/doc/hessian-serialization.html>, as `hessian-lite` and its ports write it): values one
//! behind the other, read in one pass into JSON.
//!
//! `cursor` reads bytes and numbers, `text` strings and binary data in their chunks, `value` everything else. Class
//! definitions, type names and references count through all values of one message, so one [`Reader`] reads all of them.
//!
//! Nothing is allocated for what a length claims: lists grow with the bytes that are there, and what a builder leaves out
//! is read past.

mod cursor;
mod text;
mod value;

use cursor::Cursor;
use std::borrow::Cow;
use weir_records::{Name, Place};

/// Values within each other that are read; what is deeper ends the reading. (A builder keeps far fewer.)
const MAX_DEPTH: usize = 200;

/// Classes, fields and types of one message that are remembered. A name may be a single byte on the wire, and takes much more
/// memory than that.
const MAX_NAMES: usize = 16 << 10;

/// Why a value can't be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end within it.
    End,
    /// They are not what the format allows.
    Malformed(&'static str),
}

/// What reading gives.
pub(crate) type Read<T> = Result<T, Fault>;

/// Reads the values of one message.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    cursor: Cursor<'a>,
    classes: Vec<Class<'a>>,
    types: Vec<Named<'a>>,
    /// Classes, fields and types so far.
    names: usize,
    places: Places,
    /// Which builder is in use.
    builder: usize,
    depth: usize,
    scratch: String,
}

/// Where lists, maps and objects stand. They are counted through the message; only what a builder took has a place.
#[derive(Debug, Default)]
struct Places {
    count: usize,
    /// The number of each that has a place, the builder, and the place there; by the first.
    known: Vec<(usize, usize, Place)>,
}

/// A class definition.
#[derive(Debug)]
struct Class<'a> {
    named: Named<'a>,
    fields: Vec<Named<'a>>,
    /// The fields are all different.
    unique: bool,
}

/// A name, and its like in the builder that it was last used with: its text is put into each but once.
#[derive(Debug)]
struct Named<'a> {
    name: Cow<'a, str>,
    known: Option<(usize, Name)>,
}

impl Places {
    fn push(&mut self, builder: usize, place: Place) {
        if place != Place::NOWHERE {
            self.known.push((self.count, builder, place));
        }
        self.count += 1;
    }

    fn find(&self, number: usize, builder: usize) -> Place {
        let found = self.known.binary_search_by_key(&number, |(number, ..)| *number);
        match found.ok().and_then(|at| self.known.get(at)) {
            Some((_, within, place)) if *within == builder => *place,
            _ => Place::NOWHERE,
        }
    }
}

impl<'a> Reader<'a> {
    /// For these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            cursor: Cursor::new(bytes),
            classes: Vec::new(),
            types: Vec::new(),
            names: 0,
            places: Places::default(),
            builder: 0,
            depth: 0,
            scratch: String::new(),
        }
    }

    /// What comes next goes into another builder. References do not reach from one to another.
    pub fn another(&mut self) {
        self.builder += 1;
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.cursor.rest().len()
    }

    #[cfg(test)]
    pub fn is_done(&self) -> bool {
        self.cursor.rest().is_empty()
    }
}

#[cfg(test)]
mod tests;
