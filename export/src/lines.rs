//! One document or point a line: into a file that is rotated by size, or to standard output.

mod format;
mod rotated;
mod stream;

use crate::{
    ExportError,
    batch::Doc,
    file::explain,
    runner::{Appetite, Failure, FailureKind, Sink, Verdict},
};
pub(crate) use format::{Format, LINE_PROTOCOL, NDJSON};
use rotated::Rotated;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use stream::Stream;
use weir_config::Bytes;

/// What is written, and where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) format: Format,
    /// The file; `-` for standard output.
    pub(crate) path: &'a Path,
    /// Size to rotate at; 0 for never.
    pub(crate) rotate_bytes: Bytes,
    /// Rotated files that are kept.
    pub(crate) keep: u32,
}

impl<'a> From<&'a weir_config::Ndjson> for Settings<'a> {
    fn from(settings: &'a weir_config::Ndjson) -> Self {
        Self {
            format: NDJSON,
            path: &settings.path,
            rotate_bytes: settings.rotate_bytes,
            keep: settings.keep,
        }
    }
}

impl<'a> From<&'a weir_config::Lines> for Settings<'a> {
    fn from(settings: &'a weir_config::Lines) -> Self {
        Self {
            format: LINE_PROTOCOL,
            path: &settings.path,
            rotate_bytes: settings.rotate_bytes,
            keep: settings.keep,
        }
    }
}

/// The sink.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    output: Output,
}

#[derive(Debug)]
enum Output {
    File(Rotated),
    /// Standard output, a pipe or a device: nothing of it can be taken back.
    Stream(Stream),
}

/// A write that ended early.
struct Cut {
    /// Bytes of whole lines that were written before.
    whole: usize,
    error: io::Error,
}

impl Lines {
    pub(crate) fn open<'a>(settings: impl Into<Settings<'a>>) -> Result<Self, ExportError> {
        let settings = settings.into();
        let output = Self::open_output(settings).map_err(|error| ExportError::Open {
            sink: settings.format.kind,
            path: settings.path.into(),
            reason: explain(settings.path, &error),
        })?;
        Ok(Self {
            path: settings.path.into(),
            output,
        })
    }

    fn open_output(settings: Settings<'_>) -> io::Result<Output> {
        if settings.path == Path::new("-") {
            let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            return Ok(Output::Stream(Stream::new(file)));
        }
        let file = append(settings.path)?;
        if file.metadata()?.is_file() {
            return Ok(Output::File(Rotated::new(settings, file)?));
        }
        Ok(Output::Stream(Stream::new(file)))
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let stream = matches!(self.output, Output::Stream(_));
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe if stream => FailureKind::Closed,
            _ => FailureKind::Retry,
        };
        Failure::new(kind, explain(&self.path, error))
    }
}

impl Sink for Lines {
    fn appetite(&self) -> Appetite {
        Appetite {
            bytes: 1 << 20,
            wait: Duration::ZERO,
        }
    }

    fn deliver(&mut self, documents: &[Doc], verdicts: &mut [Verdict]) -> Result<(), Failure> {
        let mut done = 0;
        while let rest = &documents[done..]
            && !rest.is_empty()
        {
            let result = match &mut self.output {
                Output::File(file) => file.write(rest),
                Output::Stream(stream) => stream.write(rest),
            };
            let (taken, error) = match result {
                Ok(taken) => (taken, None),
                Err(cut) => (whole_lines(rest, cut.whole), Some(cut.error)),
            };
            verdicts[done..done + taken].fill(Verdict::Taken);
            done += taken;
            if let Some(error) = error {
                return Err(self.failure(&error));
            }
        }
        Ok(())
    }
}

/// Opens for appending; a new file is readable by its owner and group, since documents are nobody else's business.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// How many of the documents so many bytes hold whole.
fn whole_lines(documents: &[Doc], bytes: usize) -> usize {
    let mut end = 0;
    documents
        .iter()
        .take_while(|document| {
            end += document.line().len();
            end <= bytes
        })
        .count()
}

/// The first documents whose lines lie in one piece, no more than `room` bytes of them, but one at least.
fn run(documents: &[Doc], room: u64) -> &[Doc] {
    let mut bytes = documents.first().map_or(0, |first| first.line().len() as u64);
    let more = documents
        .windows(2)
        .take_while(|pair| {
            bytes += pair[1].line().len() as u64;
            pair[0].precedes(&pair[1]) && bytes <= room
        })
        .count();
    &documents[..documents.len().min(more + 1)]
}

/// Writes all of it, or says how much was written and why not more.
fn write_all(mut file: &File, bytes: &[u8]) -> Result<(), Cut> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => {
                let error = io::ErrorKind::WriteZero.into();
                return Err(Cut {
                    whole: written,
                    error,
                });
            }
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Cut {
                    whole: written,
                    error,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
