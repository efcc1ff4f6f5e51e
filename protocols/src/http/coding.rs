//! Content codings (RFC 9110, 8.4.1): gzip, deflate, br, zstd, one after the other, each within a bound of its output. What
//! can be read of a beginning, or before some damage, is.

use brotli_decompressor::BrotliDecoderParameter;
use brotli_decompressor::reader::{Allocator, DecompressorCustomAlloc, StandardAlloc};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, Read};

/// Codings on a body that are looked through.
pub(super) const DEEPEST: usize = 4;
/// The largest window that the coding zstd may have (RFC 9659).
const ZSTD_WINDOW: u64 = 8 << 20;
/// The most that brotli remembers of its output at once, and what its decoder adds to that. (Up to 16 MiB is allowed; a body
/// that has less than this is decoded, whatever window it asks for.)
const BROTLI_WINDOW: usize = (8 << 20) + (4 << 10);
/// What a frame of zstd costs, in bytes of output: tables are made for each.
const FRAME: usize = 16 << 10;

/// A coding that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// How decoding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All was decoded.
    Whole,
    /// The input is only the beginning.
    Early,
    /// There is more output than wanted.
    Limit,
    /// The input is not what it should be.
    Damaged,
}

impl Coding {
    /// By its name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let is = |own: &[u8]| name.eq_ignore_ascii_case(own);
        match name {
            _ if is(b"gzip") || is(b"x-gzip") => Some(Self::Gzip),
            _ if is(b"deflate") => Some(Self::Deflate),
            _ if is(b"br") => Some(Self::Brotli),
            _ if is(b"zstd") => Some(Self::Zstd),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Decodes about `limit` bytes at most.
    pub fn decode(self, input: &[u8], limit: usize) -> (Vec<u8>, End) {
        let mut source = Source {
            rest: input,
            starved: false,
        };
        let (bytes, end) = match self {
            Self::Gzip => read(MultiGzDecoder::new(&mut source), limit),
            Self::Deflate if is_zlib(input) => read(ZlibDecoder::new(&mut source), limit),
            Self::Deflate => read(DeflateDecoder::new(&mut source), limit),
            Self::Brotli => {
                let mut bounded = Bounded::default();
                let (buffer, others) = (bounded.alloc_cell(4096), StandardAlloc::default);
                let mut decoder =
                    DecompressorCustomAlloc::new(&mut source, buffer, bounded, others(), others());
                // Windows of more than 16 MiB are no part of the coding.
                decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
                read(decoder, limit)
            }
            Self::Zstd => zstd(&mut source, limit),
        };
        match end {
            End::Damaged if source.starved => (bytes, End::Early),
            end => (bytes, end),
        }
    }
}

/// Memory for brotli's output, in pieces that are not larger than its window may be.
#[derive(Default)]
struct Bounded(StandardAlloc);

impl Allocator<u8> for Bounded {
    type AllocatedMemory = <StandardAlloc as Allocator<u8>>::AllocatedMemory;

    /// An empty piece is none: decoding ends with an error.
    fn alloc_cell(&mut self, length: usize) -> Self::AllocatedMemory {
        match length > BROTLI_WINDOW {
            true => Self::AllocatedMemory::default(),
            false => self.0.alloc_cell(length),
        }
    }

    fn free_cell(&mut self, memory: Self::AllocatedMemory) {
        self.0.free_cell(memory);
    }
}

/// Input that knows whether more of it was wanted than there is.
struct Source<'a> {
    rest: &'a [u8],
    starved: bool,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.starved |= self.rest.is_empty() && !buffer.is_empty();
        self.rest.read(buffer)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.starved |= self.rest.is_empty();
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount..];
    }
}

/// `deflate` is that of zlib; some servers send it without zlib's frame (RFC 9110, 8.4.1.2).
fn is_zlib(input: &[u8]) -> bool {
    match input {
        [method, flags, ..] => {
            method & 0xf == 8 && (usize::from(*method) << 8 | usize::from(*flags)) % 31 == 0
        }
        _ => true,
    }
}

fn read(mut decoder: impl Read, limit: usize) -> (Vec<u8>, End) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match decoder.read(&mut piece) {
            Ok(0) => return (bytes, End::Whole),
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(_) => return (bytes, End::Damaged),
        }
        if bytes.len() > limit {
            return (bytes, End::Limit);
        }
    }
}

/// Frame by frame. Of a frame that is not whole, its whole blocks.
fn zstd(source: &mut Source<'_>, limit: usize) -> (Vec<u8>, End) {
    let (mut bytes, mut spent) = (Vec::new(), 0);
    while !source.rest.is_empty() || bytes.is_empty() {
        if spent > limit {
            return (bytes, End::Limit);
        }
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        match decoder.init(&mut *source) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                source.starved |= length > source.rest.len();
                source.rest = source.rest.get(length..).unwrap_or_default();
                spent += FRAME;
                if source.rest.is_empty() {
                    return (bytes, if source.starved { End::Damaged } else { End::Whole });
                }
                continue;
            }
            Err(_) => return (bytes, End::Damaged),
        }
        let wanted = BlockDecodingStrategy::UptoBytes(limit + 1 - spent.min(limit));
        let decoded = decoder.decode_blocks(&mut *source, wanted);
        if !matches!(decoded, Ok(true)) {
            // A last block with nothing in it, so that what has been decoded is given out.
            let _ = decoder.decode_blocks(&b"\x01\0\0\0\0\0\0"[..], BlockDecodingStrategy::UptoBlocks(1));
        }
        let output = decoder.collect().unwrap_or_default();
        spent += output.len() + FRAME;
        bytes.extend_from_slice(&output);
        match decoded {
            Ok(true) => {}
            Ok(false) => return (bytes, End::Limit),
            Err(_) => return (bytes, End::Damaged),
        }
    }
    (bytes, End::Whole)
}

#[cfg(test)]
mod tests;
