//! Programs that run for the processes of a control group: attached, found and detached by bpf(2) itself.
//!
//! Without a link that somebody would have to hold or to pin: such an attachment lasts until it is detached, or the
//! control group goes. Whose it is tells the program's name and, in its settings, the network namespace.

use crate::{
    LoadError,
    loaded::{self, failed},
};
use aya::programs::ProgramInfo;
use nix::{errno::Errno, libc};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

/// Where in connect(2) and getpeername(2) a program stands (`enum bpf_attach_type`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hook {
    Connect4 = 10,
    Connect6 = 11,
    PeerName4 = 29,
    PeerName6 = 30,
}

/// Every hook with the name of its program.
pub(crate) const HOOKS: [(Hook, &str); 4] = [
    (Hook::Connect4, "weir_connect4"),
    (Hook::Connect6, "weir_connect6"),
    (Hook::PeerName4, "weir_peername4"),
    (Hook::PeerName6, "weir_peername6"),
];

/// BPF_F_ALLOW_MULTI: others' programs stay, and those below the control group run too.
const ALLOW_MULTI: u32 = 2;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;

/// The part of `union bpf_attr` for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct Attr {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// A program of ours that is attached to a control group.
#[derive(Debug)]
pub struct Attached {
    info: ProgramInfo,
    hook: Hook,
    /// What its settings were made from.
    pub fingerprint: u64,
}

impl Attached {
    /// Every program of the port map for this network namespace that the kernel has: those that are attached, and those that
    /// this process has just loaded.
    ///
    /// # Errors
    /// The programs can't be listed (CAP_SYS_ADMIN is missing).
    pub fn of_namespace(netns: u64) -> Result<Vec<Self>, LoadError> {
        let mut found = Vec::new();
        for program in loaded::of_namespace(netns)? {
            if let Some((hook, _)) = HOOKS
                .iter()
                .find(|(_, name)| program.info.name_as_str() == Some(name))
            {
                found.push(Self {
                    hook: *hook,
                    fingerprint: program.settings.fingerprint,
                    info: program.info,
                });
            }
        }
        Ok(found)
    }

    /// Detaches it from this control group. False if it is not attached to it.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn detach(&self, group: BorrowedFd<'_>) -> Result<bool, LoadError> {
        let program = self.info.fd().map_err(failed)?;
        match bpf(PROG_DETACH, group, program.as_fd(), self.hook, 0) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(source) => Err(LoadError::ControlGroup(source.into())),
        }
    }
}

/// Attaches a program beside those that are there.
pub(crate) fn attach(group: BorrowedFd<'_>, program: BorrowedFd<'_>, hook: Hook) -> Result<(), LoadError> {
    bpf(PROG_ATTACH, group, program, hook, ALLOW_MULTI)
        .map_err(|source| LoadError::ControlGroup(source.into()))
}

fn bpf(
    command: libc::c_long,
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    hook: Hook,
    flags: u32,
) -> Result<(), Errno> {
    let number = |fd: BorrowedFd<'_>| u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX);
    let attr = Attr {
        target: number(group),
        program: number(program),
        kind: hook as u32,
        flags,
    };
    // SAFETY: the kernel reads as many bytes of `attr` as its size says, and writes none for these commands.
    #[allow(
        unsafe_code,
        reason = "neither aya nor nix offers this call without a link that ends with us"
    )]
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<Attr>()) };
    Errno::result(result).map(drop)
}
