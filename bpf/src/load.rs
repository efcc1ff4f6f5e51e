//! Loading the programs into the kernel.

use crate::{
    Kind, PortSet, Settings, Side, hook,
    loader::loader,
    types::{self, Wanted},
};
use aya::{
    Btf, Ebpf, EbpfError,
    maps::{
        Array, MapData, MapError, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{ProgramError, SchedClassifier},
};
use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
};

static PLAIN: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirect-0.bpf.o"));
static READS_TIME_WAIT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirect-1.bpf.o"));

/// What c/time_wait.h reads.
pub(crate) const TIME_WAIT: [Wanted<'static>; 1] = [(
    "tcp_timewait_sock",
    &["tw_sk.__tw_common.skc_tw_rcv_nxt", "tw_ts_recent"],
)];

/// What the settings are for, compiled.
pub(crate) fn object() -> &'static [u8] {
    READS_TIME_WAIT
}

/// Why the programs can't be loaded here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object or one of its maps is refused.
    #[error("the kernel refuses the eBPF maps: {}", causes(.0))]
    Object(Box<EbpfError>),
    /// A program is refused.
    #[error("the kernel refuses eBPF program {name}: {}", in_short(cause))]
    Program {
        /// Its name.
        name: &'static str,
        /// With all of the verifier's words.
        cause: Box<ProgramError>,
    },
    /// A map can't be filled.
    #[error("cannot fill the eBPF map {name}: {source}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why not.
        source: MapError,
    },
    /// A control group doesn't take a program.
    #[error("the control group takes no eBPF program: {0}")]
    ControlGroup(io::Error),
    /// The kernel's types don't tell what the programs have to know.
    #[error("cannot read the kernel's types (BTF): {0}")]
    Types(io::Error),
    /// The compiled-in object lacks something: a mistake in the build.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
}

impl LoadError {
    /// For `map_err`: this program is refused.
    pub(crate) fn of_program(name: &'static str) -> impl FnOnce(ProgramError) -> Self + Copy {
        move |cause| Self::Program {
            name,
            cause: Box::new(cause),
        }
    }

    /// True if the program would be taken from somebody who has CAP_PERFMON: kernels before 6.8 refuse others to write a part of
    /// a number on the stack, which they take for a pointer.
    pub fn is_refused_without_perfmon(&self) -> bool {
        matches!(self, Self::Program { cause, .. } if cause_says(cause, "attempt to corrupt spilled pointer"))
    }

    /// True if what is missing is a privilege.
    pub fn is_privilege(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::Program { cause, .. } => Some(cause.as_ref()),
            Self::Object(cause) => Some(cause.as_ref()),
            Self::Map { source, .. } => Some(source),
            Self::ControlGroup(source) | Self::Types(source) => Some(source),
            Self::Missing(_) => None,
        };
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                // Not EACCES, by which the verifier rejects a program.
                return error.raw_os_error() == Some(EPERM);
            }
            source = error.source();
        }
        false
    }
}

impl From<EbpfError> for LoadError {
    fn from(error: EbpfError) -> Self {
        Self::Object(Box::new(error))
    }
}

/// An error with all that caused it, each once.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

/// EPERM (include/uapi/asm-generic/errno-base.h).
const EPERM: i32 = 1;

fn cause_says(cause: &ProgramError, words: &str) -> bool {
    matches!(cause, ProgramError::LoadError { verifier_log, .. } if verifier_log.to_string().contains(words))
}

/// The verifier writes down every step; what it stumbled over is in the last line but those of its statistics.
fn in_short(error: &ProgramError) -> String {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return error.to_string();
    };
    let log = verifier_log.to_string();
    let is_statistics = |line: &&str| {
        ["verification time", "stack depth", "processed"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    let last = log
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !is_statistics(line));
    last.map_or_else(|| io_error.to_string(), |line| format!("{io_error} ({line})"))
}

/// The programs of one namespace's redirect, loaded and verified.
pub struct Redirect {
    object: Ebpf,
    reads_time_wait: Option<LoadError>,
}

impl Redirect {
    /// Loads them. Where the part that ends TIME_WAIT is refused (no CAP_PERFMON, no BTF), without it: then a new
    /// connection with the addresses and ports of one that has just ended goes past the sidecar.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is left behind.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let full = types::of_kernel(&TIME_WAIT)
            .map_err(LoadError::Types)
            .and_then(|types| load(READS_TIME_WAIT, Some(&types), settings));
        match full {
            Ok(object) => Ok(Self {
                object,
                reads_time_wait: None,
            }),
            Err(refused) => Ok(Self {
                object: load(PLAIN, None, settings)?,
                reads_time_wait: Some(refused),
            }),
        }
    }

    /// Why it can't end TIME_WAIT, if it can't.
    pub fn loss(&self) -> Option<&LoadError> {
        self.reads_time_wait.as_ref()
    }

    /// The program for one side of an interface, to attach.
    ///
    /// # Errors
    /// Never seen: every program is loaded.
    pub fn descriptor(&self, kind: Kind, side: Side) -> Result<BorrowedFd<'_>, LoadError> {
        descriptor(&self.object, hook::program(kind, side))
    }

    /// The counters of c/settings.h, in their order, over all processors.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn counters(&self) -> Result<Vec<u64>, LoadError> {
        let name = "counters";
        let failed = |source| LoadError::Map { name, source };
        let map = self.object.map(name).ok_or(LoadError::Missing(name))?;
        let array = PerCpuArray::<_, u64>::try_from(map).map_err(failed)?;
        let sum = |index| Ok(array.get(&index, 0)?.iter().sum());
        (0..array.len())
            .map(sum)
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    /// A program by its name, for tests.
    ///
    /// # Errors
    /// There is none.
    pub fn program(&mut self, name: &'static str) -> Result<&mut SchedClassifier, LoadError> {
        program(&mut self.object, name)
    }
}

/// A loaded program's descriptor.
pub(crate) fn descriptor<'a>(object: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, LoadError> {
    let failed = LoadError::of_program(name);
    let program = object.program(name).ok_or(LoadError::Missing(name))?;
    let program: &SchedClassifier = program.try_into().map_err(failed)?;
    Ok(program.fd().map_err(failed)?.as_fd())
}

pub(crate) fn program<'a>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, LoadError> {
    let program = object.program_mut(name).ok_or(LoadError::Missing(name))?;
    program.try_into().map_err(LoadError::of_program(name))
}

fn load(object: &[u8], types: Option<&Btf>, settings: &Settings) -> Result<Ebpf, LoadError> {
    let raw = settings.raw();
    let entries = |v6: bool| {
        let nets = settings
            .networks
            .iter()
            .filter(|(net, _)| net.addr().is_ipv6() == v6);
        u32::try_from(nets.count()).unwrap_or(u32::MAX).max(1)
    };
    let mut object = loader(types)
        .override_global("settings", &raw, true)
        .map_max_entries("networks_v4", entries(false))
        .map_max_entries("networks_v6", entries(true))
        .load(object)?;
    fill(&mut object, settings)?;
    for name in hook::PROGRAMS {
        program(&mut object, name)?
            .load()
            .map_err(LoadError::of_program(name))?;
    }
    Ok(object)
}

/// The maps stay the object's: its programs know them by descriptor until they are loaded.
fn fill(object: &mut Ebpf, settings: &Settings) -> Result<(), LoadError> {
    set_ports(object, settings)?;
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    for (net, flags) in settings.networks.iter() {
        let length = u32::from(net.prefix_len());
        match net.network() {
            IpAddr::V4(ip) => v4.push((Key::new(length, ip.octets()), flags)),
            IpAddr::V6(ip) => v6.push((Key::new(length, ip.octets()), flags)),
        }
    }
    insert(object, "networks_v4", &v4)?;
    insert(object, "networks_v6", &v6)
}

/// The sets stand one after the other, in the order of `enum port_set` in c/settings.h.
fn set_ports(object: &mut Ebpf, settings: &Settings) -> Result<(), LoadError> {
    let name = "ports";
    let failed = |source| LoadError::Map { name, source };
    let map = object.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut array = Array::<&mut MapData, u64>::try_from(map).map_err(failed)?;
    let sets = [&settings.inbound, &settings.outbound, &settings.excluded];
    let words = sets.into_iter().flat_map(PortSet::words);
    // The map is all zeros at first.
    for (index, word) in (0_u32..).zip(words).filter(|(_, word)| *word != 0) {
        array.set(index, word, 0).map_err(failed)?;
    }
    Ok(())
}

fn insert<K: aya::Pod>(
    object: &mut Ebpf,
    name: &'static str,
    entries: &[(Key<K>, u32)],
) -> Result<(), LoadError> {
    let failed = |source| LoadError::Map { name, source };
    let map = object.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut trie = LpmTrie::<&mut MapData, K, u32>::try_from(map).map_err(failed)?;
    for (key, flags) in entries {
        trie.insert(key, flags, 0).map_err(failed)?;
    }
    Ok(())
}
