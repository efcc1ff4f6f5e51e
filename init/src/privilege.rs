//! Tells a missing privilege before anything is tried, because iptables words it differently everywhere.

use crate::Error;

/// CAP_NET_ADMIN, include/uapi/linux/capability.h.
const NET_ADMIN: u64 = 1 << 12;

/// Fails unless this process has CAP_NET_ADMIN in effect.
///
/// # Errors
/// [`Error::Privilege`].
pub fn check() -> Result<(), Error> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match effective(&status) {
        Some(capabilities) if capabilities & NET_ADMIN == 0 => Err(Error::Privilege(format!(
            "user {}, effective capabilities {capabilities:#x}",
            nix::unistd::geteuid()
        ))),
        // Without /proc the programs themselves tell.
        _ => Ok(()),
    }
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// True if a program's complaint is that it lacks privilege (a user namespace can have the capability and not own
/// the network namespace).
pub fn is_complaint(message: &str) -> bool {
    message.contains("you must be root") || message.contains("Operation not permitted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n";
        assert_eq!(effective(status), Some(NET_ADMIN));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
