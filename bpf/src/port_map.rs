//! The port map (`c/port_map.bpf.c`): what it is told, and loading it.

use crate::{
    Kind, LoadError, Side, cgroup,
    cgroup::HOOKS,
    load::{self, program},
    loader::loader,
    types::{self, Wanted},
};
use aya::{
    Btf, Ebpf,
    maps::{Array, HashMap, MapData},
    programs::{CgroupSockAddr, SchedClassifier},
};
use nix::{errno::Errno, libc};
use std::{
    io,
    net::{Ipv6Addr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};
use xxhash_rust::xxh3::xxh3_64;

static PLAIN: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/port_map-0.bpf.o"));
static READS_KERNEL: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/port_map-1.bpf.o"));

pub(crate) const PROGRAMS: [&str; 4] = ["weir_map_in", "weir_map_in_l3", "weir_map_out", "weir_map_out_l3"];

/// What c/local_clients.h reads.
pub(crate) const SOCKET: [Wanted<'static>; 2] = [
    ("tcp_sock", &["inet_conn.icsk_inet.sk.__sk_common.skc_net.net"]),
    (
        "net",
        &["ipv4.sysctl_ip_nonlocal_bind", "ipv6.sysctl.ip_nonlocal_bind"],
    ),
];

/// The map that says whether new connections are taken.
pub(crate) const TAKING: &str = "taking";

/// What the programs are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapSettings {
    /// User whose connections are the sidecar's.
    pub proxy_uid: u32,
    /// Mark of the sidecar's own packets.
    pub own_mark: u32,
    /// Original ports, each with the sidecar's.
    pub ports: Vec<(u16, u16)>,
    /// The control group that they are attached to, as its setting names it.
    pub group: String,
    /// The network namespace: [`netns_cookie`].
    pub netns: u64,
}

impl PortMapSettings {
    /// A number that other settings, and other programs, don't have.
    pub fn fingerprint(&self) -> u64 {
        xxh3_64(format!("{:016x} {self:?}", xxh3_64(READS_KERNEL)).as_bytes())
    }

    fn raw(&self) -> Raw {
        Raw {
            netns: self.netns,
            fingerprint: self.fingerprint(),
            proxy_uid: self.proxy_uid,
            own_mark: self.own_mark,
        }
    }
}

/// `struct settings` in c/port_map.bpf.c.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Raw {
    pub netns: u64,
    pub fingerprint: u64,
    proxy_uid: u32,
    own_mark: u32,
}

// SAFETY: plain numbers without padding (a multiple of eight bytes in which every field is aligned).
#[allow(unsafe_code, reason = "the loader copies its bytes, and they are read back")]
unsafe impl aya::Pod for Raw {}

/// include/uapi/asm-generic/socket.h; since Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The number of this thread's network namespace, which no other has had since the machine was started.
///
/// # Errors
/// The kernel is older than 5.14.
pub fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
    let mut cookie = 0_u64;
    let mut length = u32::try_from(size_of_val(&cookie)).unwrap_or_default();
    // SAFETY: the kernel writes as many bytes of `cookie` as `length` says, which are all of them.
    #[allow(unsafe_code, reason = "neither nix nor socket2 has this option")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    Ok(cookie)
}

/// The programs of one namespace's port map, loaded and verified.
pub struct PortMap {
    object: Ebpf,
    reads_kernel: Option<LoadError>,
}

impl PortMap {
    /// Loads them; those for control groups only if `clients` says so. Where the part that reads the kernel's structures
    /// is refused (no CAP_PERFMON, no BTF), without it: then local clients are taken at loopback addresses alone.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is left behind.
    pub fn load(settings: &PortMapSettings, clients: bool) -> Result<Self, LoadError> {
        let full = types::of_kernel(&SOCKET)
            .map_err(LoadError::Types)
            .and_then(|types| load(READS_KERNEL, Some(&types), settings, clients));
        match full {
            Ok(object) => Ok(Self {
                object,
                reads_kernel: None,
            }),
            Err(refused) => Ok(Self {
                object: load(PLAIN, None, settings, clients)?,
                reads_kernel: Some(refused),
            }),
        }
    }

    /// Why it can't read the kernel's structures, if it can't.
    pub fn loss(&self) -> Option<&LoadError> {
        self.reads_kernel.as_ref()
    }

    /// The program for one side of an interface; none for lo, whose connections are taken at connect(2).
    ///
    /// # Errors
    /// Never seen: every program is loaded.
    pub fn descriptor(&self, kind: Kind, side: Side) -> Result<BorrowedFd<'_>, LoadError> {
        let Some(name) = map_program(kind, side) else {
            return Err(LoadError::Missing("program for lo"));
        };
        load::descriptor(&self.object, name)
    }

    /// Attaches the programs for local clients to a control group.
    ///
    /// # Errors
    /// [`LoadError::ControlGroup`].
    pub fn attach_clients(&self, group: BorrowedFd<'_>) -> Result<(), LoadError> {
        for (hook, name) in HOOKS {
            let program = self.object.program(name).ok_or(LoadError::Missing(name))?;
            let program: &CgroupSockAddr = program.try_into().map_err(LoadError::of_program(name))?;
            let descriptor = program.fd().map_err(LoadError::of_program(name))?;
            cgroup::attach(group, descriptor.as_fd(), hook)?;
        }
        Ok(())
    }

    /// A program by its name, for tests.
    ///
    /// # Errors
    /// There is none.
    pub fn program(&mut self, name: &'static str) -> Result<&mut SchedClassifier, LoadError> {
        program(&mut self.object, name)
    }
}

/// The port map's program for one side of an interface.
pub fn map_program(kind: Kind, side: Side) -> Option<&'static str> {
    match (kind, side) {
        (Kind::Loopback, _) => None,
        (Kind::Ethernet, Side::Ingress) => Some("weir_map_in"),
        (Kind::Ethernet, Side::Egress) => Some("weir_map_out"),
        (Kind::Bare, Side::Ingress) => Some("weir_map_in_l3"),
        (Kind::Bare, Side::Egress) => Some("weir_map_out_l3"),
    }
}

fn load(
    object: &[u8],
    types: Option<&Btf>,
    settings: &PortMapSettings,
    clients: bool,
) -> Result<Ebpf, LoadError> {
    let entries = u32::try_from(settings.ports.len()).unwrap_or(u32::MAX).max(1);
    let mut object = loader(types)
        .override_global("settings", &settings.raw(), true)
        .map_max_entries("mapped_ports", entries)
        .map_max_entries("original_ports", entries)
        .load(object)?;
    fill(&mut object, "mapped_ports", settings.ports.iter().copied())?;
    fill(
        &mut object,
        "original_ports",
        settings
            .ports
            .iter()
            .map(|&(original, mapped)| (mapped, original)),
    )?;
    let name = TAKING;
    let map = object.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut taking =
        Array::<&mut MapData, u32>::try_from(map).map_err(|source| LoadError::Map { name, source })?;
    taking
        .set(0, 1, 0)
        .map_err(|source| LoadError::Map { name, source })?;
    for name in PROGRAMS {
        program(&mut object, name)?
            .load()
            .map_err(LoadError::of_program(name))?;
    }
    for (_, name) in HOOKS.iter().filter(|_| clients) {
        let program = object.program_mut(name).ok_or(LoadError::Missing(name))?;
        let program: &mut CgroupSockAddr = program.try_into().map_err(LoadError::of_program(name))?;
        program.load().map_err(LoadError::of_program(name))?;
    }
    Ok(object)
}

fn fill(
    object: &mut Ebpf,
    name: &'static str,
    entries: impl Iterator<Item = (u16, u16)>,
) -> Result<(), LoadError> {
    let failed = |source| LoadError::Map { name, source };
    let map = object.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut ports = HashMap::<&mut MapData, u16, u16>::try_from(map).map_err(failed)?;
    for (from, to) in entries {
        ports.insert(from, to, 0).map_err(failed)?;
    }
    Ok(())
}
