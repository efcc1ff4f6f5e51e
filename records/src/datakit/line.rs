//! A point, and the line of text that it is written as: `measurement,tag=value field=1i,other="text" 1700000000000000000`.
//!
//! Written here and not by a library: those that write it leave backslashes alone that end a text, and so its closing
//! quote. Readers differ in what a backslash means; what is written here means the same to all of them. It is therefore
//! no more than one line a point: what no reader takes in a tag, and not every one in a text (control characters), is written
//! as a blank, and so DataKit does with what comes to it; a backslash that could be taken for an escape in a tag is a slash.

use super::{Measurement, ends::Ends, ends::Tag};
use crate::Timestamp;
use std::io::Write;

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

impl Value {
    /// A number of things; what is too large for this protocol is its largest number.
    pub(super) fn count(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            // Writing into memory can't fail.
            Self::Int(number) => drop(write!(out, "{number}i")),
            Self::Bool(yes) => out.push(if *yes { b'T' } else { b'F' }),
            Self::Text(text) => {
                out.push(b'"');
                write_text(text, out);
                out.push(b'"');
            }
        }
    }
}

/// One point.
#[derive(Clone, Debug)]
pub struct Point {
    /// The kind of point.
    pub measurement: Measurement,
    /// The end of the time that it sums up.
    pub time: Timestamp,
    /// By name.
    tags: Vec<Tag>,
    /// At least one.
    fields: Vec<(&'static str, Value)>,
}

impl Point {
    pub(super) fn of(measurement: Measurement, ends: &Ends) -> Self {
        Self {
            measurement,
            time: Timestamp(0),
            tags: ends.tags(measurement.name()),
            fields: Vec::new(),
        }
    }

    pub(super) fn field(&mut self, name: &'static str, value: Value) {
        self.fields.push((name, value));
    }

    /// Adds a field whose value is known.
    pub(super) fn known(&mut self, name: &'static str, value: Option<Value>) {
        self.fields.extend(value.map(|value| (name, value)));
    }

    /// Writes its line, with the newline after it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.measurement.name().as_bytes());
        for (name, value) in self.tags.iter().filter(|(_, value)| !value.is_empty()) {
            out.push(b',');
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            write_tag(value, out);
        }
        let mut before = b' ';
        for (name, value) in &self.fields {
            out.push(before);
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            value.write(out);
            before = b',';
        }
        let _ = writeln!(out, " {}", self.time.0);
    }
}

/// The value of a tag.
fn write_tag(text: &str, out: &mut Vec<u8>) {
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ',' | '=' | ' ' => out.extend([b'\\', letter as u8]),
            '\\' => {
                let special = |next: &char| matches!(next, ',' | '=' | ' ' | '\\') || next.is_control();
                let escapes = letters.peek().is_none_or(special);
                out.push(if escapes { b'/' } else { b'\\' });
            }
            letter if letter.is_control() => out.extend(b"\\ "),
            letter => push(letter, out),
        }
    }
}

/// What stands between the quotes of a text.
fn write_text(text: &str, out: &mut Vec<u8>) {
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend([b'\\', letter as u8]),
            letter if letter.is_control() => out.push(b' '),
            letter => push(letter, out),
        }
    }
}

fn push(letter: char, out: &mut Vec<u8>) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(tag: &str, text: &str) -> Point {
        Point {
            measurement: Measurement::Httpflow,
            time: Timestamp(1_700_000_000_000_000_001),
            tags: vec![("host", tag.to_owned().into()), ("transport", "tcp".into())],
            fields: vec![
                ("count", Value::Int(-1)),
                ("path", Value::Text(text.into())),
                ("truncated", Value::Bool(true)),
            ],
        }
    }

    fn line(point: &Point) -> String {
        let mut out = Vec::new();
        point.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_point_is_a_line_with_everything_escaped() {
        assert_eq!(
            line(&point("a b,c=d\\e\"f", "/a b,c=d\\e\"f\\")),
            "httpflow,host=a\\ b\\,c\\=d\\e\"f,transport=tcp \
             count=-1i,path=\"/a b,c=d\\\\e\\\"f\\\\\",truncated=T 1700000000000000001\n"
        );
        assert_eq!(
            line(&point("", "a\r\nb")),
            "httpflow,transport=tcp count=-1i,path=\"a  b\",truncated=T 1700000000000000001\n"
        );
        assert_eq!(Value::count(u64::MAX), Value::Int(i64::MAX));
    }

    /// What is to be read again: control characters as blanks, backslashes in tags that could be escapes as slashes.
    fn read_again(text: &str, is_tag: bool) -> String {
        let letters: Vec<char> = text.chars().collect();
        let written = |(place, letter): (usize, &char)| match letter {
            letter if letter.is_control() => ' ',
            '\\' if is_tag => match letters.get(place + 1) {
                Some(next) if !",= \\".contains(*next) && !next.is_control() => '\\',
                _ => '/',
            },
            letter => *letter,
        };
        letters.iter().enumerate().map(written).collect()
    }

    fn is_read_again(tag: &str, text: &str) {
        let line = line(&point(tag, text));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let mut read = influxdb_line_protocol::parse_lines(&line);
        let found = read.next().unwrap().unwrap();
        assert!(read.next().is_none(), "{line}");
        assert_eq!(found.series.measurement, "httpflow");
        let host = found.tag_value("host").map(ToString::to_string);
        assert_eq!(host.unwrap_or_default(), read_again(tag, true), "{line}");
        assert!(*found.tag_value("transport").unwrap() == "tcp");
        let field = |name: &str| found.field_value(name).unwrap().to_owned();
        let influxdb_line_protocol::FieldValue::String(path) = field("path") else {
            panic!("{line}")
        };
        assert_eq!(path.as_str(), read_again(text, false), "{line}");
        assert_eq!(field("count"), influxdb_line_protocol::FieldValue::I64(-1));
        assert_eq!(
            field("truncated"),
            influxdb_line_protocol::FieldValue::Boolean(true)
        );
        assert_eq!(found.timestamp, Some(1_700_000_000_000_000_001));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(tag in any::<String>(), text in any::<String>()) {
            is_read_again(&tag, &text);
        }

        #[test]
        fn what_has_a_meaning_in_the_protocol_is_read_again(
            tag in r#"[ab,= "\\#\n\r\t\x00\x7f]{0,8}"#,
            text in r#"[ab,= "\\#\n\r\t\x00\x7f]{0,8}"#,
        ) {
            is_read_again(&tag, &text);
        }
    }
}
