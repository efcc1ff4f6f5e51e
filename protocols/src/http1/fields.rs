//! The fields of a head: where they stand, told when it is read first, and what is looked at when its document is made.

use super::head::{Lines, trim, trimmed};
use std::ops::Range;
use weir_records::Octets;

/// Fields that there is room for at once.
const USUAL: usize = 8;

/// A field: its name as it was sent, its value without surrounding white space, folded lines joined by a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub name: Octets<'a>,
    pub value: Octets<'a>,
    /// The head was cut in this field.
    pub cut: bool,
}

impl<'a> Field<'a> {
    /// One that names the host.
    pub fn host(value: &'a [u8]) -> Self {
        Self {
            name: "host".into(),
            value: value.into(),
            cut: false,
        }
    }
}

/// Where each field of a head stands, so that they are looked for once: its name's beginning and end, and its value's. Known
/// only of a head of which all is there, and every line a field as it should be.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Option<Vec<[u32; 4]>>);

impl Spans {
    /// Those of a head that has none so far.
    pub fn begin() -> Self {
        Self(Some(Vec::new()))
    }

    /// Adds what a line that begins here holds; its parts count from its beginning.
    #[inline]
    pub fn push(&mut self, line: usize, field: Option<(Range<usize>, Range<usize>)>) {
        let Some(list) = &mut self.0 else { return };
        let narrow = |at: usize| u32::try_from(line + at).ok();
        let span = field.and_then(|(name, value)| {
            Some([
                narrow(name.start)?,
                narrow(name.end)?,
                narrow(value.start)?,
                narrow(value.end)?,
            ])
        });
        let Some(span) = span else {
            return self.give_up();
        };
        if list.is_empty() {
            list.reserve(USUAL);
        }
        list.push(span);
    }

    /// There is a line of another kind, or one that is not here.
    pub fn give_up(&mut self) {
        self.0 = None;
    }

    /// Leaves out all behind so many.
    pub fn truncate(&mut self, most: usize) {
        if let Some(list) = &mut self.0 {
            list.truncate(most);
        }
    }

    /// Bytes of memory that it takes.
    pub fn stored(&self) -> usize {
        let list = self.0.as_ref();
        list.map_or(0, |list| list.capacity() * size_of::<[u32; 4]>())
    }

    /// The fields of this head, if it is known where they stand.
    pub fn fields<'a>(&self, head: &Octets<'a>) -> Option<Vec<Field<'a>>> {
        let field = |[name, colon, value, end]: &[u32; 4]| Field {
            name: head.part(*name as usize..*colon as usize),
            value: head.part(*value as usize..*end as usize),
            cut: false,
        };
        Some(self.0.as_ref()?.iter().map(field).collect())
    }
}

/// The fields among these lines. A line without a colon is left out (and was noted when the head was read).
pub(super) fn fields(block: &[u8]) -> Reading<'_> {
    Reading {
        block: Octets::read(block),
        at: 0,
    }
}

/// See [`fields`].
#[derive(Clone, Debug)]
pub(super) struct Reading<'a> {
    block: Octets<'a>,
    at: usize,
}

impl Reading<'_> {
    /// Where the next line stands, without its end, and whether it ended at all.
    #[inline]
    fn line(&mut self) -> Option<(Range<usize>, bool)> {
        let start = self.at;
        let line = Lines(&self.block[start..]).next()?;
        let end = start + line.bytes.len();
        self.at = end + usize::from(line.crlf) + usize::from(line.ended);
        Some((start..end, line.ended))
    }

    /// The next line goes on with the value of the one before it.
    #[inline]
    fn folds(&self) -> bool {
        matches!(self.block.get(self.at), Some(b' ' | b'\t'))
    }
}

impl<'a> Iterator for Reading<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let folded = self.folds();
            let (line, mut ended) = self.line()?;
            let Some(colon) = self.block[line.clone()].iter().position(|byte| *byte == b':') else {
                continue;
            };
            if folded {
                continue;
            }
            let (name, value) = (line.start..line.start + colon, line.start + colon + 1..line.end);
            let mut value = self.block.part(trimmed(&self.block, value));
            while self.folds() {
                let Some((fold, its_end)) = self.line() else { break };
                let joined = [&value, &b" "[..], trim(&self.block[fold])].concat();
                value = Octets::Bytes(joined.into());
                ended &= its_end;
            }
            return Some(Field {
                name: self.block.part(trimmed(&self.block, name)),
                value,
                cut: !ended,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::framing;
    use proptest::prelude::*;

    #[test]
    fn folded_lines_are_joined() {
        let seen: Vec<_> = fields(b"A: b\r\n  c\r\nno colon\r\nD : e \r\n\r\n").collect();
        let seen: Vec<_> = seen.iter().map(|f| (&*f.name, &*f.value)).collect();
        assert_eq!(seen, [(&b"A"[..], &b"b c"[..]), (b"D", b"e")]);
    }

    /// The fields of a head as its first reading has found them, if it has.
    fn spanned(head: &[u8]) -> Option<Vec<Field<'_>>> {
        let (read, _) = framing::Fields::read(head);
        read.spans.fields(&Octets::read(head))
    }

    #[test]
    fn where_fields_stand_is_known_where_every_line_is_one() {
        for (head, known) in [
            (&b"GET / HTTP/1.1\r\nA: b\r\nC:\td \r\nE:\n\r\n"[..], true),
            (b"GET / HTTP/1.1\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nA: caf\xe9\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nA\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nA: b\r\n", false),
        ] {
            assert_eq!(spanned(head).is_some(), known, "{}", head.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn both_ways_to_the_fields_find_the_same(head in "[aB:; \t\r\n\u{e9}]{0,60}") {
            let head = format!("GET / HTTP/1.1\r\n{head}\r\n\r\n").into_bytes();
            let (_, end) = framing::Fields::read(&head);
            let head = &head[..end.unwrap_or(head.len())];
            if let Some(spanned) = spanned(head) {
                let found: Vec<_> = fields(&head[16..]).collect();
                prop_assert_eq!(spanned, found);
            }
        }
    }
}
