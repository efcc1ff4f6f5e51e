//! Who the sidecar is: the user whose own traffic is never redirected, without any capability.

use anyhow::{Context, bail};
use caps::{CapSet, Capability};
use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid},
};

/// Open files that are asked for: two a connection.
const FILES: u64 = 1 << 20;

/// Becomes the proxy's user if started as root, and gives up every capability and the way to any.
///
/// # Errors
/// Started as a user whose own traffic would be redirected to itself.
pub fn assume(uid: u32, gid: u32) -> anyhow::Result<()> {
    if geteuid().is_root() {
        drop_bounding();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setgroups(&[]).context("cannot leave the supplementary groups (CAP_SETGID)")?;
        setresgid(gid, gid, gid).with_context(|| format!("cannot become group {gid} (CAP_SETGID)"))?;
        setresuid(uid, uid, uid).with_context(|| format!("cannot become user {uid} (CAP_SETUID)"))?;
    } else if geteuid().as_raw() != uid && getegid().as_raw() != gid {
        bail!(
            "running as user {} and group {}, whose own traffic is redirected too and would come back here; \
             run as root, as user {uid} or as group {gid}, or give --proxy-uid (to weir-init as well)",
            geteuid(),
            getegid()
        );
    }
    // A kernel without ambient capabilities has none to clear.
    let _ = caps::clear(None, CapSet::Ambient);
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).with_context(|| format!("cannot give up the {set:?} capabilities"))?;
    }
    prctl::set_no_new_privs().context("cannot give up the way to new privileges")?;
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
