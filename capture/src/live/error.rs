//! Why nothing can be seen, and what to do about it.

use std::io;

/// Why a [`crate::Tap`] can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// No permission.
    #[error(
        "no permission to see packets ({0}); give the capability NET_RAW (containers have it unless it is dropped), \
         or run as root"
    )]
    Denied(io::Error),
    /// No memory.
    #[error("no memory for a ring of {1} bytes ({0}); make it smaller")]
    Memory(io::Error, usize),
    /// The kernel has none.
    #[error("this kernel has no packet sockets with rings (CONFIG_PACKET): {0}")]
    Unsupported(io::Error),
    /// Anything else.
    #[error("cannot see packets: {0}")]
    Other(#[from] io::Error),
}

impl TapError {
    pub(super) fn of(error: io::Error, ring: usize) -> Self {
        match error.raw_os_error() {
            Some(nix::libc::EPERM | nix::libc::EACCES) => Self::Denied(error),
            Some(nix::libc::ENOMEM | nix::libc::ENOBUFS) => Self::Memory(error, ring),
            Some(nix::libc::EAFNOSUPPORT | nix::libc::ENOPROTOOPT) => Self::Unsupported(error),
            _ => Self::Other(error),
        }
    }
}
