//! Documents to JSON text. Every document passes here, and looking at each byte of each name and value for what must be
//! escaped took a quarter of the time from a packet to a line: names of fields are written as they are, and texts are looked
//! at eight bytes at once. What comes out is byte for byte what `serde_json` writes.

use serde::{
    Serialize,
    ser::{self, Serializer},
};
use std::fmt::{self, Display, Write};

/// A value that has no JSON.
#[derive(Debug)]
pub struct Unwritable(String);

impl Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no JSON can be made of it: {}", self.0)
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

/// Appends the JSON of a value. Names of fields must be such as need no escape, as Rust's own names do.
///
/// # Errors
/// The value has no JSON: a key that is no text, or its own `Serialize` fails. What was appended before stays.
pub fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
    value.serialize(&mut Writer { out })
}

/// A byte that can't stand in a string as it is (RFC 8259, 7).
#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// True if one of eight bytes is such, told of all of them at once. (A borrow out of one byte makes the next one look so, but
/// it comes out of one that is.)
#[inline]
fn has_special(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7) != 0
}

/// True if nothing in a text has to be escaped.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<8>() {
        // The last word overlaps the one before it.
        let words = bytes.chunks_exact(8).filter_map(|word| word.first_chunk::<8>());
        return !words
            .chain([last])
            .any(|word| has_special(u64::from_ne_bytes(*word)));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let half = |bytes: &[u8; 4]| u64::from(u32::from_ne_bytes(*bytes));
        return !has_special(half(first) << 32 | half(last));
    }
    !bytes.iter().any(|byte| is_special(*byte))
}

/// Appends a text without its quotes.
#[inline]
fn escape(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    if is_plain(rest) {
        out.extend_from_slice(rest);
        return;
    }
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        out.extend_from_slice(&rest[..at]);
        let short = match rest[at] {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => b'u',
        };
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let digit = |of: u8| DIGITS[usize::from(of)];
            out.extend_from_slice(&[b'0', b'0', digit(rest[at] >> 4), digit(rest[at] & 15)]);
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    #[inline]
    fn number(&mut self, number: impl itoa::Integer) {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    #[inline]
    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        escape(self.out, text);
        self.out.push(b'"');
    }
}

/// What a list or an object is made of. A comma stands after each part until the end puts the bracket in place of the last:
/// so nothing has to be known about what came before.
struct Parts<'a, 'b> {
    writer: &'b mut Writer<'a>,
    /// Of an object within an object: that of a variant with a name.
    wrapped: bool,
}

impl<'a, 'b> Parts<'a, 'b> {
    #[inline]
    fn begin(writer: &'b mut Writer<'a>, bracket: u8) -> Self {
        writer.out.push(bracket);
        Self {
            writer,
            wrapped: false,
        }
    }

    #[inline]
    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        value.serialize(&mut *self.writer)?;
        self.writer.out.push(b',');
        Ok(())
    }

    /// (Where the name is known when this is compiled, writing it is a few moves.)
    #[inline(always)]
    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        let out = &mut *self.writer.out;
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        self.item(value)
    }

    #[inline]
    fn finish(self, bracket: u8) {
        match self.writer.out.last_mut() {
            Some(comma @ b',') => *comma = bracket,
            _ => self.writer.out.push(bracket),
        }
        if self.wrapped {
            self.writer.out.push(b'}');
        }
    }
}

macro_rules! numbers {
    ($($name:ident: $kind:ty),+) => {
        $(fn $name(self, value: $kind) -> Result<(), Unwritable> {
            self.number(value);
            Ok(())
        })+
    };
}

macro_rules! floats {
    ($($name:ident: $kind:ty),+) => {
        $(fn $name(self, value: $kind) -> Result<(), Unwritable> {
            serde_json::to_writer(&mut *self.out, &value).map_err(ser::Error::custom)
        })+
    };
}

impl<'a, 'b> Serializer for &'b mut Writer<'a> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Parts<'a, 'b>;
    type SerializeTuple = Parts<'a, 'b>;
    type SerializeTupleStruct = Parts<'a, 'b>;
    type SerializeTupleVariant = Parts<'a, 'b>;
    type SerializeMap = Parts<'a, 'b>;
    type SerializeStruct = Parts<'a, 'b>;
    type SerializeStructVariant = Parts<'a, 'b>;

    numbers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);
    floats!(serialize_f32: f32, serialize_f64: f64);

    fn serialize_bool(self, value: bool) -> Result<(), Unwritable> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Unwritable> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Unwritable> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unwritable> {
        self.collect_seq(value)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        self.out.push(b'"');
        write!(Escaped(self.out), "{value}").map_err(ser::Error::custom)?;
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unwritable> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        let mut object = Parts::begin(self, b'{');
        object.field(variant, value)?;
        object.finish(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a, 'b>, Unwritable> {
        Ok(Parts::begin(self, b'['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a, 'b>, Unwritable> {
        Ok(Parts::begin(self, b'['))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a, 'b>, Unwritable> {
        Ok(Parts::begin(self, b'['))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a, 'b>, Unwritable> {
        Ok(variant_parts(self, variant, b'['))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a, 'b>, Unwritable> {
        Ok(Parts::begin(self, b'{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a, 'b>, Unwritable> {
        Ok(Parts::begin(self, b'{'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a, 'b>, Unwritable> {
        Ok(variant_parts(self, variant, b'{'))
    }
}

/// The parts of a variant with a name: an object with that name alone.
fn variant_parts<'a, 'b>(writer: &'b mut Writer<'a>, variant: &'static str, bracket: u8) -> Parts<'a, 'b> {
    writer.out.push(b'{');
    writer.text(variant);
    writer.out.push(b':');
    Parts {
        wrapped: true,
        ..Parts::begin(writer, bracket)
    }
}

/// Takes what is formatted into a string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

macro_rules! lists {
    ($($kind:ident: $method:ident),+) => {
        $(impl ser::$kind for Parts<'_, '_> {
            type Ok = ();
            type Error = Unwritable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
                self.item(value)
            }

            fn end(self) -> Result<(), Unwritable> {
                self.finish(b']');
                Ok(())
            }
        })+
    };
}

lists!(SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

macro_rules! objects {
    ($($kind:ident),+) => {
        $(impl ser::$kind for Parts<'_, '_> {
            type Ok = ();
            type Error = Unwritable;

            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unwritable> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Unwritable> {
                self.finish(b'}');
                Ok(())
            }
        })+
    };
}

objects!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        match self.writer.out.get(start) {
            Some(b'"') => Ok(()),
            _ => Err(ser::Error::custom("a key that is no text")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.writer.out.push(b':');
        self.item(value)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.finish(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests;
