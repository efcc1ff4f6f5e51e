//! Fastjson 2's binary form (JSONB): each item has its length in four bytes before it and stands for itself, with its own
//! names and references. Objects list their keys; a name that comes again is a number (a symbol).

use super::items::{NO_NUMBER, NO_TEXT, Place};
use super::symbols::{Id, Symbols};
use super::{KEPT, jsonpath, numbers};
use crate::dates;
use crate::hessian2::{Fault, Read};
use std::borrow::Cow;
use weir_records::{Builder, Name};

const CHAR: u8 = 0x90;
const BINARY: u8 = 0x91;
const TYPED: u8 = 0x92;
const REFERENCE: u8 = 0x93;
const ARRAY: u8 = 0xa4;
const OBJECT_END: u8 = 0xa5;
const OBJECT: u8 = 0xa6;
const NULL: u8 = 0xaf;
const SYMBOL: u8 = 0x7f;
/// Values within each other that are read.
const MAX_DEPTH: usize = 200;

/// The items that are left.
pub(super) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// The next item, or what is there of it.
    fn next(&mut self) -> Read<Item<'a>> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(Fault::End)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (item, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        Ok(Item::new(item))
    }

    pub fn text(&mut self) -> Read<Option<String>> {
        let mut item = self.next()?;
        if item.peek()? == NULL {
            return Ok(None);
        }
        let tag = item.byte()?;
        let text = item.string(tag)?.ok_or(NO_TEXT)?;
        Ok(Some(text.into_owned()))
    }

    pub fn int(&mut self) -> Read<i32> {
        let number = self.next()?.int()?;
        i32::try_from(number).map_err(|_| NO_NUMBER)
    }

    pub fn value(&mut self, builder: &mut Builder<'_>, place: Place) -> Read<()> {
        let mut item = self.next()?;
        item.place = place;
        item.value(builder)
    }
}

/// One item.
struct Item<'a> {
    bytes: &'a [u8],
    /// Where it will stand in the document.
    place: Place,
    symbols: Symbols<'a>,
    /// Bytes of names that stood as values.
    repeated: usize,
    last_reference: String,
    depth: usize,
}

impl<'a> Item<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            place: Place("", None),
            symbols: Symbols::new(),
            repeated: 0,
            last_reference: String::new(),
            depth: 0,
        }
    }

    fn peek(&self) -> Read<u8> {
        self.bytes.first().copied().ok_or(Fault::End)
    }

    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.bytes.split_first().ok_or(Fault::End)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(Fault::End)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Fault::End)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Read<i64> {
        let tag = self.byte()?;
        self.int_after(tag)?.ok_or(NO_NUMBER)
    }

    fn length(&mut self) -> Read<usize> {
        usize::try_from(self.int()?).map_err(|_| Fault::Malformed("a negative length"))
    }

    /// A whole number that begins with this tag.
    fn int_after(&mut self, tag: u8) -> Read<Option<i64>> {
        Ok(Some(match tag {
            0xf0.. => i64::from(tag) - 0x100,
            0x00..=0x2f => i64::from(tag),
            0x30..=0x3f => (i64::from(tag) - 0x38) << 8 | i64::from(self.byte()?),
            0x40..=0x47 => (i64::from(tag) - 0x44) << 16 | i64::from(u16::from_be_bytes(self.array()?)),
            0x48 | 0xbf => i32::from_be_bytes(self.array()?).into(),
            0xbd => (self.byte()? as i8).into(),
            0xbc => i16::from_be_bytes(self.array()?).into(),
            0xbe => i64::from_be_bytes(self.array()?),
            0xc0..=0xc7 => (i64::from(tag) - 0xc4) << 16 | i64::from(u16::from_be_bytes(self.array()?)),
            0xc8..=0xd7 => (i64::from(tag) - 0xd0) << 8 | i64::from(self.byte()?),
            0xd8..=0xef => i64::from(tag) - 0xe0,
            _ => return Ok(None),
        }))
    }

    /// A text that begins with this tag.
    fn string(&mut self, tag: u8) -> Read<Option<Cow<'a, str>>> {
        let latin1 = |bytes: &'a [u8]| match std::str::from_utf8(bytes) {
            Ok(text) if bytes.is_ascii() => Cow::Borrowed(text),
            _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
        };
        if let 0x49..=0x78 = tag {
            return self.take(usize::from(tag - 0x49)).map(latin1).map(Some);
        }
        if !matches!(tag, 0x79..=0x7e) {
            return Ok(None);
        }
        let length = self.length()?;
        let bytes = self.take(length)?;
        Ok(Some(match tag {
            0x79 => latin1(bytes),
            0x7a => String::from_utf8_lossy(bytes),
            0x7c => utf16(bytes, u16::from_le_bytes),
            0x7b | 0x7d => utf16(bytes, u16::from_be_bytes),
            _ => return Err(Fault::Malformed("a text in GB18030")),
        }))
    }

    /// A name: a text with the number that it has from now on, or such a number.
    fn symbol(&mut self) -> Read<Id> {
        let tag = self.byte()?;
        match self.string(tag)? {
            Some(name) => {
                let number = self.int()?;
                Ok(self.symbols.define(number, name))
            }
            None => {
                let number = self.int_after(tag)?.ok_or(NO_NUMBER)?;
                Ok(self.symbols.find(number))
            }
        }
    }

    /// A name as a value. All that stand so may have as many bytes together as a body has; those past that are told by their
    /// numbers, since each would be searched for secrets again.
    fn symbol_value(&mut self, builder: &mut Builder<'_>) -> Read<()> {
        let id = self.symbol()?;
        let text = self.symbols.text(id);
        self.repeated = self.repeated.saturating_add(text.len());
        if self.repeated <= KEPT {
            builder.text(text, text.len() as u64);
        } else {
            let size = text.len() as u64;
            builder.text(&format!("#{}", self.symbols.number(id)), size);
        }
        Ok(())
    }

    fn value(&mut self, builder: &mut Builder<'_>) -> Read<()> {
        if self.depth >= MAX_DEPTH {
            return Err(Fault::Malformed("values are within each other too deeply"));
        }
        self.depth += 1;
        let read = self.any(builder);
        self.depth -= 1;
        read
    }

    fn any(&mut self, builder: &mut Builder<'_>) -> Read<()> {
        let tag = self.byte()?;
        match tag {
            NULL => builder.null(),
            0xb0 => builder.bool(false),
            0xb1 => builder.bool(true),
            OBJECT => return self.object(None, builder),
            ARRAY => {
                let count = self.length()?;
                return self.list(count, builder);
            }
            0x94..=0xa3 => return self.list(usize::from(tag - 0x94), builder),
            TYPED => return self.typed(builder),
            REFERENCE => self.reference(builder)?,
            SYMBOL => self.symbol_value(builder)?,
            BINARY => {
                let length = self.length()?;
                let kept = &self.bytes[..length.min(self.bytes.len())];
                builder.binary(kept, length as u64);
                self.take(length)?;
            }
            CHAR => {
                let unit = u32::try_from(self.int()?).ok().and_then(char::from_u32);
                let text = unit.unwrap_or(char::REPLACEMENT_CHARACTER).to_string();
                builder.text(&text, text.len() as u64);
            }
            0xa7..=0xae => builder.plain(&self.date(tag)?),
            0xb2..=0xb7 => builder.double(self.double(tag)?),
            0xb8..=0xbb => self.long_number(tag, builder)?,
            _ => match self.string(tag)? {
                Some(text) => builder.text(&text, text.len() as u64),
                None => {
                    let number = self.int_after(tag)?;
                    builder.int(number.ok_or(Fault::Malformed("an unknown tag"))?);
                }
            },
        }
        Ok(())
    }

    fn double(&mut self, tag: u8) -> Read<f64> {
        Ok(match tag {
            0xb2 => 0.0,
            0xb3 => 1.0,
            0xb5 => f64::from_be_bytes(self.array()?),
            // By its digits: the double next to a float has many more.
            0xb7 => f32::from_be_bytes(self.array()?)
                .to_string()
                .parse()
                .unwrap_or(f64::NAN),
            #[allow(clippy::cast_precision_loss)] // Java's writer has made sure that there is none.
            _ => self.int()? as f64,
        })
    }

    /// `BigInteger` and `BigDecimal`.
    fn long_number(&mut self, tag: u8, builder: &mut Builder<'_>) -> Read<()> {
        let (class, digits) = match tag {
            0xb8 => ("java.math.BigDecimal", self.int()?.to_string()),
            0xb9 => {
                let scale = i32::try_from(self.int()?).map_err(|_| NO_NUMBER)?;
                ("java.math.BigDecimal", numbers::scaled(&self.unscaled()?, scale))
            }
            0xba => ("java.math.BigInteger", self.int()?.to_string()),
            _ => ("java.math.BigInteger", self.unscaled_after(tag)?),
        };
        let class = builder.name(class);
        builder.begin_map(Some(class), true);
        builder.key("value");
        builder.plain(&digits);
        builder.end();
        Ok(())
    }

    fn unscaled(&mut self) -> Read<String> {
        let tag = self.byte()?;
        self.unscaled_after(tag)
    }

    fn unscaled_after(&mut self, tag: u8) -> Read<String> {
        match tag {
            0xbb | BINARY => {
                let length = self.length()?;
                let bytes = self.take(length)?;
                Ok(numbers::decimal(bytes).unwrap_or_else(|| format!("a number of {length} bytes")))
            }
            0xba => self.int().map(|number| number.to_string()),
            _ => Ok(self.int_after(tag)?.ok_or(NO_NUMBER)?.to_string()),
        }
    }

    fn date(&mut self, tag: u8) -> Read<String> {
        Ok(match tag {
            0xab => dates::rfc3339(i64::from_be_bytes(self.array()?)),
            0xac => dates::rfc3339(i64::from(i32::from_be_bytes(self.array()?)) * 1000),
            0xad => dates::rfc3339(i64::from(i32::from_be_bytes(self.array()?)) * 60_000),
            0xae => {
                let (seconds, nanoseconds) = (self.int()?, self.int()?);
                dates::rfc3339(
                    seconds
                        .saturating_mul(1000)
                        .saturating_add(nanoseconds / 1_000_000),
                )
            }
            0xa9 => self.day()?,
            0xa7 => self.time()?,
            0xa8 => self.day()? + "T" + &self.time()?,
            _ => {
                let local = self.day()? + "T" + &self.time()?;
                let tag = self.byte()?;
                format!("{local}[{}]", self.string(tag)?.ok_or(NO_TEXT)?)
            }
        })
    }

    fn day(&mut self) -> Read<String> {
        let [y0, y1, month, day] = self.array()?;
        let year = i16::from_be_bytes([y0, y1]);
        Ok(dates::date(year.into(), month.into(), day.into()))
    }

    fn time(&mut self) -> Read<String> {
        let [hour, minute, second] = self.array()?;
        let nanoseconds = self.int()?;
        Ok(match nanoseconds {
            0 => format!("{hour:02}:{minute:02}:{second:02}"),
            _ => format!("{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}"),
        })
    }

    /// A value whose class is named before it. That of one of Java's own collections says no more than the value itself.
    fn typed(&mut self, builder: &mut Builder<'_>) -> Read<()> {
        let class = self.symbol()?;
        let told = self.symbols.is_told(class);
        match self.peek()? {
            OBJECT => {
                self.byte()?;
                let class = told.then(|| self.symbols.class(class, builder));
                self.object(class, builder)
            }
            0x94..=ARRAY | BINARY | REFERENCE | NULL | TYPED => self.value(builder),
            _ if !told => self.value(builder),
            _ => {
                let class = self.symbols.class(class, builder);
                builder.begin_map(Some(class), true);
                builder.key("value");
                self.value(builder)?;
                builder.end();
                Ok(())
            }
        }
    }

    fn reference(&mut self, builder: &mut Builder<'_>) -> Read<()> {
        let tag = self.byte()?;
        let path = self.string(tag)?.ok_or(NO_TEXT)?;
        if path != "#-1" {
            self.last_reference = jsonpath::pointer(&self.place.to_string(), &path);
        }
        builder.reference_to(&self.last_reference);
        Ok(())
    }

    fn object(&mut self, class: Option<Name>, builder: &mut Builder<'_>) -> Read<()> {
        builder.begin_map(class, false);
        // Its writer puts a field that is a reference twice: the reference, then null, which its reader does not heed.
        let mut referred = None;
        loop {
            match self.peek()? {
                OBJECT_END => break,
                SYMBOL => {
                    self.byte()?;
                    let name = self.symbol()?;
                    let number = self.symbols.number(name);
                    if self.peek()? == NULL && referred == Some(number) {
                        self.byte()?;
                        continue;
                    }
                    let key = self.symbols.key(name, builder);
                    builder.named(key);
                    referred = (self.peek()? == REFERENCE).then_some(number);
                }
                _ => self.value(builder)?,
            }
            self.value(builder)?;
        }
        self.byte()?;
        builder.end();
        Ok(())
    }

    fn list(&mut self, count: usize, builder: &mut Builder<'_>) -> Read<()> {
        builder.begin_list();
        for _ in 0..count {
            self.value(builder)?;
        }
        builder.end();
        Ok(())
    }
}

fn utf16<'a>(bytes: &[u8], read: fn([u8; 2]) -> u16) -> Cow<'a, str> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
    String::from_utf16_lossy(&units).into()
}
