//! Where the programs are attached: TC filters of an interface's clsact qdisc.
//!
//! Priority and handle are fixed, so that a second installation replaces the first in one step and removal finds what
//! is there without a note of it anywhere.

use aya::programs::{
    Link as _, ProgramError, SchedClassifier, TcAttachType,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use std::mem;

/// The filters' priority.
pub const PRIORITY: u16 = 1337;
/// How the filters' names begin.
pub const PREFIX: &str = "weir_";

pub(crate) const PROGRAMS: [&str; 6] = [
    "weir_ingress",
    "weir_ingress_l3",
    "weir_egress",
    "weir_egress_l3",
    "weir_lo_ingress",
    "weir_lo_egress",
];

/// A side of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// What an interface receives.
    Ingress,
    /// What an interface sends.
    Egress,
    /// What the loopback interface receives.
    LoopbackIngress,
    /// What the loopback interface sends.
    LoopbackEgress,
}

/// What stands before the IP header of an interface's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// An Ethernet header.
    Ethernet,
    /// Nothing (tunnels).
    None,
}

/// The filters' handle, which also remembers who made the qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    /// The clsact qdisc was made for the filters and goes with them.
    OwnQdisc = 1,
    /// It was there before.
    OthersQdisc = 2,
}

/// A filter of ours that is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The interface's name.
    pub interface: String,
    /// Its side.
    pub egress: bool,
    /// Who made the qdisc.
    pub handle: Handle,
    /// The program.
    pub name: String,
}

/// Why a program can't be attached or detached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel refuses.
    #[error("the kernel refuses the filter {name} on {interface}: {source}")]
    Refused {
        /// The program.
        name: String,
        /// The interface.
        interface: String,
        /// Why.
        source: Box<ProgramError>,
    },
    /// The compiled-in object lacks the program.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
}

impl Hook {
    /// The program for this hook.
    pub fn program(self, header: Header) -> &'static str {
        match (self, header) {
            (Self::Ingress, Header::Ethernet) => "weir_ingress",
            (Self::Ingress, Header::None) => "weir_ingress_l3",
            (Self::Egress, Header::Ethernet) => "weir_egress",
            (Self::Egress, Header::None) => "weir_egress_l3",
            (Self::LoopbackIngress, _) => "weir_lo_ingress",
            (Self::LoopbackEgress, _) => "weir_lo_egress",
        }
    }

    /// True for what is sent.
    pub fn is_egress(self) -> bool {
        matches!(self, Self::Egress | Self::LoopbackEgress)
    }
}

impl Handle {
    /// The handle with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::OwnQdisc),
            2 => Some(Self::OthersQdisc),
            _ => None,
        }
    }

    fn tc(self) -> TcHandle {
        TcHandle::new(0, self as u16)
    }
}

fn side(egress: bool) -> TcAttachType {
    if egress {
        TcAttachType::Egress
    } else {
        TcAttachType::Ingress
    }
}

pub(crate) fn attach(
    program: &mut SchedClassifier,
    interface: &str,
    hook: Hook,
    handle: Handle,
) -> Result<(), AttachError> {
    let side = side(hook.is_egress());
    let options = NlOptions {
        priority: PRIORITY,
        handle: handle.tc(),
        classid: None,
    };
    let added = program.attach_with_options(interface, side, TcAttachOptions::Netlink(options));
    let result = match added {
        Err(error) if is_there(&error) => {
            link(interface, side, handle).and_then(|link| program.attach_to_link(link))
        }
        result => result,
    };
    let kept = result.and_then(|id| program.take_link(id));
    // Dropping the link would detach it; it is to stay when this process has gone.
    kept.map(mem::forget).map_err(|source| AttachError::Refused {
        name: hook.program(Header::Ethernet).into(),
        interface: interface.into(),
        source: Box::new(source),
    })
}

fn link(interface: &str, side: TcAttachType, handle: Handle) -> Result<SchedClassifierLink, ProgramError> {
    SchedClassifierLink::attached(interface, side, PRIORITY, handle.tc(), None)
        .map_err(|error| ProgramError::TcError(TcError::IoError(error)))
}

/// EEXIST (17): a filter with this priority and handle is there.
fn is_there(error: &ProgramError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.raw_os_error() == Some(17);
        }
        source = error.source();
    }
    error.to_string().contains("os error 17")
}

/// Detaches a filter.
///
/// # Errors
/// The kernel refuses, or it is gone already.
pub fn detach(filter: &Filter) -> Result<(), AttachError> {
    link(&filter.interface, side(filter.egress), filter.handle)
        .and_then(SchedClassifierLink::detach)
        .map_err(|source| AttachError::Refused {
            name: filter.name.clone(),
            interface: filter.interface.clone(),
            source: Box::new(source),
        })
}
