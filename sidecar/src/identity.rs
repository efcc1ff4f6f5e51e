//! Who the sidecar is: the user whose own traffic is never redirected, with at most one capability.
//!
//! NET_RAW lets a socket have an address that is not the machine's. It is taken from wherever it is to be had, across
//! the change of user or from the file's permitted set, and given up as soon as it is known that nobody needs it.
//! Capabilities belong to threads: all of this happens before the second one starts.

use crate::own::{self, Known};
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

/// Open files that are asked for: two a connection.
const FILES: u64 = 1 << 20;

/// What became of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// It has NET_RAW in effect.
    pub net_raw: bool,
    /// How its own traffic is known.
    pub known: Known,
}

impl Identity {
    /// True if its traffic should be marked and can't be.
    pub fn is_unmarked(&self) -> bool {
        self.known == Known::Group
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

/// Whether this thread could have NET_RAW in effect.
pub fn has_net_raw() -> bool {
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

/// Becomes the proxy's user if started as root, and gives up every capability but NET_RAW and the way to any. One that cannot
/// become that user marks its packets with `mark`, if it may.
///
/// # Errors
/// Started as a user whose own traffic would be redirected to itself.
pub fn assume(uid: u32, gid: u32, mark: u32) -> anyhow::Result<Identity> {
    let net_raw = has_net_raw();
    let mut is_user = true;
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
            is_user = false;
        }
    } else if geteuid().as_raw() != uid && getegid().as_raw() != gid {
        bail!(
            "running as user {} and group {}, whose own traffic is redirected too and would come back here; \
             run as root, as user {uid} or as group {gid}, or give --proxy-uid (to weir-init as well)",
            geteuid(),
            getegid()
        );
    } else {
        is_user = geteuid().as_raw() == uid;
    }
    keep(net_raw)?;
    let known = match is_user {
        true => Known::User,
        false if own::may_mark(mark) => Known::Mark,
        false => Known::Group,
    };
    Ok(Identity { net_raw, known })
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
