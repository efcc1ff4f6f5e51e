//! Capture files: pcap and pcapng, from anything that can be read, a pipe included.

mod pcapng;

use crate::{LinkType, Packet};
use pcap_parser::{
    PcapError, PcapHeader, nom, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
};
use pcapng::Section;
use std::{
    io::{self, Read},
    ops::Range,
};
use weir_records::Timestamp;

/// So much is read at once.
const READ: usize = 64 << 10;
/// No packet and no block is longer: a length beyond this is damage.
const LONGEST: usize = 16 << 20;

/// Why a capture file can't be read, or no further.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system's reason.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// It holds nothing.
    #[error("it is empty: not even the header of a capture file is there")]
    Empty,
    /// It is something else.
    #[error("it is neither pcap nor pcapng: it begins with {}", hex(.0))]
    NotACapture(Vec<u8>),
    /// What stands there is no packet of a capture file.
    #[error("it is damaged at byte {offset}: {what}; what came before has been read")]
    Damaged {
        /// Where, from the file's beginning.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

fn hex(bytes: &[u8]) -> String {
    let words: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    words.join(" ")
}

/// Reads the packets of a capture file.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of `buffer` is still to be read.
    unread: Range<usize>,
    /// Bytes of the file before `unread`.
    offset: u64,
    format: Format,
    cut: usize,
    skipped: u64,
}

#[derive(Debug)]
enum Format {
    Pcap(PcapHeader),
    PcapNg(Section),
}

/// A packet's place in the buffer.
struct Found {
    at: Timestamp,
    link: LinkType,
    bytes: Range<usize>,
    wire_len: usize,
}

/// What stands at the beginning of some bytes.
enum Step {
    /// A packet, whose place is told from their beginning; so many bytes belong to it.
    Packet(Found, usize),
    /// So many bytes of something else.
    Other(usize),
    /// A packet of a kind that is not read, and so many bytes of it.
    Skipped(usize),
    /// The end is missing: at least so many bytes.
    More(usize),
    Damaged(&'static str),
}

impl<R: Read> Reader<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// It can't be read, or is no capture file.
    pub fn new(input: R) -> Result<Self, FileError> {
        let mut reader = Self {
            input,
            buffer: Vec::new(),
            unread: 0..0,
            offset: 0,
            format: Format::PcapNg(Section::default()),
            cut: 0,
            skipped: 0,
        };
        while reader.unread.len() < 4 && reader.fill(4)? {}
        if reader.unread.is_empty() {
            return Err(FileError::Empty);
        }
        if reader.unread().starts_with(&pcapng::MAGIC) {
            return Ok(reader); // its header is a block as any other
        }
        loop {
            match pcap_parser::parse_pcap_header(reader.unread()) {
                Ok((_, header)) => {
                    reader.consume(header.size());
                    reader.format = Format::Pcap(header);
                    return Ok(reader);
                }
                Err(nom::Err::Incomplete(_)) => {}
                Err(_) => return Err(reader.not_a_capture()),
            }
            if !reader.fill(1)? {
                return Err(reader.not_a_capture());
            }
        }
    }

    fn not_a_capture(&self) -> FileError {
        FileError::NotACapture(self.unread().iter().take(8).copied().collect())
    }

    /// The next packet; nothing at the file's end.
    ///
    /// # Errors
    /// It can't be read, or is damaged there. (Of a file that was cut, [`Self::cut`] tells.)
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, FileError> {
        loop {
            let bytes = &self.buffer[self.unread.clone()];
            let step = match &mut self.format {
                Format::Pcap(header) => legacy(header, bytes),
                Format::PcapNg(section) => section.step(bytes),
            };
            match step {
                Step::Packet(found, len) => {
                    let start = self.unread.start;
                    self.consume(len);
                    return Ok(Some(Packet {
                        at: found.at,
                        link: found.link,
                        bytes: &self.buffer[start + found.bytes.start..start + found.bytes.end],
                        wire_len: found.wire_len.max(found.bytes.len()),
                    }));
                }
                Step::Other(len) => self.consume(len),
                Step::Skipped(len) => {
                    self.skipped += 1;
                    self.consume(len);
                }
                Step::More(missing) => {
                    if self.unread.len() + missing > LONGEST {
                        return Err(self.damaged("a packet that is longer than any"));
                    }
                    if !self.fill(missing)? {
                        self.cut = self.unread.len();
                        return Ok(None);
                    }
                }
                Step::Damaged(what) => return Err(self.damaged(what)),
            }
        }
    }

    /// Bytes of a packet at the file's end, whose rest is missing; 0 unless the file was cut.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// Packets in blocks of an obsolete kind, which were left out.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn damaged(&self, what: &'static str) -> FileError {
        FileError::Damaged {
            offset: self.offset,
            what,
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    fn consume(&mut self, len: usize) {
        self.unread.start += len;
        self.offset += len as u64;
    }

    /// Reads some more, at best as much as is missing; false at the file's end. The buffer grows with what has arrived, and not with
    /// what a length claims.
    fn fill(&mut self, missing: usize) -> Result<bool, FileError> {
        if self.unread.start > 0 && self.buffer.len() - self.unread.end < missing.max(READ / 4) {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.unread.end == self.buffer.len() {
            self.buffer
                .resize(self.buffer.len() + self.buffer.len().max(READ), 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.unread.end..]) {
                Ok(n) => {
                    self.unread.end += n;
                    return Ok(n > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What is missing according to the parser.
fn missing(needed: nom::Needed) -> usize {
    match needed {
        nom::Needed::Size(n) => n.get(),
        nom::Needed::Unknown => 1,
    }
}

/// A packet of a pcap file.
fn legacy(header: &PcapHeader, bytes: &[u8]) -> Step {
    let (parsed, head) = match (header.is_bigendian(), header.is_modified_format()) {
        (_, true) => (parse_pcap_frame_modified(bytes), 24),
        (true, _) => (parse_pcap_frame_be(bytes), 16),
        (false, _) => (parse_pcap_frame(bytes), 16),
    };
    match parsed {
        Ok((_, frame)) => {
            let fraction = u64::from(frame.ts_usec);
            let ns = match header.is_nanosecond_precision() {
                true => fraction,
                false => fraction * 1000,
            };
            let end = head + frame.data.len();
            let found = Found {
                at: Timestamp(u64::from(frame.ts_sec) * 1_000_000_000 + ns),
                // The upper bits tell of checksums behind the packet, which IP's own length leaves out.
                link: LinkType(header.network.0 as u32 & 0xffff),
                bytes: head..end,
                wire_len: frame.origlen as usize,
            };
            Step::Packet(found, end)
        }
        Err(nom::Err::Incomplete(needed)) => Step::More(missing(needed)),
        Err(nom::Err::Error(_) | nom::Err::Failure(_)) => Step::Damaged("no packet's header"),
    }
}

/// In words, for people.
fn reason(error: &PcapError<&[u8]>) -> &'static str {
    match error {
        PcapError::HeaderNotRecognized => "no section's header",
        _ => "no block",
    }
}
