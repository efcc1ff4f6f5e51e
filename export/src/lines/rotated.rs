//! A file that is rotated by size and never holds half a line.

use super::{Cut, Format, Settings, append, run, write_all};
use crate::{batch::Doc, file::Identity};
use std::{
    fs::{File, rename},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// A cut line is looked for in this many bytes at the file's end.
const LONGEST_LINE: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Rotated {
    format: Format,
    path: PathBuf,
    /// Size to rotate at; 0 for never.
    limit: u64,
    keep: u32,
    file: File,
    identity: Identity,
    size: u64,
    /// Rotation failed; said once, until it works again.
    stuck: bool,
}

impl Rotated {
    pub(super) fn new(settings: Settings<'_>, file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut opened = Self {
            format: settings.format,
            path: settings.path.into(),
            limit: settings.rotate_bytes.0,
            keep: settings.keep,
            identity: Identity::of(&metadata),
            size: metadata.len(),
            file,
            stuck: false,
        };
        opened.mend()?;
        Ok(opened)
    }

    /// Writes some of the documents and says how many.
    pub(super) fn write(&mut self, documents: &[Doc]) -> Result<usize, Cut> {
        let early = |error| Cut { whole: 0, error };
        if !self.identity.is_at(&self.path) {
            self.reopen().map_err(early)?;
        }
        let mut room = self.room();
        let first = documents.first().map_or(0, |first| first.line().len() as u64);
        if first > room && self.size > 0 {
            self.rotate().map_err(early)?;
            room = self.room();
        }
        // Where rotation failed there is no room left, and the file grows rather than that a document is lost.
        let run = run(documents, if self.stuck { u64::MAX } else { room });
        let lines = Doc::lines(run);
        match write_all(&self.file, lines) {
            Ok(()) => {
                self.size += lines.len() as u64;
                Ok(run.len())
            }
            Err(cut) => Err(self.take_back(lines, cut)),
        }
    }

    fn room(&self) -> u64 {
        match self.limit {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.size),
        }
    }

    /// Cuts the half line off that a failed write left.
    fn take_back(&mut self, lines: &[u8], cut: Cut) -> Cut {
        let written = &lines[..cut.whole];
        let whole = written
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        self.size += whole as u64;
        if whole < cut.whole
            && let Err(error) = self.file.set_len(self.size)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot cut a half-written line off");
        }
        Cut {
            whole,
            error: cut.error,
        }
    }

    /// Opens the path anew: somebody moved the file away or deleted it.
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        let metadata = self.file.metadata()?;
        self.identity = Identity::of(&metadata);
        self.size = metadata.len();
        self.mend()
    }

    /// `PATH.1` becomes `PATH.2` and so on, the file `PATH.1`, and a new one is begun.
    fn rotate(&mut self) -> io::Result<()> {
        if let Err(error) = self.shift() {
            if !self.stuck {
                tracing::warn!(path = %self.path.display(), %error, "cannot rotate the file, so it grows on");
            }
            self.stuck = true;
            return Ok(());
        }
        self.stuck = false;
        self.reopen()
    }

    fn shift(&self) -> io::Result<()> {
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        rename(&self.path, numbered(&self.path, 1))
    }

    /// Makes sure that the file ends with a whole line: a document that a crash cut is taken out, anything else gets
    /// its line end.
    fn mend(&mut self) -> io::Result<()> {
        if self.size == 0 {
            return Ok(());
        }
        // The sink's own handle can only append.
        let mut reader = File::open(&self.path)?;
        let window = self.size.min(LONGEST_LINE);
        reader.seek(SeekFrom::Start(self.size - window))?;
        let mut tail = Vec::new();
        reader.take(window).read_to_end(&mut tail)?;
        let start = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let line = &tail[start..];
        if line.is_empty() {
            return Ok(());
        }
        if self.format.is_cut(line) {
            self.size -= line.len() as u64;
            return self.file.set_len(self.size);
        }
        write_all(&self.file, b"\n").map_err(|cut| cut.error)?;
        self.size += 1;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
