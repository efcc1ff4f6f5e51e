//! Standard output, a pipe, a device: a line that was cut is finished before anything else is written.

use super::{Cut, run, write_all};
use crate::batch::Doc;
use std::fs::File;

/// What is written at once: as much as a pipe takes.
const PIECE: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    /// Bytes of the next document that have been written already.
    begun: usize,
}

impl Stream {
    pub(super) fn new(file: File) -> Self {
        Self { file, begun: 0 }
    }

    /// Writes some of the documents and says how many. After an error the rest must be offered again from the first
    /// one that was not whole.
    pub(super) fn write(&mut self, documents: &[Doc]) -> Result<usize, Cut> {
        let run = run(documents, PIECE);
        let lines = Doc::lines(run);
        let begun = self.begun.min(lines.len());
        let Err(cut) = write_all(&self.file, &lines[begun..]) else {
            self.begun = 0;
            return Ok(run.len());
        };
        let written = begun + cut.whole;
        let whole = lines[..written]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        self.begun = written - whole;
        Err(Cut {
            whole,
            error: cut.error,
        })
    }
}
