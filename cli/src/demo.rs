//! `weir demo`: the whole way, from a redirected connection to a decoded document, on this machine and in a minute.
//!
//! Real parts in network namespaces of their own; nothing of the machine is touched, and nothing is left behind.

mod calls;
mod stage;
mod tool;
mod workdir;

use crate::{
    console::Color,
    filter::Filter,
    signals::{Signals, Wake},
    store::Store,
    table::Table,
};
use anyhow::{Context, Result, bail, ensure};
use calls::{Expected, call_all};
use serde_json::Value;
use stage::Stage;
use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use weir_config::{Export, args::CaptureArgs};

/// How often the store is asked.
const POLL: Duration = Duration::from_millis(100);
/// The documents of the demo are there a moment after their exchanges; past this something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
/// As a shell names a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Build a pod in a network namespace, send requests in and out of it, and show them decoded
///
/// Needs root, and nginx, curl, iptables and iproute2 (`make demo` installs them). The namespaces, the programs in them
/// and all files are removed at the end, however it comes.
#[derive(clap::Args)]
pub struct Args {
    /// Keep the documents in a new store of this name, for `weir tail --store FILE`
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Stay up and show further requests until Ctrl-C
    #[arg(long)]
    hold: bool,
    /// One more sink for the sidecar, as its own --export; it must be reachable from the pod's namespace. Repeatable
    #[arg(long, value_name = "SINK", value_parser = checked_sink)]
    export: Vec<String>,
    #[command(flatten)]
    capture: CaptureArgs,
    /// Colour the table
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

fn checked_sink(text: &str) -> Result<String, String> {
    match text.parse::<Export>()? {
        Export::To(_) => Ok(text.into()),
        Export::None => Err("`none` is not a further sink".into()),
    }
}

/// Runs the demo.
///
/// # Errors
/// Not root, a program is missing, or something on the way failed; everything has been removed by then.
pub fn run(args: &Args) -> Result<ExitCode> {
    let signals = Signals::take_over()?;
    let result = perform(args, &signals);
    // Ctrl-C ends the programs of the demo, too: whatever they died of is not worth a word then.
    let interrupted = matches!(&result, Err(error) if error.is::<Interrupted>() || signals.pending()?);
    if interrupted {
        let _ = writeln!(io::stderr(), "weir: interrupted; everything was removed");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// The user wants an end before it is there.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Fails if the user wants an end.
fn go_on(signals: &Signals) -> Result<()> {
    match signals.pending()? {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

fn perform(args: &Args, signals: &Signals) -> Result<()> {
    if let Some(keep) = &args.keep {
        ensure!(
            !keep.exists(),
            "{} is there already; --keep writes a new file",
            keep.display()
        );
    }
    let mut stage = Stage::build(&args.export, args.capture, signals)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{stage}")?;
    let expected = call_all(&stage, signals)?;
    let mut store = Store::open(&stage.store())?;
    let documents = await_documents(&mut store, &expected, &mut stage, signals)?;
    writeln!(out, "{} requests, as Weir saw them:\n", documents.len())?;
    let mut table = Table::new(args.color.is_wanted());
    table.print(&documents, &mut out)?;
    if args.hold {
        hold(&mut stage, &mut store, &mut table, &mut out, signals)?;
    }
    if let Some(keep) = &args.keep {
        store.copy_to(keep)?;
    }
    drop(store);
    drop(stage);
    writeln!(out, "\n{}", farewell(args.keep.as_deref()))?;
    Ok(())
}

/// The documents of all expected exchanges, and whatever else came with them, in the order of their beginning.
fn await_documents(
    store: &mut Store,
    expected: &[Expected],
    stage: &mut Stage,
    signals: &Signals,
) -> Result<Vec<Value>> {
    let start = Instant::now();
    let mut documents: Vec<Value> = Vec::new();
    loop {
        documents.extend(parse(&store.new_documents(&Filter::default())?)?);
        let missing = calls::missing(expected, &documents);
        if missing.is_empty() {
            documents.sort_by(|a, b| begin(a).cmp(begin(b)));
            return Ok(documents);
        }
        stage.check_alive()?;
        if start.elapsed() > PATIENCE {
            bail!(
                "no document came for: {}\n{}",
                missing.join(", "),
                stage.sidecar_output()
            );
        }
        match signals.wait(POLL)? {
            Wake::Timeout => {}
            Wake::Signal => return Err(Interrupted.into()),
            Wake::Hangup => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
        }
    }
}

/// Shows what further requests bring, until the user has had enough.
fn hold(
    stage: &mut Stage,
    store: &mut Store,
    table: &mut Table,
    out: &mut impl Write,
    signals: &Signals,
) -> Result<()> {
    writeln!(out, "\n{}", stage.invitation())?;
    loop {
        match signals.wait(POLL)? {
            Wake::Signal | Wake::Hangup => return Ok(()),
            Wake::Timeout => {}
        }
        table.print(&parse(&store.new_documents(&Filter::default())?)?, out)?;
        out.flush()?;
        stage.check_alive()?;
    }
}

fn parse(documents: &[String]) -> Result<Vec<Value>> {
    documents
        .iter()
        .map(|text| serde_json::from_str(text).context("a document in the store is not JSON"))
        .collect()
}

/// RFC 3339 in UTC with nine decimals: the order of the text is that of time.
fn begin(document: &Value) -> &str {
    document["@timestamp"].as_str().unwrap_or_default()
}

fn farewell(kept: Option<&Path>) -> String {
    match kept {
        Some(path) => format!(
            "The namespaces and programs of the demo were removed. To look further:\n  weir tail --store {} --no-follow",
            path.display()
        ),
        None => "Everything was removed. To look further:\n  \
                 weir demo --keep demo.db    keeps the documents, for: weir tail --store demo.db --no-follow\n  \
                 weir demo --hold            stays up, for requests of your own"
            .into(),
    }
}
