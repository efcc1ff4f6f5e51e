//! `weir tail`: follows the embedded store as people follow logs.

use crate::{
    console::Color,
    filter::Filter,
    signals::{Signals, Wake},
    store::Store,
    table::Table,
};
use anyhow::Result;
use serde_json::Value;
use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

/// How often the store is asked for new documents.
const POLL: Duration = Duration::from_millis(150);
/// Documents that are shown from the past where neither `--limit` nor `--since` is given.
const LIMIT: u32 = 20;

/// Follow the documents of a store that `weir-sidecar --export sqlite:PATH` writes
#[derive(clap::Args)]
pub struct Args {
    /// The store
    #[arg(long, env = "WEIR_STORE", value_name = "PATH", default_value = "weir.db")]
    store: PathBuf,
    /// Start with the last N documents that match [default: 20, or all with --since]
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u32>,
    /// Print what is there and end
    #[arg(long)]
    no_follow: bool,
    /// Print each document as it is stored: one JSON object a line
    #[arg(long)]
    json: bool,
    /// Colour the table
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    #[command(flatten)]
    filter: Filter,
}

/// Runs the command until the user, or the reader of the output, has had enough.
///
/// # Errors
/// The store is missing, or is not one.
pub fn run(args: &Args) -> Result<ExitCode> {
    let signals = Signals::take_over()?;
    let mut store = Store::open(&args.store)?;
    let mut printer = Printer::new(args);
    let limit = args.limit.or_else(|| (!args.filter.has_since()).then_some(LIMIT));
    printer.print(&store.last(&args.filter, limit)?)?;
    if args.no_follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        match signals.wait(POLL)? {
            Wake::Timeout => printer.print(&store.new_documents(&args.filter)?)?,
            Wake::Signal | Wake::Hangup => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Writes documents to standard output, as a table or as they are.
struct Printer {
    table: Option<Table>,
    out: BufWriter<io::Stdout>,
}

impl Printer {
    fn new(args: &Args) -> Self {
        Self {
            table: (!args.json).then(|| Table::new(args.color.is_wanted())),
            out: BufWriter::new(io::stdout()),
        }
    }

    fn print(&mut self, documents: &[String]) -> Result<()> {
        match &mut self.table {
            None => {
                for document in documents {
                    writeln!(self.out, "{document}")?;
                }
            }
            Some(table) => {
                let values: Vec<Value> = documents
                    .iter()
                    .map(|text| serde_json::from_str(text))
                    .collect::<Result<_, _>>()?;
                table.print(&values, &mut self.out)?;
            }
        }
        Ok(self.out.flush()?)
    }
}
