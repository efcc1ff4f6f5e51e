//! Waiting until every program that runs now has ended.

use nix::libc;
use std::{thread, time::Duration};

/// MEMBARRIER_CMD_GLOBAL (include/uapi/linux/membarrier.h): returns after a grace period of RCU, within which programs on
/// packets run from beginning to end.
const GLOBAL: libc::c_int = 1;
/// Where that is not to be had (processors without a tick): longer than any program takes.
const PATIENCE: Duration = Duration::from_millis(100);

/// Waits.
pub(crate) fn wait() {
    // SAFETY: this call takes no pointer.
    #[allow(unsafe_code, reason = "no library has this system call")]
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result != 0 {
        thread::sleep(PATIENCE);
    }
}
