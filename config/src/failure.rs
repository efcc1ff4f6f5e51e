//! What becomes of the application when Weir itself fails.

use serde::{Deserialize, Serialize};

/// The setting `on_failure`, which the installer and the sidecar share. It is about Weir's own failures at start (a
/// privilege that is missing, a mode that can't be had here); a wrong configuration is always an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The program ends with an error, which in Kubernetes keeps the application from starting.
    #[default]
    Fail,
    /// Visibility is given up, and the application never waits for it: the installer leaves nothing installed and ends
    /// with status 0, the sidecar stays, answers that it is ready, and says that it is degraded.
    Degrade,
}

impl OnFailure {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Degrade => "degrade",
        }
    }
}
