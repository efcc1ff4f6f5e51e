//! Counting in the kernel.

use super::{Args, Counter};
use crate::{
    signals::{Signals, Wake},
    tap,
};
use anyhow::{Result, bail};
use std::{collections::BTreeSet, time::Duration};
use weir_bpf::{Counted, PortSet, Sources};
use weir_capture::Interfaces;
use weir_config::Ports;

/// Between two looks for interfaces that came later.
const LOOK: Duration = Duration::from_secs(1);

/// The program on the interfaces.
pub struct Kernel {
    sources: Sources,
    wanted: Interfaces,
    attached: BTreeSet<String>,
}

impl Kernel {
    /// Loads it, and attaches it to the interfaces that are there.
    ///
    /// # Errors
    /// The kernel refuses, or there is none of the interfaces.
    pub fn begin(args: &Args) -> Result<Self> {
        let ports = match &args.port {
            None | Some(Ports::All) => None,
            Some(Ports::List(ports)) => Some(PortSet::of(ports)),
        };
        let mut kernel = Self {
            sources: Sources::load(ports.as_ref())?,
            wanted: tap::interfaces(args.interface.as_ref()),
            attached: BTreeSet::new(),
        };
        kernel.attach()?;
        if let (true, Some(names)) = (kernel.attached.is_empty(), &args.interface) {
            bail!("there is no interface {names}");
        }
        Ok(kernel)
    }

    /// To every interface that is wanted and not attached to yet. One that goes takes its attachment with it.
    fn attach(&mut self) -> Result<()> {
        let there = tap::there()?;
        self.attached.retain(|name| there.contains(name));
        for name in there {
            if self.wanted.contains(&name) && !self.attached.contains(&name) {
                match self.sources.attach(&name) {
                    Ok(()) => drop(self.attached.insert(name)),
                    // It may have gone since it was listed.
                    Err(error) if tap::there()?.contains(&name) => return Err(error.into()),
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

impl Counter for Kernel {
    fn wait(&mut self, signals: &Signals, patience: Duration) -> Result<Wake> {
        let mut left = patience;
        while !left.is_zero() {
            let step = left.min(LOOK);
            let wake = signals.wait(step)?;
            if wake != Wake::Timeout {
                return Ok(wake);
            }
            left -= step;
            self.attach()?;
        }
        Ok(Wake::Timeout)
    }

    fn take(&mut self) -> Result<Counted> {
        Ok(self.sources.take()?)
    }

    fn lost(&mut self) -> Result<u64> {
        Ok(0)
    }

    fn how(&self) -> (&'static str, Option<&str>) {
        ("ebpf", None)
    }
}
