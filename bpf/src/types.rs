//! The kernel's own types, as far as the programs ask for them.
//!
//! aya can read all of `/sys/kernel/btf/vmlinux`: a hundred thousand types, for the places of four members. A pod's
//! container may not have the 15 MB that they take, so the few members are looked up in the file, and aya gets a small
//! BTF that holds nothing else. The format is that of Documentation/bpf/btf.rst.

use aya::{Btf, Endianness};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
};

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// The part of a type that every kind has.
const COMMON: usize = 12;
const MEMBER: usize = 12;
/// Types that only name or qualify another one may be chained; more of them than that is no BTF.
const DEPTH: usize = 32;
/// Longest name that is compared.
const NAME: usize = 128;

/// A structure's name, with the members that are read of it: each a path through structures that are embedded in it.
pub(crate) type Wanted<'a> = (&'a str, &'a [&'a str]);

/// A small BTF with these members at their places in this kernel.
///
/// # Errors
/// The kernel shows no types, or has no such members.
pub(crate) fn of_kernel(wanted: &[Wanted<'_>]) -> io::Result<Btf> {
    let small = small(File::open(KERNEL)?, wanted)?;
    Btf::parse(&small, Endianness::default()).map_err(|error| io::Error::other(error.to_string()))
}

fn small(file: File, wanted: &[Wanted<'_>]) -> io::Result<Vec<u8>> {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let source = Source::open(file, &names)?;
    let mut small = Small::default();
    for (name, paths) in wanted {
        let mut members = Members::default();
        paths.iter().for_each(|path| members.add(path));
        let id = source.roots.get(*name).ok_or_else(|| missing(name))?;
        small.add(&source, *id, name, &members)?;
    }
    Ok(small.finish())
}

fn missing(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("this kernel's types have no {name}"),
    )
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "this kernel's types are in a format that is not known here",
    )
}

/// The wanted members of a structure, and theirs.
#[derive(Default)]
struct Members<'a>(BTreeMap<&'a str, Members<'a>>);

impl<'a> Members<'a> {
    fn add(&mut self, path: &'a str) {
        if let Some((first, rest)) = path.split_once('.') {
            self.0.entry(first).or_default().add(rest);
        } else {
            self.0.entry(path).or_default();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Pointer,
    Composite,
    /// Another type, under a name or with a qualifier.
    Alias,
    Other,
}

/// What every type begins with.
#[derive(Clone, Copy)]
struct Head {
    name: u32,
    info: u32,
    /// The size, or the number of the type that is meant.
    size: u32,
}

impl Head {
    fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            name: number(bytes, 0)?,
            info: number(bytes, 4)?,
            size: number(bytes, 8)?,
        })
    }

    fn count(self) -> usize {
        usize::try_from(self.info & 0xffff).unwrap_or_default()
    }

    /// BTF_KIND_…, and the bytes that follow the head.
    fn kind(self) -> Option<(Kind, usize)> {
        let count = self.count();
        Some(match self.info >> 24 & 0x1f {
            1 => (Kind::Int, 4),
            2 => (Kind::Pointer, 0),
            3 => (Kind::Other, 12),
            4 | 5 => (Kind::Composite, count * MEMBER),
            6 | 13 => (Kind::Other, count * 8),
            7 | 12 | 16 => (Kind::Other, 0),
            8..=11 | 18 => (Kind::Alias, 0),
            14 | 17 => (Kind::Other, 4),
            15 | 19 => (Kind::Other, count * 12),
            _ => return None,
        })
    }

    /// Members have their offsets in 24 bits, and above those their sizes if they are of bits.
    fn has_bit_fields(self) -> bool {
        self.info >> 31 != 0
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The kernel's BTF, of which nothing but the types' places is kept.
struct Source {
    file: File,
    types: u64,
    strings: u64,
    /// The place at which each type begins; type 0 is `void` and has none.
    places: Vec<u32>,
    /// The structures that are asked for, by their names.
    roots: BTreeMap<String, u32>,
}

impl Source {
    fn open(mut file: File, names: &[&str]) -> io::Result<Self> {
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        if header[..2] != MAGIC.to_ne_bytes() {
            return Err(damaged());
        }
        let field = |at| number(&header, at).map(u64::from).ok_or_else(damaged);
        let (length, types, types_length) = (field(4)?, field(8)?, field(12)?);
        let (strings, strings_length) = (field(16)?, field(20)?);
        let mut source = Self {
            file,
            types: length + types,
            strings: length + strings,
            places: Vec::new(),
            roots: BTreeMap::new(),
        };
        let named = source.find_names(strings_length, names)?;
        source.find_types(types_length, &named)?;
        Ok(source)
    }

    /// The names by their offsets.
    fn find_names(&self, length: u64, names: &[&str]) -> io::Result<BTreeMap<u32, String>> {
        let mut section = section(&self.file, self.strings, length)?;
        let (mut found, mut text, mut at) = (BTreeMap::new(), Vec::new(), 0);
        loop {
            text.clear();
            let read = section.read_until(0, &mut text)?;
            if read == 0 {
                return Ok(found);
            }
            let text = text.strip_suffix(&[0]).unwrap_or(&text);
            if let Some(name) = names.iter().find(|name| name.as_bytes() == text) {
                found.insert(at, (*name).to_owned());
            }
            at += u32::try_from(read).map_err(|_| damaged())?;
        }
    }

    fn find_types(&mut self, length: u64, named: &BTreeMap<u32, String>) -> io::Result<()> {
        let mut section = section(&self.file, self.types, length)?;
        let (mut places, mut roots) = (vec![0], BTreeMap::new());
        let (mut at, mut head) = (0_u64, [0; COMMON]);
        while at < length {
            section.read_exact(&mut head)?;
            let head = Head::of(&head).ok_or_else(damaged)?;
            let (kind, more) = head.kind().ok_or_else(damaged)?;
            let id = u32::try_from(places.len()).map_err(|_| damaged())?;
            places.push(u32::try_from(at).map_err(|_| damaged())?);
            if let Some(name) = named.get(&head.name).filter(|_| kind == Kind::Composite) {
                roots.entry(name.clone()).or_insert(id);
            }
            skip(&mut section, more)?;
            at += (COMMON + more) as u64;
        }
        (self.places, self.roots) = (places, roots);
        Ok(())
    }

    fn place(&self, id: u32) -> io::Result<u64> {
        let place = usize::try_from(id).ok().and_then(|id| self.places.get(id));
        let place = place.filter(|_| id != 0).ok_or_else(damaged)?;
        Ok(self.types + u64::from(*place))
    }

    /// A type, once what only names it is out of the way; with its place.
    fn resolve(&self, mut id: u32) -> io::Result<(Head, Kind, u64)> {
        for _ in 0..DEPTH {
            let place = self.place(id)?;
            let mut head = [0; COMMON];
            self.file.read_exact_at(&mut head, place)?;
            let head = Head::of(&head).ok_or_else(damaged)?;
            let (kind, _) = head.kind().ok_or_else(damaged)?;
            if kind != Kind::Alias {
                return Ok((head, kind, place));
            }
            id = head.size;
        }
        Err(damaged())
    }

    fn is_named(&self, offset: u32, name: &str) -> io::Result<bool> {
        let mut text = [0; NAME];
        // The last names of the section are shorter than what is read.
        let read = self.file.read_at(&mut text, self.strings + u64::from(offset))?;
        let text = &text[..read];
        Ok(text.starts_with(name.as_bytes()) && text.get(name.len()) == Some(&0))
    }

    /// A member's type and its offset in bits, also of a structure without a name in this one.
    fn member(&self, (head, place): (Head, u64), name: &str, depth: usize) -> io::Result<Option<(u32, u32)>> {
        let mut members = vec![0; head.count() * MEMBER];
        self.file.read_exact_at(&mut members, place + COMMON as u64)?;
        for member in members.chunks_exact(MEMBER) {
            let member = Head::of(member).ok_or_else(damaged)?;
            let (title, id, mut offset) = (member.name, member.info, member.size);
            let mut is_bits = false;
            if head.has_bit_fields() {
                (is_bits, offset) = (offset >> 24 != 0, offset & 0xff_ffff);
            }
            if title != 0 {
                if !is_bits && self.is_named(title, name)? {
                    return Ok(Some((id, offset)));
                }
                continue;
            }
            let (inner, kind, place) = self.resolve(id)?;
            if kind == Kind::Composite
                && depth < DEPTH
                && let Some((id, more)) = self.member((inner, place), name, depth + 1)?
            {
                return Ok(Some((id, offset + more)));
            }
        }
        Ok(None)
    }
}

fn section(mut file: &File, at: u64, length: u64) -> io::Result<impl io::BufRead> {
    file.seek(SeekFrom::Start(at))?;
    Ok(BufReader::with_capacity(1 << 16, file).take(length))
}

fn skip(from: &mut impl io::BufRead, count: usize) -> io::Result<()> {
    let skipped = io::copy(&mut from.take(count as u64), &mut io::sink())?;
    match skipped == count as u64 {
        true => Ok(()),
        false => Err(damaged()),
    }
}

/// The BTF that is made.
struct Small {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Default for Small {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }
}

impl Small {
    fn name(&mut self, name: &str) -> u32 {
        let at = u32::try_from(self.strings.len()).unwrap_or_default();
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn put(&mut self, numbers: impl IntoIterator<Item = u32>) -> u32 {
        self.types.extend(numbers.into_iter().flat_map(u32::to_ne_bytes));
        self.count += 1;
        self.count
    }

    /// A type with these of its members; gives its number here.
    fn add(&mut self, source: &Source, id: u32, name: &str, members: &Members<'_>) -> io::Result<u32> {
        let (head, kind, place) = source.resolve(id)?;
        match kind {
            Kind::Composite => {
                let mut put = Vec::new();
                for (name, inner) in &members.0 {
                    let found = source.member((head, place), name, 0)?;
                    let (id, offset) = found.ok_or_else(|| missing(name))?;
                    let id = self.add(source, id, name, inner)?;
                    put.extend([self.name(name), id, offset]);
                }
                let count = u32::try_from(members.0.len()).unwrap_or_default();
                let title = self.name(name);
                // BTF_KIND_STRUCT; a union's members have an offset of 0 there.
                Ok(self.put([title, 4 << 24 | count, head.size].into_iter().chain(put)))
            }
            Kind::Int if members.0.is_empty() => {
                let mut encoding = [0; 4];
                source.file.read_exact_at(&mut encoding, place + COMMON as u64)?;
                let title = self.name(name);
                Ok(self.put([title, 1 << 24, head.size, u32::from_ne_bytes(encoding)]))
            }
            // To nothing: what it points to is asked for by its own name.
            Kind::Pointer if members.0.is_empty() => Ok(self.put([0, 2 << 24, 0])),
            _ => Err(missing(name)),
        }
    }

    fn finish(self) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default();
        let (types, strings) = (length(&self.types), length(&self.strings));
        let mut bytes = Vec::with_capacity(HEADER + self.types.len() + self.strings.len());
        bytes.extend(MAGIC.to_ne_bytes());
        // Version 1, no flags.
        bytes.extend([1, 0]);
        for field in [HEADER as u32, 0, types, types, strings] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `redirect.bpf.c` and `port_map.bpf.c` ask for.
    #[test]
    fn members_are_found_wherever_this_kernel_has_them() {
        let wanted: [Wanted<'_>; 3] = [
            crate::load::TIME_WAIT[0],
            crate::port_map::SOCKET[0],
            crate::port_map::SOCKET[1],
        ];
        let Ok(file) = File::open(KERNEL) else {
            eprintln!("SKIPPED: this kernel shows no types");
            return;
        };
        let bytes = small(file, &wanted).unwrap();
        assert!(bytes.len() < 1_500, "{}", bytes.len());
        Btf::parse(&bytes, Endianness::default()).unwrap();
    }

    #[test]
    fn what_is_not_there_is_named() {
        let Ok(file) = File::open(KERNEL) else {
            eprintln!("SKIPPED: this kernel shows no types");
            return;
        };
        let error = small(file, &[("tcp_timewait_sock", &["no_such_member"])]).unwrap_err();
        assert!(error.to_string().contains("no_such_member"), "{error}");
        let file = File::open("/proc/self/exe").unwrap();
        assert_eq!(small(file, &[]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
