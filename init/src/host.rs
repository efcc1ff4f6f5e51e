//! Whether this network namespace is the host's own.
//!
//! A pod with `hostNetwork: true` and a container with `--network host` share it: there a redirect takes the traffic of every
//! program of the machine, and outlives the pod. The kernel shows its settings for the whole machine, of which
//! `netdev_max_backlog` is one, in the first network namespace alone. (The numbers that namespaces have do not tell:
//! the cookie of the first one is 1 on some kernels and 3 on others, and `/proc/1` is the container's own process.)

use crate::Error;
use std::path::Path;
use weir_config::{Interception, Mode};

const FOR_THE_MACHINE: &str = "/proc/sys/net/core/netdev_max_backlog";

/// Refuses an installation in the host's own namespace that was not asked for. A port map is made for hosts.
///
/// # Errors
/// [`Error::HostNetwork`].
pub fn check(set: &Interception) -> Result<(), Error> {
    let is_meant = set.host_network || set.mode == Mode::PortMap;
    match !is_meant && Path::new(FOR_THE_MACHINE).exists() {
        true => Err(Error::HostNetwork),
        false => Ok(()),
    }
}
