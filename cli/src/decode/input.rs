//! Where captures come from: files and standard input, gzipped or not.

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, Chain, Cursor, Read},
};

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What was read to find out what it is, and the rest.
type Whole = Chain<Cursor<Vec<u8>>, Box<dyn Read>>;

/// A capture that is being read.
pub enum Input {
    /// As it is.
    Plain { source: Whole, live: bool },
    /// Compressed.
    Gzip(Box<MultiGzDecoder<Whole>>),
}

impl Input {
    /// Opens a file, or standard input where the name is `-`.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(name: &str) -> Result<Self> {
        let live = name == "-";
        let source: Box<dyn Read> = match live {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(name).context("cannot open it")?),
        };
        let mut rest = source;
        let mut begin = Vec::new();
        rest.by_ref()
            .take(GZIP.len() as u64)
            .read_to_end(&mut begin)
            .context("cannot read it")?;
        let gzip = begin == GZIP;
        let source = Cursor::new(begin).chain(rest);
        Ok(match gzip {
            true => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            false => Self::Plain { source, live },
        })
    }

    /// True if it may come from a capture that is still running.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Plain { live: true, .. })
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain { source, .. } => source.read(into),
            Self::Gzip(source) => source.read(into),
        }
    }
}
