//! Requests from packets.

use super::{Args, Source, sample::Seen, window::Window};
use crate::{
    signals::{Signals, Wake},
    tap,
};
use anyhow::{Context, Result};
use std::{
    io::{self, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};
use weir_capture::{Datagrams, Sink, Tap, Tracker};
use weir_protocols::Exchange;
use weir_records::{Flow, Policy, Timestamp};

/// So long is waited at most before time is told to go on.
const TICK: Duration = Duration::from_millis(200);
/// Full blocks that are read before anything else is looked at; and more than are full at any time, where all are to be
/// read though more may come.
const BLOCKS: usize = 16;
const ALL_BLOCKS: usize = 4096;

/// A tap and what is made of its packets.
pub struct Live {
    tap: Tap,
    tracker: Tracker,
    policy: Policy,
    begin: Timestamp,
    lost: u64,
}

impl Live {
    /// Begins to look.
    ///
    /// # Errors
    /// As [`tap::open`], and those of the configuration.
    pub fn open(args: &Args) -> Result<Self> {
        let mut config = args.file.load()?;
        args.decoding.apply(&mut config.decoding);
        let config = config.validated()?;
        let live = Self {
            tap: tap::open(
                args.interface.as_ref(),
                args.port.as_ref(),
                Datagrams::None,
                &config,
            )?,
            tracker: Tracker::new(tap::settings(&config, None)),
            policy: Policy::new(&config.records),
            begin: tap::now(),
            lost: 0,
        };
        // On a screen it would be in the way, and be gone at once.
        if args.once {
            let _ = writeln!(io::stderr(), "weir: looking for {}", args.window);
        }
        Ok(live)
    }

    fn read(&mut self, most: usize, window: &mut Window) {
        let mut adder = Adder {
            policy: &self.policy,
            window,
        };
        for _ in 0..most {
            let tracker = &mut self.tracker;
            if self
                .tap
                .read(&mut |packet| tracker.packet(packet, &mut adder))
                .is_none()
            {
                break;
            }
        }
        self.tracker.tick(tap::now(), &mut adder);
    }
}

impl Source for Live {
    fn gather(&mut self, signals: &Signals, patience: Duration, window: &mut Window) -> Result<bool> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wake = signals.wait_for(Some(self.tap.as_fd()), left.min(TICK))?;
            let is_over = left.is_zero() || wake != Wake::Timeout;
            if is_over {
                // What has been seen so far.
                std::thread::sleep(Tap::DELAY);
            }
            self.read(if is_over { ALL_BLOCKS } else { BLOCKS }, window);
            self.tap.refresh().context("cannot look for interfaces")?;
            self.lost += u64::from(self.tap.statistics()?.dropped);
            if is_over {
                window.forget(tap::now());
                return Ok(wake == Wake::Timeout);
            }
        }
    }

    fn name(&self) -> &'static str {
        "tap"
    }

    fn begin(&self) -> Timestamp {
        self.begin
    }

    fn lost(&self) -> u64 {
        self.lost
    }
}

/// Adds exchanges up.
struct Adder<'a> {
    policy: &'a Policy,
    window: &'a mut Window,
}

impl Sink for Adder<'_> {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        let document = exchange.document(flow, self.policy);
        let seen = Seen::of_document(&document);
        self.window.add(document.timestamp, &seen, tap::now());
    }
}
