//! `weir decode`: the documents of capture files, as the sidecar would have made them of the same bytes.

mod input;

use crate::{
    console::Color,
    output::{Format, Output},
};
use anyhow::Result;
use clap::error::ErrorKind;
use input::Input;
use std::{
    collections::BTreeSet,
    io::{self, Write},
    process::ExitCode,
};
use weir_capture::{Bounds, Counters, FlowSettings, Reader, Settings, Tracker};
use weir_config::{
    Cidrs, Config, Layout,
    args::{CaptureArgs, DecodingArgs, FileArgs},
};
use weir_protocols::Decoders;
use weir_records::Capture;

/// Decode the requests in capture files (pcap, pcapng, either of them gzipped), and say on standard error what could not be read
#[derive(clap::Args)]
pub struct Args {
    /// Capture files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// How documents are printed: one JSON object a line, or a table for people
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Which fields a JSON object has [default: ecs]
    #[arg(long, value_enum, value_name = "LAYOUT")]
    layout: Option<Layout>,
    /// Colour the table
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Take the files for one capture, in this order: what tcpdump wrote with -C or -G
    #[arg(long)]
    join: bool,
    /// Addresses of the observed host or container, by which network.direction is told: 10.0.0.7,fd00::/64
    #[arg(long, value_name = "LIST")]
    local: Option<Cidrs>,
    /// Print connections and flows of UDP as a whole too, each at its end
    #[arg(long)]
    flows: bool,
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    decoding: DecodingArgs,
    #[command(flatten)]
    file: FileArgs,
}

impl Args {
    /// The layout of JSON objects. A table has none to choose: as clap can't tell, this ends as clap would.
    fn layout(&self) -> Layout {
        if self.layout.is_some() && self.format == Format::Table {
            let message = "--layout is for JSON objects: the table has columns of its own\n";
            clap::Error::raw(ErrorKind::ArgumentConflict, message).exit();
        }
        self.layout.unwrap_or_default()
    }
}

/// Runs the command. The code is that of a failure if a file could not be read to its end; a file that was cut, as that
/// of a capture which is still running, is none.
///
/// # Errors
/// The configuration is wrong, or nothing can be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut config = args.file.load()?;
    args.capture.apply(&mut config.capture);
    args.decoding.apply(&mut config.decoding);
    let config = config.validated()?;
    let mut output = Output::new(args.format, args.color, &config.records);
    output.layout = args.layout();
    let settings = settings(args, &config);
    let mut tracker = Tracker::new(settings.clone());
    let mut code = ExitCode::SUCCESS;
    for name in &args.files {
        if let Err(error) = decode(name, &mut tracker, &mut output) {
            code = ExitCode::FAILURE;
            tell(name, format_args!("{error:#}"));
        }
        if !args.join {
            tracker.finish(&mut output);
            report(name, tracker.counters(), output.take_left_out());
            tracker = Tracker::new(settings.clone());
        }
        output.flush()?;
    }
    if args.join {
        tracker.finish(&mut output);
        report(&args.files.join(", "), tracker.counters(), output.take_left_out());
    }
    output.flush()?;
    Ok(code)
}

fn settings(args: &Args, config: &Config) -> Settings {
    let host = &config.records.host_name;
    let local = match &args.local {
        Some(Cidrs::All) => vec![ipnet::Ipv4Net::default().into(), ipnet::Ipv6Net::default().into()],
        Some(Cidrs::List(list)) => list.clone(),
        None => Vec::new(),
    };
    Settings {
        capture: Capture::Pcap,
        host: (!host.is_empty()).then(|| host.as_str().into()),
        local,
        select: None,
        decoders: Decoders::from(config),
        bounds: Bounds::default(),
        flows: args.flows.then(FlowSettings::default),
    }
}

fn decode(name: &str, tracker: &mut Tracker, output: &mut Output) -> Result<()> {
    let input = Input::open(name)?;
    output.flush_each = input.is_live();
    let mut reader = Reader::new(input)?;
    let mut unknown = BTreeSet::new();
    while let Some(packet) = reader.next_packet()? {
        if !packet.link.is_known() && unknown.insert(packet.link.0) {
            let link = packet.link.0;
            tell(
                name,
                format_args!("link type {link} is not known here (https://www.tcpdump.org/linktypes.html)"),
            );
        }
        tracker.packet(&packet, output);
        if output.has_failed() {
            break;
        }
    }
    if reader.cut() > 0 {
        let cut = reader.cut();
        tell(
            name,
            format_args!("cut in the middle of a packet: its first {cut} bytes are all that is there"),
        );
    }
    if reader.skipped() > 0 {
        let skipped = reader.skipped();
        tell(
            name,
            format_args!("packets in blocks of an obsolete kind, left out: {skipped}"),
        );
    }
    Ok(())
}

/// What was not read, or not in full, and how many documents have no place in the layout.
fn report(name: &str, counters: &Counters, left_out: u64) {
    for (_, what, count) in counters.losses() {
        tell(name, format_args!("{what}: {count}"));
    }
    let packets = counters.packets;
    if counters.exchanges == 0 && packets > 0 {
        tell(name, format_args!("no request was found in {packets} packets"));
    }
    if left_out > 0 {
        tell(
            name,
            format_args!("documents that have no place in this layout, left out: {left_out}"),
        );
    }
}

/// Standard error may be gone, and the documents matter more.
fn tell(name: &str, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "weir: {name}: {what}");
}
