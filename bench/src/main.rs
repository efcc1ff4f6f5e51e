//! What a request through Weir costs, beside haproxy and Envoy, in one run on one machine.
//!
//! Each variant is a pod of its own, with nginx in it, the same redirect before it, and its proxy, if it has one. All of
//! them are up at once and loaded in turn, round after round, so that a machine that gets slower gets slower for
//! everybody. What counts is the CPU time of the proxy for each request; requests a second are those of a machine that
//! also runs the client and the server.
#![forbid(unsafe_code)]

mod load;
mod proxies;
mod report;
mod stage;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use load::Workload;
use proxies::{Build, Subject, Variant};
use report::Report;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use stage::Stage;
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Compares Weir with haproxy and Envoy: CPU time for each request, and requests a second.
#[derive(Parser)]
#[command(name = "weir-bench", version)]
struct Args {
    /// How often each variant is measured; the median is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of load for each measurement
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Connections at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    connections: u32,
    /// Only these variants, comma-separated [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "VARIANT")]
    only: Vec<Variant>,
    /// Also measure another build of Weir's programs, from this directory, beside each variant of Weir
    #[arg(long, value_name = "DIRECTORY")]
    baseline: Option<PathBuf>,
    /// Envoy's program [default: what `make bench` has installed]
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    weir_lab::require_root()?;
    let stop = Stop::new()?;
    let wanted = |variant: &Variant| args.only.is_empty() || args.only.contains(variant);
    let builds = |variant: Variant| {
        let baseline = args.baseline.is_some() && variant.is_weir();
        let baseline = baseline.then_some(Build::Baseline);
        [Some(Build::This), baseline]
            .into_iter()
            .flatten()
            .map(move |build| Subject { variant, build })
    };
    let subjects: Vec<_> = Variant::ALL.into_iter().filter(wanted).flat_map(builds).collect();
    let mut stage = Stage::build(&subjects, args.envoy.as_deref(), args.baseline.as_deref())?;
    let mut report = Report::new(&subjects);
    for round in 0..args.rounds {
        for workload in Workload::ALL {
            // Every other round backwards: what one leaves behind is not always met by the same next one.
            let mut order: Vec<usize> = (0..subjects.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                stop.check()?;
                let Some(pod) = stage.pod(index) else { continue };
                let sample = pod
                    .measure(workload, args.seconds, args.connections)
                    .with_context(|| format!("{} failed under load", subjects[index]))?;
                report.add(index, workload, sample);
            }
        }
        eprintln!("round {} of {} is done", round + 1, args.rounds);
    }
    report.finish(&mut stage)?;
    print!("{report}");
    Ok(())
}

/// Ctrl-C, seen between two measurements, so that what was set up is taken down.
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn new() -> Result<Self> {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, wanted.clone()).context("cannot take signals over")?;
        }
        Ok(Self(wanted))
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}
