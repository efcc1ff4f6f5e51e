//! How connections are carried: the sidecar's threads, timeouts, bounds and its own endpoints.

use crate::{Bytes, ConfigError, Period};
use serde::{Deserialize, Serialize};

/// Whose address an inbound connection comes from, as the application sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SourceAddress {
    /// The client's, where the mode of redirection allows it and the sidecar has NET_RAW.
    #[default]
    Client,
    /// One of the sidecar's spare local addresses; needs no privilege.
    Proxy,
}

/// The `relay` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Data threads; 0 for one a core that the process may use, and at most 4.
    pub threads: usize,
    /// Longest wait for an outbound connection, which the application believes to be open already; then it is reset. `0s`
    /// leaves it to the kernel (two minutes). Enough for a third SYN, sent after 7 s.
    pub connect_timeout: Period,
    /// A connection without a byte for so long is closed; `0s` for never, as without Weir.
    pub idle_timeout: Period,
    /// Silence after which TCP keep-alive probes both peers: address translation and firewalls on the way go on knowing the
    /// connection, and one whose peer is gone does not stay open for ever; `0s` for never.
    pub keepalive: Period,
    /// Whose address an inbound connection comes from, as the application sees it.
    pub source_address: SourceAddress,
    /// On SIGTERM, how long the sidecar goes on serving at most, new connections too. Afterwards the sinks need up to 4 s.
    /// The default is 25 s under Kubernetes (whose pods have 30 s), else 6 s (Docker's containers have 10 s).
    pub drain: Period,
    /// A parent process holds the listening sockets and starts the relay anew after a crash.
    pub supervise: bool,
    /// Largest buffer a direction of a connection may grow to.
    pub max_buffer: Bytes,
    /// Admin endpoint (`/config`, `/stats`) on 127.0.0.1; 0 for none.
    pub admin_port: u16,
    /// Health endpoint (`/healthz/ready`) on every address; 0 for none.
    pub health_port: u16,
    /// Prometheus endpoint (`/metrics`) on every address; 0 for none.
    pub metrics_port: u16,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            threads: 0,
            connect_timeout: Period::seconds(10),
            idle_timeout: Period::seconds(0),
            keepalive: Period::seconds(30),
            source_address: SourceAddress::Client,
            drain: drain(std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()),
            supervise: true,
            max_buffer: Bytes(256 << 10),
            admin_port: 15000,
            health_port: 15021,
            metrics_port: 15020,
        }
    }
}

/// What the platform gives a container to stop, less what the sinks need. Kubernetes tells every container where its API
/// is, and by that it is known.
fn drain(in_kubernetes: bool) -> Period {
    Period::seconds(if in_kubernetes { 25 } else { 6 })
}

impl Relay {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.threads > 1024 {
            return Err(ConfigError::invalid("relay.threads", "allowed are 0 to 1024"));
        }
        if !(4096..=16 << 20).contains(&self.max_buffer.0) {
            return Err(ConfigError::invalid(
                "relay.max_buffer",
                "allowed are 4KiB to 16MiB",
            ));
        }
        Ok(())
    }
}
