//! `weir tap`: the requests that this machine or container serves and makes, as its interfaces show them. Nothing is
//! redirected, and nothing is held.

mod write;

use crate::{
    console::Color,
    output::{Format, Output},
    signals::{Signals, Wake},
};
use anyhow::{Context, Result, bail};
use nix::net::if_::if_nameindex;
use std::{
    io::{self, Write},
    os::fd::AsFd,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use weir_capture::{
    Bounds, Datagrams, FlowSettings, Interfaces, Packet, Selection, Settings, Tap, TapSettings, Tracker,
};
use weir_config::{
    Bytes, Config, Interfaces as Names, Period, Pinned, Ports,
    args::{CaptureArgs, DecodingArgs, FileArgs},
};
use weir_protocols::Decoders;
use weir_records::{Capture, Timestamp};
use write::{Kept, WriteArgs};

/// So long is waited at most before time is told to go on.
const TICK: Duration = Duration::from_millis(200);
/// Full blocks that are read before anything else is looked at.
const BLOCKS: usize = 16;

/// Decode the requests that pass this machine's interfaces, without redirecting or holding anything (needs NET_RAW)
#[derive(clap::Args)]
pub struct Args {
    /// Interfaces, where + at the end stands for any rest [default: all]
    #[arg(short, long, value_name = "LIST")]
    interface: Option<Names>,
    /// TCP ports, of clients or of servers [default: *]
    #[arg(short, long, value_name = "LIST|*")]
    port: Option<Ports>,
    /// Bytes that are kept of a packet, from the IP header on [default: 256KiB]
    #[arg(long, value_name = "BYTES")]
    snaplen: Option<Bytes>,
    /// Memory for packets that wait to be read [default: 16MiB]
    #[arg(long, value_name = "BYTES")]
    ring: Option<Bytes>,
    /// End after so many documents [default: never]
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// How documents are printed: one JSON object a line, or a table for people
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Colour the table
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Print connections as a whole too, each at its end and while it lasts, and without --port flows of UDP
    #[arg(long)]
    flows: bool,
    /// How often a connection that is open is printed with --flows; 0s for only at its end [default: 1m]
    #[arg(long, value_name = "PERIOD", requires = "flows")]
    flows_interval: Option<Period>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    decoding: DecodingArgs,
    #[command(flatten)]
    file: FileArgs,
}

/// Runs the command until the user, or the reader of the output, has had enough. The code is that of a failure if packets
/// were to be written and could not be.
///
/// # Errors
/// Packets can't be seen: NET_RAW is missing, or there is no such interface. Or not written, from the beginning.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut config = args.file.load()?;
    args.capture.apply(&mut config.capture);
    args.decoding.apply(&mut config.decoding);
    let capture = &mut config.capture;
    capture.snaplen = args.snaplen.unwrap_or(capture.snaplen);
    capture.ring = args.ring.unwrap_or(capture.ring);
    config.flows.interval = args.flows_interval.unwrap_or(config.flows.interval);
    let config = config.validated()?;
    let signals = Signals::take_over()?;
    let all_ports = matches!(args.port, None | Some(Ports::All));
    let datagrams = match (args.flows && all_ports, args.write.is_wanted()) {
        (false, _) => Datagrams::None,
        (true, false) => Datagrams::Headers,
        (true, true) => Datagrams::Whole,
    };
    let mut tap = open(args.interface.as_ref(), args.port.as_ref(), datagrams, &config)?;
    let mut kept = Kept::begin(&args.write, snaplen(&config))?;
    let flows = args.flows.then(|| FlowSettings {
        interval: config.flows.interval.non_zero(),
    });
    let mut tracker = Tracker::new(settings(&config, flows));
    let mut output = Output::new(args.format, args.color, &config.records);
    let mut lost = 0;
    tell(format_args!("looking; Ctrl-C ends it"));
    let is_done = |output: &Output| args.count.is_some_and(|count| output.written >= count);
    while !is_done(&output) {
        let ends = signals.wait_for(Some(tap.as_fd()), TICK)? != Wake::Timeout;
        if ends {
            // What has been seen so far.
            std::thread::sleep(Tap::DELAY);
        }
        let most = if ends { usize::MAX } else { BLOCKS };
        let dropped = u64::from(tap.statistics()?.dropped);
        tracker.lost(dropped);
        lost += dropped;
        for _ in 0..most {
            let mut take = |packet: &Packet<'_>| {
                if !is_done(&output) {
                    kept.packet(packet);
                    tracker.packet(packet, &mut output);
                }
            };
            if tap.read(&mut take).is_none() {
                break;
            }
        }
        tracker.tick(now(), &mut output);
        tap.refresh().context("cannot look for interfaces")?;
        kept.flush(dropped);
        output.flush()?;
        if ends {
            break;
        }
    }
    if !is_done(&output) {
        tracker.finish(&mut output);
    }
    output.flush()?;
    report(&tracker, lost);
    Ok(match kept.finish() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Opens a tap on these interfaces and TCP ports, or all; with all `datagrams`, or DNS alone.
///
/// # Errors
/// As [`run`].
pub fn open(
    interface: Option<&Names>,
    port: Option<&Ports>,
    datagrams: Datagrams,
    config: &Config,
) -> Result<Tap> {
    let selection = Selection {
        dns: config.decoding.protocols.ports(Pinned::Dns),
        datagrams,
        interfaces: interfaces(interface),
        ports: ranges(port),
        snaplen: snaplen(config),
    };
    open_selected(interface, selection, config.capture.ring)
}

/// These interfaces, or all.
pub fn interfaces(names: Option<&Names>) -> Interfaces {
    match names {
        Some(names) => Interfaces::Only(names.0.clone()),
        None => Interfaces::Except(Vec::new()),
    }
}

/// These ports; nothing for all.
pub fn ranges(ports: Option<&Ports>) -> Option<Vec<(u16, u16)>> {
    match ports {
        None | Some(Ports::All) => None,
        Some(Ports::List(ports)) => Some(ports.iter().map(|port| (*port, *port)).collect()),
    }
}

/// Opens a tap whose selection has the interfaces of these names.
///
/// # Errors
/// As [`run`].
pub fn open_selected(interface: Option<&Names>, selection: Selection, ring: Bytes) -> Result<Tap> {
    let tap = Tap::open(&TapSettings {
        selection,
        ring_bytes: usize::try_from(ring.0).unwrap_or(usize::MAX),
    })?;
    if let Some(names) = interface
        && !tap.has_interface()
    {
        let there: Vec<_> = there()?.into_iter().map(|(_, name)| name).collect();
        bail!("there is no interface {}; there are {}", names, there.join(", "));
    }
    Ok(tap)
}

/// The interfaces that are there: their indexes and names.
///
/// # Errors
/// Those of netlink.
pub fn there() -> Result<Vec<(u32, String)>> {
    let all = if_nameindex().context("cannot list interfaces")?;
    Ok(all
        .iter()
        .map(|one| (one.index(), one.name().to_string_lossy().into_owned()))
        .collect())
}

fn snaplen(config: &Config) -> u32 {
    u32::try_from(config.capture.snaplen.0).unwrap_or(u32::MAX)
}

/// What the tracker is told; `flows` if it is to tell of flows as a whole.
pub fn settings(config: &Config, flows: Option<FlowSettings>) -> Settings {
    let host = &config.records.host_name;
    Settings {
        capture: Capture::Tap,
        host: (!host.is_empty()).then(|| host.as_str().into()),
        local: Vec::new(),
        select: None,
        decoders: Decoders::from(config),
        bounds: Bounds::default(),
        flows,
    }
}

/// The clock by which the kernel notes when it saw a packet.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// What was not seen, or not in full.
pub fn report(tracker: &Tracker, lost: u64) {
    if lost > 0 {
        tell(format_args!(
            "packets lost for want of room: {lost}; a larger --ring holds more"
        ));
    }
    for (_, what, count) in tracker.counters().losses() {
        tell(format_args!("{what}: {count}"));
    }
}

/// Standard error may be gone, and the documents matter more.
pub fn tell(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "weir: {what}");
}
