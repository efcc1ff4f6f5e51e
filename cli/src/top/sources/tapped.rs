//! Counting what a tap shows, by the same rules as the program in the kernel.

use super::{Args, Counter};
use crate::{
    signals::{Signals, Wake},
    tap,
};
use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    os::fd::AsFd,
    time::{Duration, Instant},
};
use weir_bpf::{Count, Counted, Sender};
use weir_capture::{Datagrams, Heading, Packet, Selection, Tap, Way};
use weir_config::Ports;

/// So long is waited at most before interfaces are looked for.
const TICK: Duration = Duration::from_millis(200);
/// Full blocks that are read before anything else is looked at; and more than are full at any time, where all are to be
/// read though more may come.
const BLOCKS: usize = 16;
const ALL_BLOCKS: usize = 4096;
/// Enough for the headers of IP with all that may be between them and the ports.
const SNAPLEN: u32 = 256;
/// So many senders are told apart, as in the kernel.
const MOST: usize = 16384;

/// A tap, and what it has shown.
pub struct Tapped {
    tap: Tap,
    why: String,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    /// Nothing for all.
    ports: Option<Vec<u16>>,
    senders: HashMap<Sender, Count>,
    total: Count,
    fragments: u64,
}

impl Tapped {
    /// Begins to look, as the kernel does not count for this reason.
    ///
    /// # Errors
    /// As [`tap::open`].
    pub fn begin(args: &Args, why: String) -> Result<Self> {
        let ports = tap::ranges(args.port.as_ref());
        let selection = Selection {
            interfaces: tap::interfaces(args.interface.as_ref()),
            datagrams: match ports {
                None => Datagrams::Headers,
                Some(_) => Datagrams::None,
            },
            dns: ports.clone().unwrap_or_default(),
            ports,
            snaplen: SNAPLEN,
        };
        let tap = tap::open_selected(args.interface.as_ref(), selection, args.ring)
            .with_context(|| format!("cannot count in the kernel ({why})"))?;
        let ports = match &args.port {
            Some(Ports::List(ports)) => Some(ports.clone()),
            None | Some(Ports::All) => None,
        };
        Ok(Self {
            tap,
            why,
            tally: Tally {
                ports,
                ..Tally::default()
            },
        })
    }
}

impl Tally {
    fn add(&mut self, packet: &Packet<'_>) {
        if !matches!(packet.way, Way::Received | Way::Local) {
            return;
        }
        let Some(heading) = Heading::of(packet) else {
            return;
        };
        let count = Count {
            packets: 1,
            bytes: heading.bytes,
        };
        match (&self.ports, heading.destination_port) {
            (None, _) => {}
            (Some(_), None) => {
                self.fragments += 1;
                return;
            }
            (Some(ports), Some(port)) if !ports.contains(&port) => return,
            (Some(_), Some(_)) => {}
        }
        self.total += count;
        let sender = Sender {
            ip: heading.source,
            protocol: heading.protocol,
        };
        if self.senders.len() < MOST || self.senders.contains_key(&sender) {
            *self.senders.entry(sender).or_default() += count;
        }
    }
}

impl Counter for Tapped {
    fn wait(&mut self, signals: &Signals, patience: Duration) -> Result<Wake> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wake = signals.wait_for(Some(self.tap.as_fd()), left.min(TICK))?;
            let is_over = left.is_zero() || wake != Wake::Timeout;
            if is_over {
                // What has been seen so far.
                std::thread::sleep(Tap::DELAY);
            }
            let tally = &mut self.tally;
            for _ in 0..if is_over { ALL_BLOCKS } else { BLOCKS } {
                if self.tap.read(&mut |packet| tally.add(packet)).is_none() {
                    break;
                }
            }
            self.tap.refresh().context("cannot look for interfaces")?;
            if is_over {
                return Ok(wake);
            }
        }
    }

    fn take(&mut self) -> Result<Counted> {
        let tally = &mut self.tally;
        Ok(Counted {
            senders: tally.senders.drain().collect(),
            total: std::mem::take(&mut tally.total),
            fragments: std::mem::take(&mut tally.fragments),
        })
    }

    fn lost(&mut self) -> Result<u64> {
        Ok(self.tap.statistics()?.dropped.into())
    }

    fn how(&self) -> (&'static str, Option<&str>) {
        ("tap", Some(&self.why))
    }
}
