//! What is wrong with the sidecar itself although it goes on: how often it was started anew, and what it does without.
//! The endpoints, the metrics and `weir doctor` tell it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Why a worker process was started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Restart {
    /// The kernel killed it because memory was short.
    OutOfMemory,
    /// Somebody killed it.
    Killed,
    /// A fault of its own ended it.
    Crashed,
    /// It gave up: what it needs was not to be had.
    Failed,
    /// An installation came, and a tap became a relay.
    ModeChanged,
}

impl Restart {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::OutOfMemory,
        Self::Killed,
        Self::Crashed,
        Self::Failed,
        Self::ModeChanged,
    ];

    /// The label in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out_of_memory",
            Self::Killed => "killed",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::ModeChanged => "mode_changed",
        }
    }
}

/// What the sidecar does without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degraded {
    /// Nothing is carried or seen: what that needs was not to be had, and the setting `on_failure` says to stay.
    NotWorking,
    /// Traffic is carried and nothing is decoded or exported, after repeated crashes.
    RelayOnly,
    /// A data thread has failed, and others do its work.
    DataThread,
    /// An endpoint has no port.
    Endpoint,
    /// The tap beside the relay could not be opened.
    TapBeside,
    /// Traffic passes unseen, for want of a privilege.
    Unseen,
}

impl Degraded {
    /// The label in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotWorking => "not_working",
            Self::RelayOnly => "relay_only",
            Self::DataThread => "data_thread",
            Self::Endpoint => "endpoint",
            Self::TapBeside => "tap_beside",
            Self::Unseen => "unseen",
        }
    }
}

/// How often a worker was started anew, by reason.
pub type Restarts = BTreeMap<Restart, u64>;

/// The sidecar's own condition.
#[derive(Debug, Default)]
pub struct Condition {
    restarts: Restarts,
    degraded: Mutex<BTreeMap<Degraded, String>>,
    refusal: Mutex<Option<String>>,
}

impl Condition {
    /// After so many restarts.
    pub fn after(restarts: Restarts) -> Self {
        Self {
            restarts,
            ..Self::default()
        }
    }

    /// From now on it does without this. The log says so, as an error.
    pub fn degrade(&self, what: Degraded, why: impl Into<String>) {
        let why = why.into();
        tracing::error!(reason = what.name(), "degraded: {why}");
        self.degraded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(what, why);
    }

    /// It no longer does without this.
    pub fn recover(&self, what: Degraded) {
        self.degraded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&what);
    }

    /// What it does without now, each with its reason for people.
    pub fn degraded(&self) -> BTreeMap<Degraded, String> {
        self.degraded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same on one line; nothing if all is well.
    pub fn line(&self) -> Option<String> {
        let all: Vec<_> = self.degraded().into_values().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Says whether traffic is refused or hangs because of this sidecar, and why: then it is not ready.
    pub fn refuse(&self, why: Option<String>) {
        if let Some(why) = &why {
            tracing::error!("{why}");
        }
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why traffic is refused or hangs, if it does.
    pub fn refusal(&self) -> Option<String> {
        self.refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Restarts for this reason.
    pub fn restarts(&self, reason: Restart) -> u64 {
        self.restarts.get(&reason).copied().unwrap_or_default()
    }
}
