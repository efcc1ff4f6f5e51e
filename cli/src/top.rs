//! `weir top`: who asks most, who is asked most, and how that goes; of the last minute, again and again.
//!
//! Requests come from a source (`stored`: the embedded store; `live`: a tap) as [`sample::Seen`], are added up by their key in
//! a `window` of `talkers`, and are shown as a `report` on a `screen`, as plain tables or as JSON. `sources` counts packets.

mod histogram;
mod live;
mod report;
mod sample;
mod screen;
mod sources;
mod stored;
mod talkers;
mod window;

use crate::{signals::Signals, tap};
use anyhow::Result;
use clap::ValueEnum;
use live::Live;
use report::{Report, Sort};
use sample::By;
pub use sample::NO_REQUESTS;
use screen::Screen;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use stored::Stored;
use weir_config::{
    Interfaces, Period, Ports,
    args::{DecodingArgs, FileArgs},
};
use weir_records::Timestamp;
use window::Window;

/// Show who asks most and who is asked most, of the last minute: from the store that the sidecar writes, or live from packets
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The store
    #[arg(long, env = "WEIR_STORE", value_name = "PATH", default_value = "weir.db")]
    store: PathBuf,
    /// Look at this machine's packets in place of the store (needs NET_RAW)
    #[arg(long)]
    tap: bool,
    /// The same on these interfaces alone, where + at the end stands for any rest
    #[arg(short, long, value_name = "LIST")]
    interface: Option<Interfaces>,
    /// The same of these TCP ports alone, of clients or of servers
    #[arg(short, long, value_name = "LIST|*")]
    port: Option<Ports>,
    /// What requests are added up by
    #[arg(long, value_enum, default_value_t, value_name = "KEY")]
    by: By,
    /// What stands first
    #[arg(long, value_enum, default_value_t, value_name = "COLUMN")]
    sort: Sort,
    /// Rows that are shown [default: as many as fit, or 20]
    #[arg(short = 'n', long, value_name = "N")]
    rows: Option<usize>,
    /// Requests that ended so long ago at most; those that wait (HUNG) for an hour at most
    #[arg(long, value_name = "PERIOD", default_value = "1m")]
    window: Period,
    /// Between two looks
    #[arg(long, value_name = "PERIOD", default_value = "5s")]
    interval: Period,
    /// Show it once and end; live, when a whole window has been seen
    #[arg(long)]
    once: bool,
    /// Print one JSON object a look, on a line of its own; times in ns
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    decoding: DecodingArgs,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(clap::Subcommand)]
enum What {
    Sources(sources::Args),
}

/// Where requests come from.
trait Source {
    /// Waits for so long, and adds what there is by then; false if the user wants an end.
    fn gather(&mut self, signals: &Signals, patience: Duration, window: &mut Window) -> Result<bool>;
    /// `store` or `tap`.
    fn name(&self) -> &'static str;
    /// Before this nothing was looked at.
    fn begin(&self) -> Timestamp {
        Timestamp(0)
    }
    /// Packets that were lost.
    fn lost(&self) -> u64 {
        0
    }
}

impl Args {
    fn is_live(&self) -> bool {
        self.tap || self.interface.is_some() || self.port.is_some()
    }
}

/// Runs the command until the user, or the reader of the output, has had enough.
///
/// # Errors
/// The store is missing or none; packets can't be seen.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(What::Sources(args)) = &args.what {
        return sources::run(args);
    }
    let signals = Signals::take_over()?;
    let mut window = Window::new(args.window.0, args.by);
    let mut source: Box<dyn Source> = match args.is_live() {
        true => Box::new(Live::open(args)?),
        false => Box::new(Stored::open(&args.store)?),
    };
    let interval = args.interval.0.max(Duration::from_millis(100));
    // What has been stored is there at once.
    let mut patience = match (args.is_live(), args.once) {
        (true, true) => args.window.0,
        (true, false) => interval,
        (false, _) => Duration::ZERO,
    };
    let mut screen = Screen::new(args.json, !args.once);
    loop {
        let goes_on = source.gather(&signals, patience, &mut window)?;
        if goes_on || args.once {
            let report = Report::new(&window, args.sort, &*source, tap::now());
            screen.show(&report, args.rows)?;
        }
        if !goes_on || args.once {
            return Ok(ExitCode::SUCCESS);
        }
        patience = interval;
    }
}

/// The name of a value as its flag has it.
fn name_of(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
