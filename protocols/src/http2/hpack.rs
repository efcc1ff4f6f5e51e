//! HPACK (RFC 7541) that survives a table it has not seen whole.
//!
//! Decoders made for peers end the connection at an index that they don't know, as the RFC demands. An observer who came
//! late, or missed bytes, can go on: the newest entries of the dynamic table have the lowest indexes, so whatever was
//! inserted since then is known for certain, and an index behind it stands for something unknown. That is said, never
//! guessed.

mod fields;
mod huffman;
mod static_table;

use super::faults::Fault;
use super::rules::{Marks, Rules};
pub(super) use fields::Fields;
use static_table::STATIC;
use std::collections::VecDeque;

/// Most of a dynamic table that is kept, in the RFC's measure. A peer that allows more and uses it has entries which are
/// unknown here.
const MAX_TABLE: usize = 64 << 10;
/// Size of a table before anything was said.
const DEFAULT_TABLE: usize = 4096;
/// What the RFC adds to an entry's bytes.
const OVERHEAD: usize = 32;
/// Memory that is kept for each of the name and the value of the next field.
const SCRATCH: usize = 1 << 10;

/// A header block that is none. What comes after it can't be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One direction's state.
#[derive(Debug)]
pub(super) struct Hpack {
    /// The newest first.
    table: VecDeque<Entry>,
    size: usize,
    /// As the peers agreed.
    max: usize,
    /// The most that the reading peer's settings allow, as far as they were seen.
    allowed: usize,
    /// Every entry of the peers' table is known.
    complete: bool,
    scratch: [Vec<u8>; 2],
}

/// An entry: its name and its value in one piece of memory.
#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    /// Bytes of the name, if that is known.
    name: Option<u32>,
    /// Name and value are there.
    kept: bool,
    marks: Marks,
}

impl Entry {
    fn new(name: Option<&[u8]>, value: &[u8], marks: Marks) -> Self {
        Self {
            text: [name.unwrap_or_default(), value].concat().into(),
            name: name.and_then(|name| u32::try_from(name.len()).ok()),
            kept: true,
            marks,
        }
    }

    /// One that is too long to be kept.
    fn unknown() -> Self {
        Self {
            text: Box::default(),
            name: None,
            kept: false,
            marks: Marks::default(),
        }
    }

    fn name(&self) -> Option<&[u8]> {
        self.name.map(|length| &self.text[..length as usize])
    }

    fn value(&self) -> Option<&[u8]> {
        self.kept.then(|| &self.text[self.name.unwrap_or(0) as usize..])
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// What a reference into the tables gives.
enum Found<'a> {
    Entry(Option<&'a [u8]>, Option<&'a [u8]>, Marks),
    Nowhere,
}

impl Hpack {
    /// Memory that the table takes: an entry's overhead is about that of its allocation.
    pub fn held(&self) -> usize {
        let table = self.size + self.table.capacity() * size_of::<Entry>();
        table + self.scratch[0].capacity() + self.scratch[1].capacity()
    }

    /// The reading peer's settings allow a table of this size.
    pub fn allow(&mut self, size: u32) {
        self.allowed = self.allowed.max(size as usize);
    }

    /// Of a connection seen from its beginning, or not.
    pub fn new(complete: bool) -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            max: if complete { DEFAULT_TABLE } else { MAX_TABLE },
            allowed: if complete { DEFAULT_TABLE } else { usize::MAX },
            complete,
            scratch: [Vec::new(), Vec::new()],
        }
    }

    /// Header blocks were missed: nothing in the table is certain any longer.
    pub fn lose(&mut self) {
        *self = Self::new(false);
    }

    /// Reads a block into `fields`, and shows each to the rules. On an error those before it have been read.
    pub fn decode(&mut self, block: &[u8], fields: &mut Fields, rules: &mut Rules) -> Result<(), Malformed> {
        let mut rest = block;
        while let Some(first) = rest.first() {
            match first {
                0x80.. => self.indexed(integer(&mut rest, 7)?, fields, rules)?,
                0x40.. => self.literal(&mut rest, 6, true, fields, rules)?,
                0x20.. => self.resize(integer(&mut rest, 5)?, rules),
                _ => self.literal(&mut rest, 4, false, fields, rules)?,
            }
        }
        // (A long value is rare: its memory is given back.)
        for scratch in &mut self.scratch {
            scratch.clear();
            scratch.shrink_to(SCRATCH);
        }
        Ok(())
    }

    fn find(&self, index: u32) -> Result<Found<'_>, Malformed> {
        let index = index as usize;
        let Some(dynamic) = index.checked_sub(STATIC.len() + 1) else {
            let at = index.checked_sub(1).ok_or(Malformed)?;
            let (name, value) = STATIC[at];
            return Ok(Found::Entry(Some(name), Some(value), Marks::default()));
        };
        match self.table.get(dynamic) {
            Some(entry) => Ok(Found::Entry(entry.name(), entry.value(), entry.marks)),
            None if self.complete => Err(Malformed),
            None => Ok(Found::Nowhere),
        }
    }

    fn indexed(&self, index: u32, fields: &mut Fields, rules: &mut Rules) -> Result<(), Malformed> {
        let (name, value, marks) = match self.find(index)? {
            Found::Entry(name, value, marks) => (name, value, marks),
            Found::Nowhere => (None, None, Marks::default()),
        };
        rules.field(name, value, marks);
        match value {
            Some(value) => fields.push(name, value),
            None => fields.push_unknown(name, index),
        }
        Ok(())
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        prefix: u32,
        insert: bool,
        fields: &mut Fields,
        rules: &mut Rules,
    ) -> Result<(), Malformed> {
        let [mut own_name, mut own_value] = std::mem::take(&mut self.scratch);
        let index = integer(rest, prefix)?;
        let (name, marks) = match index {
            0 => {
                let name = string(rest, &mut own_name)?;
                (Some(name), Marks::of_name(name))
            }
            index => match self.find(index)? {
                Found::Entry(name, _, marks) => (name, marks),
                Found::Nowhere => (None, Marks::default()),
            },
        };
        let value = string(rest, &mut own_value)?;
        let marks = marks.with_value(value);
        rules.field(name, Some(value), marks);
        fields.push(name, value);
        if insert {
            let length = name.map_or(0, <[u8]>::len) + value.len() + OVERHEAD;
            // What is not kept anyway is not copied.
            let entry = match length <= self.max.min(MAX_TABLE) {
                true => Entry::new(name, value, marks),
                false => Entry::unknown(),
            };
            self.insert(entry, length);
        }
        self.scratch = [own_name, own_value];
        Ok(())
    }

    fn insert(&mut self, entry: Entry, length: usize) {
        if length > self.max {
            self.table.clear();
            self.size = 0;
            return;
        }
        self.size += entry.size();
        self.table.push_front(entry);
        self.evict();
    }

    fn resize(&mut self, max: u32, rules: &mut Rules) {
        self.max = max as usize;
        if self.max > self.allowed {
            rules.fault(Fault::TableSize, || max.to_string());
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.max.min(MAX_TABLE) {
            self.complete &= self.size > self.max;
            let Some(entry) = self.table.pop_back() else { break };
            self.size -= entry.size();
        }
        if self.table.is_empty() {
            self.table = VecDeque::new();
        }
    }
}

/// An integer with a prefix of so many bits (RFC 7541, 5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<u32, Malformed> {
    let (first, mut tail) = rest.split_first().ok_or(Malformed)?;
    let mask = (1_u32 << prefix) - 1;
    let mut value = u32::from(*first) & mask;
    if value == mask {
        for shift in (0..).step_by(7) {
            let (byte, after) = tail.split_first().ok_or(Malformed)?;
            tail = after;
            if shift > 21 {
                return Err(Malformed);
            }
            value += u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Ok(value)
}

/// A string, decoded into `scratch` where it is coded (5.2).
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)? as usize;
    let (text, tail) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = tail;
    if !coded {
        return Ok(text);
    }
    scratch.clear();
    huffman::decode(text, scratch).ok_or(Malformed)?;
    Ok(scratch)
}

#[cfg(test)]
mod tests;
