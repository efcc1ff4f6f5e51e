//! Who may build a lab.

use crate::LabError;

/// Fails with a sentence that says so where the process is not root.
///
/// # Errors
/// The process is not root.
pub fn require_root() -> Result<(), LabError> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(LabError::NotRoot)
    }
}

/// True, and says so loudly, where a test that needs root can't run.
///
/// # Panics
/// `CI` is set: there a test that can't run is a failure, not a skip.
pub fn skip_unless_root(test: &str) -> bool {
    let Err(reason) = require_root() else {
        return false;
    };
    skip(test, &reason.to_string());
    true
}

/// Says loudly that a test can't run here.
///
/// # Panics
/// `CI` is set: there a test that can't run is a failure, not a skip.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} can't run: {reason}");
    eprintln!("SKIPPED {test}: {reason}");
}
