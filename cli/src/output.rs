//! Exchanges and flows to documents on standard output, of whatever source.

use crate::{console::Color, points::Timeline, table::Table};
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, BufWriter, Stdout, Write};
use weir_capture::Sink;
use weir_config::{Layout, Records};
use weir_protocols::Exchange;
use weir_records::{Document, Flow, Names, Policy, Report, pipy, write_json};

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// One line a document, under titles.
    Table,
}

/// Writes documents, and keeps the error if that fails.
pub struct Output {
    policy: Policy,
    /// What addresses are called, by what was seen so far.
    names: Names,
    table: Option<Table>,
    out: BufWriter<Stdout>,
    error: Option<io::Error>,
    /// Documents so far.
    pub written: u64,
    /// Show each document at once: who captures while we decode waits for it.
    pub flush_each: bool,
    /// Which fields JSON objects have.
    layout: Layout,
    /// Where documents become points, in layout `datakit`.
    points: Timeline,
    /// Documents that have no place in the layout, since somebody asked.
    left_out: u64,
}

impl Output {
    /// An output in the format that was asked for.
    pub fn new(format: Format, color: Color, records: &Records) -> Self {
        Self {
            policy: Policy::new(records),
            names: Names::default(),
            table: (format == Format::Table).then(|| Table::new(color.is_wanted())),
            out: BufWriter::new(io::stdout()),
            error: None,
            written: 0,
            flush_each: false,
            layout: Layout::default(),
            points: Timeline::default(),
            left_out: 0,
        }
    }

    /// The same with JSON objects, or points, of this layout.
    pub fn in_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Nothing more comes of a capture: writes the points whose time is not over.
    pub fn finish(&mut self) {
        if self.error.is_none() {
            self.error = self.points.finish(&mut self.out).err();
        }
    }

    /// True if nothing more can be written; [`Self::flush`] tells why.
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// How many documents had no place in the layout since the last call.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
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

    fn take(&mut self, document: &Document) {
        if self.error.is_none() {
            self.error = self.write(document).err();
        }
    }

    fn write(&mut self, document: &Document) -> io::Result<()> {
        self.written += 1;
        match (&mut self.table, self.layout) {
            (None, Layout::Ecs) => line(&mut self.out, document)?,
            (None, Layout::Pipy) => match pipy::shape(document) {
                Some(shape) => line(&mut self.out, &shape)?,
                None => self.left_out += 1,
            },
            (None, Layout::Datakit) => {
                let taken = self.points.add(document, &mut self.out)?;
                self.left_out += u64::from(!taken);
            }
            (Some(table), _) => table.print([&serde_json::to_value(document)?], &mut self.out)?,
        }
        if self.flush_each {
            self.out.flush()?;
        }
        Ok(())
    }
}

/// Room for most documents, in bytes.
const USUAL_LINE: usize = 2048;

/// One JSON object on a line.
fn line(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut text = Vec::with_capacity(USUAL_LINE);
    write_json(&mut text, document).map_err(io::Error::other)?;
    text.push(b'\n');
    out.write_all(&text)
}

impl Sink for Output {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        let document = exchange.document(flow, &self.policy);
        self.names.learn(&document);
        self.take(&document);
    }

    fn flow(&mut self, flow: &Flow, mut report: Report) {
        report.domain = self.names.of(flow.server.ip()).map(|name| (*name).to_owned());
        self.take(&report.document(flow));
    }
}
