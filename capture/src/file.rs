//! Capture files: pcap and pcapng, from anything that can be read, a pipe included; and pcapng written.

mod pcap;
mod pcapng;
mod write;

use crate::{LinkType, Packet, Way};
use pcap::Header;
use pcapng::Section;
use std::{
    io::{self, Read},
    ops::Range,
};
use weir_records::Timestamp;
pub use write::{Files, PacketFile, WriteError};

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
    Pcap(Header),
    PcapNg(Section),
}

/// A packet's place in the buffer.
struct Found {
    at: Timestamp,
    link: LinkType,
    bytes: Range<usize>,
    wire_len: usize,
    /// On which interface; 0 where the file does not tell.
    interface: u32,
    way: Way,
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
        while reader.unread.len() < pcap::HEADER && reader.fill(1)? {}
        let begin = reader.unread();
        if begin.is_empty() {
            return Err(FileError::Empty);
        }
        if begin.starts_with(&pcapng::MAGIC) {
            return Ok(reader); // its header is a block as any other
        }
        let header = Header::read(begin).ok_or_else(|| reader.not_a_capture())?;
        reader.consume(pcap::HEADER);
        reader.format = Format::Pcap(header);
        Ok(reader)
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
                Format::Pcap(header) => header.step(bytes),
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
                        interface: found.interface,
                        way: found.way,
                        vlan: None,
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

/// The order of a number's bytes in a file: that of the machine which wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    fn i64(self, bytes: &[u8], at: usize) -> Option<i64> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        })
    }
}
