//! Which modes can be installed.

use crate::Error;
use weir_config::Mode;

/// Refuses a mode that this version can't install.
///
/// # Errors
/// [`Error::Mode`].
pub fn require(mode: Mode) -> Result<(), Error> {
    match mode {
        Mode::Redirect | Mode::Tproxy => Ok(()),
        Mode::Auto | Mode::Ebpf => Err(Error::Mode(mode.name())),
    }
}
