//! What may leave the process: redaction of secrets and caps on captured text.

use weir_config::Records;

/// The compiled `records` section. Cheap to share; made once a process.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: Records,
}

impl Policy {
    /// The policy that these settings describe.
    pub fn new(settings: &Records) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Records {
        &self.settings
    }
}
