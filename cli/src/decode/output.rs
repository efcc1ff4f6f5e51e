//! Exchanges to documents on standard output.

use super::Format;
use crate::{console::Color, table::Table};
use std::io::{self, BufWriter, Stdout, Write};
use weir_capture::Sink;
use weir_config::Records;
use weir_protocols::Exchange;
use weir_records::{Flow, Policy};

/// Writes documents, and keeps the error if that fails.
pub struct Output {
    policy: Policy,
    table: Option<Table>,
    out: BufWriter<Stdout>,
    error: Option<io::Error>,
    /// Documents so far.
    pub written: u64,
    /// Show each document at once: who captures while we decode waits for it.
    pub flush_each: bool,
}

impl Output {
    /// An output in the format that was asked for.
    pub fn new(format: Format, color: Color, records: &Records) -> Self {
        Self {
            policy: Policy::new(records),
            table: (format == Format::Table).then(|| Table::new(color.is_wanted())),
            out: BufWriter::new(io::stdout()),
            error: None,
            written: 0,
            flush_each: false,
        }
    }

    /// True if nothing more can be written; [`Self::flush`] tells why.
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Everything is written out.
    ///
    /// # Errors
    /// It could not be written, now or before.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn write(&mut self, flow: &Flow, exchange: &Exchange) -> io::Result<()> {
        let document = exchange.document(flow, &self.policy);
        self.written += 1;
        match &mut self.table {
            None => {
                serde_json::to_writer(&mut self.out, &document)?;
                writeln!(self.out)?;
            }
            Some(table) => table.print([&serde_json::to_value(&document)?], &mut self.out)?,
        }
        if self.flush_each {
            self.out.flush()?;
        }
        Ok(())
    }
}

impl Sink for Output {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        if self.error.is_none() {
            self.error = self.write(flow, &exchange).err();
        }
    }
}
