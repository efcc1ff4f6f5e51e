//! `weir top sources`: who sends how many packets, counted in the kernel where it takes eBPF, else by a tap.

mod kernel;
mod report;
mod tapped;

use super::screen::Screen;
use crate::{
    signals::{Signals, Wake},
    tap,
};
use anyhow::Result;
use kernel::Kernel;
use report::Report;
use std::{process::ExitCode, time::Duration};
use tapped::Tapped;
use weir_bpf::Counted;
use weir_config::{Bytes, Interfaces, Period, Ports};

/// Count the TCP and UDP packets that come in, by their source's address: in the kernel (eBPF) where that may be, else by looking at them
#[derive(clap::Args)]
pub struct Args {
    /// Destination ports [default: *]
    #[arg(short, long, value_name = "LIST|*")]
    port: Option<Ports>,
    /// Interfaces, where + at the end stands for any rest; what comes by two of them counts twice [default: all]
    #[arg(short, long, value_name = "LIST")]
    interface: Option<Interfaces>,
    /// Rows that are shown [default: as many as fit, or 20]
    #[arg(short = 'n', long, value_name = "N")]
    rows: Option<usize>,
    /// What is shown is of such an interval
    #[arg(long, value_name = "PERIOD", default_value = "5s")]
    interval: Period,
    /// Show one interval and end
    #[arg(long)]
    once: bool,
    /// Print one JSON object an interval, on a line of its own
    #[arg(long)]
    json: bool,
    /// Memory for packets that wait to be counted, where they are not counted in the kernel
    #[arg(long, value_name = "BYTES", default_value_t = Bytes::mib(16))]
    ring: Bytes,
}

/// Who counts.
trait Counter {
    /// Waits for so long, or for what ends it.
    fn wait(&mut self, signals: &Signals, patience: Duration) -> Result<Wake>;
    /// What came since this was last asked.
    fn take(&mut self) -> Result<Counted>;
    /// Packets that were lost since this was last asked.
    fn lost(&mut self) -> Result<u64>;
    /// `ebpf` or `tap`, and why not the other.
    fn how(&self) -> (&'static str, Option<&str>);
}

/// Runs the command until the user, or the reader of the output, has had enough.
///
/// # Errors
/// Packets can be counted neither way, or there is no such interface.
pub fn run(args: &Args) -> Result<ExitCode> {
    let signals = Signals::take_over()?;
    let mut counter: Box<dyn Counter> = match Kernel::begin(args) {
        Ok(kernel) => Box::new(kernel),
        Err(error) => Box::new(Tapped::begin(args, format!("{error:#}"))?),
    };
    let said = match counter.how() {
        (_, None) => "counted in the kernel (eBPF)".to_owned(),
        (_, Some(why)) => format!("counted by a tap: {why}"),
    };
    let mut screen = Screen::new(args.json, !args.once);
    if !screen.is_written_over() {
        tap::tell(format_args!("{said}"));
    }
    let interval = args.interval.0.max(Duration::from_millis(100));
    let mut from = tap::now();
    loop {
        let wake = counter.wait(&signals, interval)?;
        let to = tap::now();
        let counted = counter.take()?;
        let report = Report::new((from, to), counted, counter.lost()?, counter.how(), &said);
        if wake != Wake::Hangup {
            screen.show(&report, args.rows)?;
        }
        if args.once || wake != Wake::Timeout {
            return Ok(ExitCode::SUCCESS);
        }
        from = to;
    }
}
