//! The last rung of `auto`: where nothing may be redirected, the sidecar can still look (mode `tap`), if packets may be seen.
//!
//! Nothing is installed for it. What is proved is that a packet socket can be opened, which is all that it needs.

use crate::{Error, error::Attempts, modes, privilege};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// What is lost where the sidecar only looks.
pub const LOST: &str =
    "nothing is held, TLS stays closed, and under overload packets may be missed, which is counted";

/// Proves that packets can be seen.
///
/// # Errors
/// Why not, and what to do.
pub fn prove() -> Result<(), String> {
    // Bound to no protocol, it receives nothing.
    match socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    ) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "no packet socket can be opened ({error}); give the capability NET_RAW"
        )),
    }
}

/// True if there is nothing in force, and this process may not change that: what is left is to look.
///
/// # Errors
/// Those of looking at the routes, which needs no privilege.
pub async fn is_all_that_is_left() -> Result<bool, Error> {
    Ok(privilege::check().is_err() && modes::in_force().await?.is_none())
}

/// Takes the last rung after all others have failed, and says so in one line.
///
/// # Errors
/// [`Error::NoMode`]: there is not even that.
pub fn fall_back(mut attempts: Vec<(String, String)>) -> Result<(), Error> {
    if let Err(reason) = prove() {
        attempts.push(("tap".to_owned(), reason));
        return Err(Error::NoMode(Attempts(attempts)));
    }
    let tried: Vec<String> = attempts
        .iter()
        .map(|(mode, said)| format!("{mode}: {}", one_line(said)))
        .collect();
    tracing::warn!(
        "mode tap: nothing can be redirected here, so nothing was installed ({}); packets can be seen, and \
         `weir-sidecar --mode auto` looks at them: {LOST}",
        tried.join(" | ")
    );
    Ok(())
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_in_lines_is_said_in_one() {
        assert_eq!(
            one_line("no variant works; tried:\n  a: x\n  b: y"),
            "no variant works; tried: a: x b: y"
        );
    }
}
