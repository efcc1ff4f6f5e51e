//! Documents to JSON text. Every document passes here, and takes a third of the way from a packet to a line: names of fields
//! and of variants are written as they are, everything is compiled into one function a kind of document, and errors fit into
//! registers. What comes out is byte for byte what `serde_json` writes, but for
//! the controls DEL and U+0080 to U+009F, which are escaped: whoever prints a line must not have the terminal obey a peer.

mod number;
mod text;

use number::unsigned;
use serde::{
    Serialize,
    ser::{self, Serializer},
};
use std::fmt::{self, Display, Write};
use text::{escape, quote};

/// A value that has no JSON.
#[derive(Debug)]
pub struct Unwritable(Box<str>);

impl Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no JSON can be made of it: {}", self.0)
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: Display>(what: T) -> Self {
        Self(what.to_string().into())
    }
}

/// Appends the JSON of a value. Names of fields and of variants must be such as need no escape, as Rust's own names do.
///
/// # Errors
/// The value has no JSON: a key that is no text, or its own `Serialize` fails. What was appended before stays.
pub fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
    value.serialize(Writer(out))
}

struct Writer<'a>(&'a mut Vec<u8>);

/// What a list or an object is made of. A comma stands before each part, and the end puts the bracket in place of the first:
/// so nothing has to be known about what came before.
struct Parts<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Parts<'a> {
    #[inline(always)]
    fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    #[inline(always)]
    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        self.out.push(b',');
        value.serialize(Writer(self.out))
    }

    /// (Where the name is known when this is compiled, it is put together then.)
    #[inline(always)]
    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        const LONGEST: usize = 28;
        let length = name.len();
        if length <= LONGEST {
            let mut key = [0; LONGEST + 4];
            key[..2].copy_from_slice(b",\"");
            key[2..length + 2].copy_from_slice(name.as_bytes());
            key[length + 2..length + 4].copy_from_slice(b"\":");
            self.out.extend_from_slice(&key[..length + 4]);
        } else {
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"\":");
        }
        value.serialize(Writer(self.out))
    }

    #[inline(always)]
    fn finish(&mut self, [open, close]: [u8; 2]) {
        match self.out.get_mut(self.start) {
            Some(first) => *first = open,
            None => self.out.push(open),
        }
        self.out.push(close);
    }
}

/// The parts of a variant with a name: they stand in an object with that name alone.
struct Named<'a>(Parts<'a>);

impl<'a> Named<'a> {
    fn begin(out: &'a mut Vec<u8>, variant: &'static str) -> Self {
        out.push(b'{');
        quote(out, variant);
        out.push(b':');
        Self(Parts::begin(out))
    }

    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        self.0.item(value)
    }

    #[inline(always)]
    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        self.0.field(name, value)
    }

    fn finish(&mut self, brackets: [u8; 2]) {
        self.0.finish(brackets);
        self.0.out.push(b'}');
    }
}

macro_rules! numbers {
    ($($name:ident: $kind:ty),+) => {
        $(#[inline]
        fn $name(self, value: $kind) -> Result<(), Unwritable> {
            self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            Ok(())
        })+
    };
}

macro_rules! short_numbers {
    ($($name:ident: $kind:ty),+) => {
        $(#[inline]
        fn $name(self, value: $kind) -> Result<(), Unwritable> {
            unsigned(self.0, value.into());
            Ok(())
        })+
    };
}

macro_rules! floats {
    ($($name:ident: $kind:ty),+) => {
        $(fn $name(self, value: $kind) -> Result<(), Unwritable> {
            serde_json::to_writer(self.0, &value).map_err(ser::Error::custom)
        })+
    };
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Named<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Named<'a>;

    numbers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u128: u128);
    short_numbers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);
    floats!(serialize_f32: f32, serialize_f64: f64);

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Unwritable> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.0.extend_from_slice(text);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Unwritable> {
        quote(self.0, value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Unwritable> {
        quote(self.0, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unwritable> {
        self.collect_seq(value)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        self.0.push(b'"');
        write!(Escaped(self.0), "{value}").map_err(ser::Error::custom)?;
        self.0.push(b'"');
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unwritable> {
        self.0.push(b'"');
        self.0.extend_from_slice(variant.as_bytes());
        self.0.push(b'"');
        Ok(())
    }

    #[inline]
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
        let mut object = Parts::begin(self.0);
        object.field(variant, value)?;
        object.finish(*b"{}");
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Unwritable> {
        Ok(Parts::begin(self.0))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Unwritable> {
        Ok(Parts::begin(self.0))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Unwritable> {
        Ok(Parts::begin(self.0))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Named<'a>, Unwritable> {
        Ok(Named::begin(self.0, variant))
    }

    #[inline]
    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Unwritable> {
        Ok(Parts::begin(self.0))
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Unwritable> {
        Ok(Parts::begin(self.0))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Named<'a>, Unwritable> {
        Ok(Named::begin(self.0, variant))
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
    ($($of:ident, $kind:ident: $method:ident),+) => {
        $(impl ser::$kind for $of<'_> {
            type Ok = ();
            type Error = Unwritable;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
                self.item(value)
            }

            #[inline]
            fn end(mut self) -> Result<(), Unwritable> {
                self.finish(*b"[]");
                Ok(())
            }
        })+
    };
}

lists!(Parts, SerializeSeq: serialize_element, Parts, SerializeTuple: serialize_element,
    Parts, SerializeTupleStruct: serialize_field, Named, SerializeTupleVariant: serialize_field);

macro_rules! objects {
    ($($of:ident, $kind:ident),+) => {
        $(impl ser::$kind for $of<'_> {
            type Ok = ();
            type Error = Unwritable;

            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unwritable> {
                self.field(name, value)
            }

            #[inline]
            fn end(mut self) -> Result<(), Unwritable> {
                self.finish(*b"{}");
                Ok(())
            }
        })+
    };
}

objects!(Parts, SerializeStruct, Named, SerializeStructVariant);

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Unwritable;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.out.push(b',');
        let start = self.out.len();
        key.serialize(Writer(self.out))?;
        match self.out.get(start) {
            Some(b'"') => Ok(()),
            _ => Err(ser::Error::custom("a key that is no text")),
        }
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.out.push(b':');
        value.serialize(Writer(self.out))
    }

    fn end(mut self) -> Result<(), Unwritable> {
        self.finish(*b"{}");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
