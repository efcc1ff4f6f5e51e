//! A list of header fields, within bounds.

use weir_records::Octets;

/// Fields in one piece of memory.
#[derive(Clone, Debug, Default)]
pub(in crate::http2) struct Fields {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    max_bytes: usize,
    max_fields: usize,
    /// Fields that there were.
    pub count: u64,
    /// Bytes of their names and values.
    pub size: u64,
    /// Fields of which the name or the value is unknown.
    pub unknown: u64,
    /// The block that they stood in was not read to its end.
    pub broken: bool,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    name: u32,
    value: u32,
    named: bool,
    cut: bool,
    /// The index whose value is unknown; 0 where the value is known.
    index: u32,
}

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) struct Field<'a> {
    /// `None` if it is unknown.
    pub name: Option<&'a [u8]>,
    /// Or the index at which an unknown one stands.
    pub value: Result<&'a [u8], u32>,
    /// Not all of it was kept.
    pub cut: bool,
}

impl Fields {
    pub fn new(max_bytes: usize, max_fields: usize) -> Self {
        Self {
            max_bytes,
            max_fields,
            ..Self::default()
        }
    }

    pub fn push(&mut self, name: Option<&[u8]>, value: &[u8]) {
        self.add(name, value, 0);
    }

    /// A field whose value is unknown.
    pub fn push_unknown(&mut self, name: Option<&[u8]>, index: u32) {
        self.add(name, b"", index);
    }

    fn add(&mut self, name: Option<&[u8]>, value: &[u8], index: u32) {
        let named = name.is_some();
        let name = name.unwrap_or_default();
        self.count += 1;
        self.size += (name.len() + value.len()) as u64;
        self.unknown += u64::from(!named || index > 0);
        let room = self.max_bytes.saturating_sub(self.bytes.len());
        if self.marks.len() >= self.max_fields || name.len() > room {
            return;
        }
        let kept = value.len().min(room - name.len());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(&value[..kept]);
        let narrow = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.marks.push(Mark {
            name: narrow(name.len()),
            value: narrow(kept),
            named,
            cut: kept < value.len(),
            index,
        });
    }

    /// Gives back memory that is not used.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    /// Bytes of memory that it takes.
    pub fn stored(&self) -> usize {
        self.bytes.len() + self.marks.len() * size_of::<Mark>()
    }

    /// Bytes of names and values that were not kept.
    pub fn is_cut(&self) -> bool {
        self.size > self.bytes.len() as u64
    }

    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let mut rest = &self.bytes[..];
        self.marks.iter().map(move |mark| {
            let (name, tail) = rest.split_at(mark.name as usize);
            let (value, tail) = tail.split_at(mark.value as usize);
            rest = tail;
            Field {
                name: mark.named.then_some(name),
                value: if mark.index == 0 {
                    Ok(value)
                } else {
                    Err(mark.index)
                },
                cut: mark.cut,
            }
        })
    }

    /// The same, each with the octets of its name and of its value: whether they are text is asked of all of them at once.
    pub fn octets(&self) -> impl Iterator<Item = (Field<'_>, Octets<'_>, Octets<'_>)> {
        let all = Octets::read(&self.bytes);
        let mut at = 0;
        self.iter().zip(&self.marks).map(move |(field, mark)| {
            let name = at..at + mark.name as usize;
            at = name.end + mark.value as usize;
            (field, all.part(name.clone()), all.part(name.end..at))
        })
    }

    /// Some of the fields that were sent are unknown, or were not kept.
    pub fn is_partial(&self) -> bool {
        self.broken || self.unknown > 0 || self.is_cut()
    }

    /// There is a field of this name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.iter().any(|field| field.name == Some(name))
    }

    /// The value of the first field of this name, if that is known.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|field| field.name == Some(name))?.value.ok()
    }

    /// How many of them are pseudo-headers.
    pub fn pseudo(&self) -> u64 {
        let pseudo = |field: &Field<'_>| field.name.is_some_and(|name| name.starts_with(b":"));
        self.iter().filter(pseudo).count() as u64
    }
}
