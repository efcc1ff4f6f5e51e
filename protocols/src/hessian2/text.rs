//! Strings and binary data: several chunks, the last one marked.
//!
//! A string's length counts UTF-16 units. Characters beyond the first 65 536 are written by Java as two surrogates of three
//! bytes each (CESU-8), by others in four bytes of UTF-8; both are read.

use super::{Cursor, Fault, Read, Reader};
use std::borrow::Cow;
use weir_records::Builder;

/// Bytes of one string or one binary value that are put together, as many as a body has that is kept; the rest is counted.
const KEPT: usize = 256 << 10;

/// A chunk's length in units, and whether it is the last.
type Chunk = (usize, bool);

/// A string that is being put together.
#[derive(Debug, Default)]
struct Units {
    /// A high surrogate that waits for its low one.
    high: Option<u32>,
    /// Bytes of the text so far, with those that were not kept.
    size: u64,
}

impl Units {
    fn push(&mut self, text: &mut String, character: char) {
        self.size += character.len_utf8() as u64;
        if text.len() < KEPT {
            text.push(character);
        }
    }

    /// Takes a code point of at most three bytes.
    fn unit(&mut self, text: &mut String, unit: u32) {
        match (self.high.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                let both = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                return self.push(text, char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (Some(_), _) => self.push(text, char::REPLACEMENT_CHARACTER),
            (None, _) => {}
        }
        if (0xd800..0xdc00).contains(&unit) {
            self.high = Some(unit);
        } else {
            self.push(text, char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }

    fn end(&mut self, text: &mut String) {
        if self.high.take().is_some() {
            self.push(text, char::REPLACEMENT_CHARACTER);
        }
    }

    /// Reads so many UTF-16 units.
    fn read(&mut self, text: &mut String, cursor: &mut Cursor<'_>, mut units: usize) -> Read<()> {
        while units > 0 {
            let rest = cursor.rest();
            let ahead = &rest[..rest.len().min(units)];
            let plain = ahead
                .iter()
                .position(|byte| !byte.is_ascii())
                .unwrap_or(ahead.len());
            if plain > 0 {
                self.end(text);
                let room = KEPT.saturating_sub(text.len()).min(plain);
                text.push_str(std::str::from_utf8(&ahead[..room]).unwrap_or_default());
                self.size += plain as u64;
                cursor.take(plain)?;
                units -= plain;
                continue;
            }
            let lead = cursor.byte()?;
            let (more, first) = match lead {
                0xc0..=0xdf => (1, u32::from(lead & 0x1f)),
                0xe0..=0xef => (2, u32::from(lead & 0x0f)),
                0xf0..=0xf7 => (3, u32::from(lead & 0x07)),
                _ => return Err(Fault::Malformed("a string is not UTF-8")),
            };
            let mut point = first;
            for byte in cursor.take(more)? {
                if byte & 0xc0 != 0x80 {
                    return Err(Fault::Malformed("a string is not UTF-8"));
                }
                point = point << 6 | u32::from(byte & 0x3f);
            }
            if more == 3 {
                self.end(text);
                self.push(text, char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
                units = units.saturating_sub(2);
            } else {
                self.unit(text, point);
                units -= 1;
            }
        }
        Ok(())
    }
}

impl<'a> Reader<'a> {
    /// The length of a string's chunk, if this tag begins one.
    fn string_chunk(&mut self, tag: u8) -> Read<Option<Chunk>> {
        Ok(Some(match tag {
            0x00..=0x1f => (usize::from(tag), true),
            0x30..=0x33 => (
                usize::from(tag - 0x30) << 8 | usize::from(self.cursor.byte()?),
                true,
            ),
            b'S' => (self.cursor.u16()?.into(), true),
            b'R' => (self.cursor.u16()?.into(), false),
            _ => return Ok(None),
        }))
    }

    /// The same for binary data.
    fn binary_chunk(&mut self, tag: u8) -> Read<Option<Chunk>> {
        Ok(Some(match tag {
            0x20..=0x2f => (usize::from(tag - 0x20), true),
            0x34..=0x37 => (
                usize::from(tag - 0x34) << 8 | usize::from(self.cursor.byte()?),
                true,
            ),
            b'B' => (self.cursor.u16()?.into(), true),
            b'A' => (self.cursor.u16()?.into(), false),
            _ => return Ok(None),
        }))
    }

    /// Puts a string that begins with this tag together in `scratch`; gives its bytes, those that were not kept
    /// included. At a fault `scratch` has what came before it.
    fn gather(&mut self, tag: u8) -> (u64, Read<()>) {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let mut units = Units::default();
        let read = self.chunks(tag, &mut text, &mut units);
        units.end(&mut text);
        self.scratch = text;
        (units.size, read)
    }

    fn chunks(&mut self, mut tag: u8, text: &mut String, units: &mut Units) -> Read<()> {
        loop {
            let (length, last) = self
                .string_chunk(tag)?
                .ok_or(Fault::Malformed("a string has a chunk of something else"))?;
            units.read(text, &mut self.cursor, length)?;
            if last {
                return Ok(());
            }
            tag = self.cursor.byte()?;
        }
    }

    /// A string of one chunk in ASCII, which most are: it can stay where it is. Nothing is read if this is none.
    fn plain(&mut self, tag: u8) -> Option<&'a str> {
        let before = self.cursor.clone();
        if let Ok(Some((length, true))) = self.string_chunk(tag)
            && let Ok(bytes) = self.cursor.take(length)
            && bytes.is_ascii()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return Some(text);
        }
        self.cursor = before;
        None
    }

    /// A string or null.
    pub fn string(&mut self) -> Read<Option<Cow<'a, str>>> {
        let tag = self.cursor.byte()?;
        if tag == b'N' {
            return Ok(None);
        }
        if !is_string(tag) {
            return Err(Fault::Malformed("something else stands in place of a string"));
        }
        if let Some(text) = self.plain(tag) {
            return Ok(Some(Cow::Borrowed(text)));
        }
        let (_, read) = self.gather(tag);
        read?;
        Ok(Some(Cow::Owned(self.scratch.clone())))
    }

    /// A string or null, or the beginning of a string that is cut.
    pub fn last_string(&mut self) -> (Option<String>, Read<()>) {
        match self.cursor.peek() {
            Ok(tag) if is_string(tag) => {}
            _ => {
                return self
                    .string()
                    .map_or_else(|fault| (None, Err(fault)), |_| (None, Ok(())));
            }
        }
        let read = self.cursor.byte().and_then(|tag| self.gather(tag).1);
        let text = std::mem::take(&mut self.scratch);
        (Some(text).filter(|text| read.is_ok() || !text.is_empty()), read)
    }

    /// Puts a string that begins with this tag into the builder.
    pub(super) fn put_string(&mut self, tag: u8, builder: &mut Builder<'_>) -> Read<()> {
        if let Some(text) = self.plain(tag) {
            builder.text(text, text.len() as u64);
            return Ok(());
        }
        let (size, read) = self.gather(tag);
        if read.is_ok() || !self.scratch.is_empty() {
            builder.text(&self.scratch, size);
        }
        read
    }

    /// Puts binary data that begins with this tag into the builder.
    pub(super) fn put_binary(&mut self, mut tag: u8, builder: &mut Builder<'_>) -> Read<()> {
        let mut kept = Vec::new();
        let mut size = 0;
        loop {
            let (length, last) = self
                .binary_chunk(tag)?
                .ok_or(Fault::Malformed("binary data has a chunk of something else"))?;
            let bytes = self.cursor.take(length)?;
            size += length as u64;
            if last && kept.is_empty() {
                builder.binary(bytes, size);
                return Ok(());
            }
            let room = KEPT.saturating_sub(kept.len()).min(length);
            kept.extend_from_slice(&bytes[..room]);
            if last {
                builder.binary(&kept, size);
                return Ok(());
            }
            tag = self.cursor.byte()?;
        }
    }
}

/// A string begins with this tag.
pub(super) fn is_string(tag: u8) -> bool {
    matches!(tag, 0x00..=0x1f | 0x30..=0x33 | b'R' | b'S')
}
