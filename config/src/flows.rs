//! Documents about connections as a whole, beside those about what they carry.

use crate::{ConfigError, Period};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Shortest interval: more documents than that say nothing more.
const SHORTEST: Duration = Duration::from_secs(1);

/// The `flows` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flows {
    /// Whether there are any: one for each TCP connection and UDP flow when it ends, and while it lasts.
    pub enabled: bool,
    /// How often one that is open is told of; 0s for only at its end.
    pub interval: Period,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Period(Duration::from_secs(60)),
        }
    }
}

impl Flows {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self.interval.non_zero() {
            Some(interval) if interval < SHORTEST => Err(ConfigError::invalid(
                "flows.interval",
                "allowed are 1s and more, and 0s for only at the end",
            )),
            _ => Ok(()),
        }
    }
}
