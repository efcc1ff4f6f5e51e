//! Who the sidecar is: the user whose own traffic is never redirected, with at most one capability.
//!
//! NET_RAW lets a socket have an address that is not the machine's. It is taken from wherever it is to be had, across
//! the change of user or from the file's permitted set, and given up as soon as it is known that nobody needs it.
//! Capabilities belong to threads: all of this happens before the second one starts.

use anyhow::{Context, bail};
use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid},
};
use socket2::{Domain, Socket, Type};

/// Open files that are asked for: two a connection.
const FILES: u64 = 1 << 20;

/// What became of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// It has NET_RAW in effect.
    pub net_raw: bool,
    /// It is not the proxy's user, for want of the right to become it: its traffic must be marked.
    pub marks: bool,
    /// It may mark its traffic.
    pub may_mark: bool,
}

impl Identity {
    /// True if its traffic should be marked and can't be.
    pub fn is_unmarked(&self) -> bool {
        self.marks && !self.may_mark
    }
}

/// Gives up every capability but NET_RAW and the way to any, where no traffic is redirected: root becomes the proxy's user
/// where it may, and any other user will do.
///
/// # Errors
/// Never seen: giving up is always allowed.
pub fn for_tap(uid: u32, gid: u32) -> anyhow::Result<()> {
    let net_raw = has_net_raw();
    if geteuid().is_root() {
        drop_bounding();
        prctl::set_keepcaps(true).context("cannot keep NET_RAW across the change of user")?;
        if let Err(error) = become_user(uid, gid) {
            tracing::warn!(%error, "cannot become user {uid} and group {gid}: running on as root, without its capabilities");
        }
    }
    keep(net_raw)
}

fn has_net_raw() -> bool {
    caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_RAW).unwrap_or(false)
}

/// Gives up all but NET_RAW.
fn keep(net_raw: bool) -> anyhow::Result<()> {
    let kept = if net_raw {
        CapsHashSet::from([Capability::CAP_NET_RAW])
    } else {
        CapsHashSet::new()
    };
    reduce_to(&kept)?;
    prctl::set_no_new_privs().context("cannot give up the way to new privileges")
}

/// Becomes the proxy's user if started as root, and gives up every capability but NET_RAW and the way to any.
///
/// # Errors
/// Started as a user whose own traffic would be redirected to itself.
pub fn assume(uid: u32, gid: u32) -> anyhow::Result<Identity> {
    let net_raw = has_net_raw();
    let mut marks = false;
    if geteuid().is_root() {
        drop_bounding();
        prctl::set_keepcaps(true).context("cannot keep NET_RAW across the change of user")?;
        if let Err(error) = become_user(uid, gid) {
            // Known by its group, and by its mark where the group can't be told.
            let known = getegid().as_raw() == gid && net_raw;
            if error != Errno::EPERM || !known {
                bail!(
                    "cannot become user {uid} and group {gid} ({error}); give the capabilities SETUID and SETGID, \
                     or run as user {uid}, or as user 0 with group {gid} and the capability NET_RAW"
                );
            }
            marks = true;
        }
    } else if geteuid().as_raw() != uid && getegid().as_raw() != gid {
        bail!(
            "running as user {} and group {}, whose own traffic is redirected too and would come back here; \
             run as root, as user {uid} or as group {gid}, or give --proxy-uid (to weir-init as well)",
            geteuid(),
            getegid()
        );
    } else {
        marks = geteuid().as_raw() != uid && net_raw;
    }
    keep(net_raw)?;
    Ok(Identity {
        net_raw,
        marks,
        may_mark: may_mark(),
    })
}

/// Whether the kernel lets this process mark packets: with NET_RAW alone only from Linux 5.17 on. Any mark tells.
fn may_mark() -> bool {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None);
    socket.is_ok_and(|socket| socket.set_mark(1).is_ok())
}

/// Gives up NET_RAW, too.
///
/// # Errors
/// Never seen: giving up is always allowed.
pub fn give_up_net_raw() -> anyhow::Result<()> {
    reduce_to(&CapsHashSet::new())
}

fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

fn reduce_to(kept: &CapsHashSet) -> anyhow::Result<()> {
    // A kernel without ambient capabilities has none to clear.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable).context("cannot give up the inheritable capabilities")?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, kept).with_context(|| format!("cannot reduce the {set:?} capabilities"))?;
    }
    Ok(())
}

/// Without CAP_SETPCAP the bounding set stays, and no_new_privs makes it moot.
fn drop_bounding() {
    for capability in caps::all() {
        if !matches!(
            capability,
            Capability::CAP_SETPCAP | Capability::CAP_SETUID | Capability::CAP_SETGID
        ) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    for capability in [
        Capability::CAP_SETUID,
        Capability::CAP_SETGID,
        Capability::CAP_SETPCAP,
    ] {
        let _ = caps::drop(None, CapSet::Bounding, capability);
    }
}

/// Raises the limit of open files as far as it goes; gives what it is now.
pub fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    for (soft, hard) in [(FILES.max(hard), FILES.max(hard)), (hard, hard)] {
        if setrlimit(Resource::RLIMIT_NOFILE, soft, hard).is_ok() {
            return soft;
        }
    }
    soft
}
