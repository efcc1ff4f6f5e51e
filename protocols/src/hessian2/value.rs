//! Values of every type.

use super::text::is_string;
use super::{Class, Fault, MAX_DEPTH, MAX_NAMES, Named, Read, Reader};
use crate::dates;
use std::{borrow::Cow, collections::HashSet};
use weir_records::{Builder, Name};

/// Ends lists and maps of unknown length.
const END: u8 = b'Z';

impl<'a> Reader<'a> {
    /// A whole number of 32 bits.
    pub fn int(&mut self) -> Read<i32> {
        let tag = self.cursor.byte()?;
        self.int_after(tag)?
            .ok_or(Fault::Malformed("something else stands in place of a number"))
    }

    /// The next value is a whole number of 32 bits.
    pub fn is_int(&self) -> bool {
        matches!(self.cursor.peek(), Ok(b'I' | 0x80..=0xd7))
    }

    /// Reads one value into the builder.
    pub fn value(&mut self, builder: &mut Builder<'_>) -> Read<()> {
        if self.depth >= MAX_DEPTH {
            return Err(Fault::Malformed("values are within each other too deeply"));
        }
        self.depth += 1;
        let tag = self.cursor.byte()?;
        let read = match tag {
            b'C' => self.define().and_then(|()| self.value(builder)),
            0x60..=0x6f => self.object(usize::from(tag - 0x60), builder),
            b'O' => self
                .int()
                .and_then(|class| self.object(usize::try_from(class).unwrap_or(usize::MAX), builder)),
            b'Q' => self.int().map(|place| self.reference(place, builder)),
            b'H' => self.map(None, builder),
            b'M' => self.map_type(builder).and_then(|kind| self.map(kind, builder)),
            b'U' => self.list_type().and_then(|()| self.list(None, builder)),
            b'V' => self.list_type().and_then(|()| self.counted(builder)),
            b'W' => self.list(None, builder),
            b'X' => self.counted(builder),
            0x70..=0x77 => self
                .list_type()
                .and_then(|()| self.list(Some(i32::from(tag - 0x70)), builder)),
            0x78..=0x7f => self.list(Some(i32::from(tag - 0x78)), builder),
            _ => self.scalar(tag, builder),
        };
        self.depth -= 1;
        read
    }

    fn scalar(&mut self, tag: u8, builder: &mut Builder<'_>) -> Read<()> {
        match tag {
            b'N' => builder.null(),
            b'T' => builder.bool(true),
            b'F' => builder.bool(false),
            b'J' => builder.plain(&dates::rfc3339(self.cursor.i64()?)),
            b'K' => builder.plain(&dates::rfc3339(i64::from(self.cursor.i32()?) * 60_000)),
            b'D' => builder.double(f64::from_bits(self.cursor.i64()? as u64)),
            0x5b => builder.double(0.0),
            0x5c => builder.double(1.0),
            0x5d => builder.double(f64::from(self.cursor.byte()? as i8)),
            0x5e => builder.double(f64::from(self.cursor.u16()? as i16)),
            // Java multiplies by 0.001, so the same must be done here, to the last bit.
            0x5f => builder.double(0.001 * f64::from(self.cursor.i32()?)),
            0x20..=0x2f | 0x34..=0x37 | b'A' | b'B' => self.put_binary(tag, builder)?,
            tag if is_string(tag) => self.put_string(tag, builder)?,
            tag => {
                let number = match self.int_after(tag)? {
                    Some(int) => Some(i64::from(int)),
                    None => self.long_after(tag)?,
                };
                builder.int(number.ok_or(Fault::Malformed("an unknown tag"))?);
            }
        }
        Ok(())
    }

    fn int_after(&mut self, tag: u8) -> Read<Option<i32>> {
        Ok(Some(match tag {
            0x80..=0xbf => i32::from(tag) - 0x90,
            0xc0..=0xcf => (i32::from(tag) - 0xc8) << 8 | i32::from(self.cursor.byte()?),
            0xd0..=0xd7 => (i32::from(tag) - 0xd4) << 16 | i32::from(self.cursor.u16()?),
            b'I' => self.cursor.i32()?,
            _ => return Ok(None),
        }))
    }

    fn long_after(&mut self, tag: u8) -> Read<Option<i64>> {
        Ok(Some(match tag {
            0xd8..=0xef => i64::from(tag) - 0xe0,
            0xf0..=0xff => (i64::from(tag) - 0xf8) << 8 | i64::from(self.cursor.byte()?),
            0x38..=0x3f => (i64::from(tag) - 0x3c) << 16 | i64::from(self.cursor.u16()?),
            b'Y' => self.cursor.i32()?.into(),
            b'L' => self.cursor.i64()?,
            _ => return Ok(None),
        }))
    }

    /// A class definition.
    fn define(&mut self) -> Read<()> {
        let name = self.name()?;
        let count = self.int()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push(Named::new(self.name()?));
        }
        let unique = are_different(&fields);
        self.classes.push(Class {
            named: Named::new(name),
            fields,
            unique,
        });
        Ok(())
    }

    /// A name that is remembered.
    fn name(&mut self) -> Read<Cow<'a, str>> {
        if self.names >= MAX_NAMES {
            return Err(Fault::Malformed("too many classes, fields and types"));
        }
        self.names += 1;
        Ok(self.string()?.unwrap_or_default())
    }

    fn object(&mut self, class: usize, builder: &mut Builder<'_>) -> Read<()> {
        let number = self.builder;
        let Some(known) = self.classes.get_mut(class) else {
            return Err(Fault::Malformed("an object of a class that is not defined"));
        };
        let kind = known.named.within(number, builder);
        let (fields, unique) = (known.fields.len(), known.unique);
        let place = builder.begin_map(Some(kind), unique);
        self.places.push(number, place);
        for field in 0..fields {
            let name = self
                .classes
                .get_mut(class)
                .and_then(|class| class.fields.get_mut(field));
            if let Some(name) = name {
                let name = name.within(number, builder);
                builder.named(name);
            }
            self.value(builder)?;
        }
        builder.end();
        Ok(())
    }

    fn reference(&mut self, place: i32, builder: &mut Builder<'_>) {
        let number = usize::try_from(place).unwrap_or(usize::MAX);
        builder.reference(self.places.find(number, self.builder));
    }

    /// The name of a type, or the number of one that was named before.
    fn kind(&mut self) -> Read<usize> {
        if is_string(self.cursor.peek()?) {
            let name = self.name()?;
            self.types.push(Named::new(name));
            return Ok(self.types.len() - 1);
        }
        let number = usize::try_from(self.int()?).unwrap_or(usize::MAX);
        if number < self.types.len() {
            Ok(number)
        } else {
            Err(Fault::Malformed("a type that was not named before"))
        }
    }

    /// The type of a list says no more than the list itself.
    fn list_type(&mut self) -> Read<()> {
        self.kind().map(drop)
    }

    /// The type of a map; that of one of Java's own says no more than the map itself.
    fn map_type(&mut self, builder: &mut Builder<'_>) -> Read<Option<Name>> {
        let kind = self.kind()?;
        let number = self.builder;
        let named = self.types.get_mut(kind);
        let told = named.filter(|named| !named.name.is_empty() && !named.name.starts_with("java.util."));
        Ok(told.map(|named| named.within(number, builder)))
    }

    fn map(&mut self, kind: Option<Name>, builder: &mut Builder<'_>) -> Read<()> {
        let place = builder.begin_map(kind, false);
        self.places.push(self.builder, place);
        while self.cursor.peek()? != END {
            self.value(builder)?;
            self.value(builder)?;
        }
        self.cursor.byte()?;
        builder.end();
        Ok(())
    }

    fn counted(&mut self, builder: &mut Builder<'_>) -> Read<()> {
        let count = self.int()?;
        self.list(Some(count), builder)
    }

    /// A list of so many items, or up to its end.
    fn list(&mut self, count: Option<i32>, builder: &mut Builder<'_>) -> Read<()> {
        let place = builder.begin_list();
        self.places.push(self.builder, place);
        if let Some(count) = count {
            for _ in 0..count {
                self.value(builder)?;
            }
        } else {
            while self.cursor.peek()? != END {
                self.value(builder)?;
            }
            self.cursor.byte()?;
        }
        builder.end();
        Ok(())
    }
}

fn are_different(fields: &[Named<'_>]) -> bool {
    if fields.len() <= 16 {
        let new =
            |(at, field): (usize, &Named<'_>)| fields[..at].iter().all(|other| other.name != field.name);
        return fields.iter().enumerate().all(new);
    }
    let different: HashSet<_> = fields.iter().map(|field| &field.name).collect();
    different.len() == fields.len()
}

impl<'a> Named<'a> {
    fn new(name: Cow<'a, str>) -> Self {
        Self { name, known: None }
    }

    /// Its like in this builder, the one with this number.
    fn within(&mut self, number: usize, builder: &mut Builder<'_>) -> Name {
        match self.known {
            Some((known, name)) if known == number => name,
            _ => {
                let name = builder.name(&self.name);
                self.known = Some((number, name));
                name
            }
        }
    }
}
