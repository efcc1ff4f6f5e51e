//! What is decoded, and what a document may hold.

use crate::{Bytes, ConfigError, NamePattern, Period, Pins};
use serde::{Deserialize, Serialize};

/// The `decoding` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decoding {
    /// Decode what is relayed; without it connections are only relayed and counted.
    pub enabled: bool,
    /// Longest head (start line and headers) that is parsed; a longer one is recorded as truncated.
    pub max_head: Bytes,
    /// Most headers of one message; further ones are counted and left out.
    pub max_headers: usize,
    /// Most requests of one connection that wait for their responses; past it the oldest come out without theirs.
    pub max_pending: usize,
    /// How long a whole request waits for the beginning of its answer before a document tells that it waits; 0s for never.
    pub hung_after: Period,
    /// Most memory that all decoders of the process keep together; past it those that keep most step aside.
    pub memory: Bytes,
    /// Servers' ports whose protocol is known, as `{20880: dubbo, 9000-9010: http1, 3306: tcp}`; what is spoken at others is
    /// told by what is sent.
    pub protocols: Pins,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            enabled: true,
            max_head: Bytes(64 << 10),
            max_headers: 128,
            max_pending: 1024,
            hung_after: Period::seconds(10),
            memory: Bytes::mib(32),
            protocols: Pins::default(),
        }
    }
}

impl Decoding {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if !(1024..=1 << 20).contains(&self.max_head.0) {
            return Err(ConfigError::invalid(
                "decoding.max_head",
                "allowed are 1KiB to 1MiB",
            ));
        }
        if !(1..=1024).contains(&self.max_headers) {
            return Err(ConfigError::invalid(
                "decoding.max_headers",
                "allowed are 1 to 1024",
            ));
        }
        if !(1..=65536).contains(&self.max_pending) {
            return Err(ConfigError::invalid(
                "decoding.max_pending",
                "allowed are 1 to 65536",
            ));
        }
        if self.memory < Bytes::mib(1) {
            return Err(ConfigError::invalid(
                "decoding.memory",
                "allowed are 1MiB and more",
            ));
        }
        Ok(())
    }
}

/// Most names of each kind: every name of every document is compared with them.
const MOST_NAMES: usize = 256;

/// The `records` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Records {
    /// Replace secrets, by their names and by what is unmistakable in values, before a document leaves the process.
    pub redact: bool,
    /// Further names whose values are replaced, wherever they stand: of headers, keys, fields, elements. `*` stands for any
    /// characters.
    pub redact_names: Vec<NamePattern>,
    /// Names that tell of no secret, though they look like it. What is unmistakable in their values is replaced all the same.
    pub spare_names: Vec<NamePattern>,
    /// Further header names whose values are replaced.
    pub redact_headers: Vec<String>,
    /// Further keys of queries, forms and objects whose values are replaced.
    pub redact_query_keys: Vec<String>,
    /// Record headers.
    pub headers: bool,
    /// Longest value of a header, in bytes; the rest is cut and the document marked as truncated.
    pub max_header_value: usize,
    /// Most headers a message's record holds.
    pub max_headers: usize,
    /// Longest path, query or target, in bytes.
    pub max_url: usize,
    /// Record arguments, results and attachments of calls (Dubbo).
    pub arguments: bool,
    /// Longest text or binary value within arguments and results, in bytes; all of them together at most 16 times that.
    pub max_value: usize,
    /// Most values within arguments, and within a result, with everything in their lists and maps.
    pub max_values: usize,
    /// Name of this host or container in `host.name`; empty for the system's host name.
    pub host_name: String,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            redact: true,
            redact_names: Vec::new(),
            spare_names: Vec::new(),
            redact_headers: Vec::new(),
            redact_query_keys: Vec::new(),
            headers: true,
            max_header_value: 1024,
            max_headers: 64,
            max_url: 2048,
            arguments: true,
            max_value: 4096,
            max_values: 2048,
            host_name: String::new(),
        }
    }
}

impl Records {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (setting, count) in [
            ("records.redact_names", self.redact_names.len()),
            ("records.spare_names", self.spare_names.len()),
        ] {
            if count > MOST_NAMES {
                return Err(ConfigError::invalid(
                    setting,
                    format!("allowed are at most {MOST_NAMES} names"),
                ));
            }
        }
        Ok(())
    }
}
