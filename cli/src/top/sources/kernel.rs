//! Counting in the kernel.

use super::{Args, Counter};
use crate::{
    signals::{Signals, Wake},
    tap,
};
use anyhow::{Result, bail};
use std::{collections::BTreeSet, time::Duration};
use weir_bpf::{Counted, LoadError, PortSet, Sources};
use weir_capture::Interfaces;
use weir_config::Ports;

/// Between two looks for interfaces that came later.
const LOOK: Duration = Duration::from_secs(1);

/// The program on the interfaces.
pub struct Kernel {
    sources: Sources,
    wanted: Interfaces,
    /// By index and name, since another interface may get the same name.
    attached: BTreeSet<(u32, String)>,
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
            sources: Sources::load(ports.as_ref()).map_err(advised)?,
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
        self.attached.retain(|interface| there.contains(interface));
        for interface in there {
            if self.wanted.contains(&interface.1) && !self.attached.contains(&interface) {
                match self.sources.attach(&interface.1) {
                    Ok(()) => drop(self.attached.insert(interface)),
                    // It may have gone since it was listed.
                    Err(error) if tap::there()?.contains(&interface) => return Err(advised(error)),
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// The error with what to do, where that is known.
fn advised(error: LoadError) -> anyhow::Error {
    match error.is_privilege() {
        true => anyhow::anyhow!("{error}; it takes the capabilities NET_ADMIN and BPF"),
        false => error.into(),
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
