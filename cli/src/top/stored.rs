//! Requests from the embedded store.

use super::{Source, sample::Seen, window::Window};
use crate::{
    signals::{Signals, Wake},
    store::Store,
    tap,
};
use anyhow::Result;
use std::{path::Path, time::Duration};
use weir_records::Timestamp;

/// What began longer than this before the window is not looked for in what was stored before: neither requests that lasted so
/// long, nor such that wait.
const BEFORE: u64 = 600 * 1_000_000_000;

/// A store, read as it grows.
pub struct Stored {
    store: Store,
}

impl Stored {
    /// Opens it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            store: Store::open(path)?,
        })
    }
}

impl Source for Stored {
    fn gather(&mut self, signals: &Signals, patience: Duration, window: &mut Window) -> Result<bool> {
        let wake = signals.wait(patience)?;
        let now = tap::now();
        window.forget(now);
        let since = Timestamp(window.begin(now).0.saturating_sub(BEFORE));
        self.store
            .exchanges(since, &mut |at: Timestamp, document: &str| {
                // What is stored was written as a document.
                if let Ok(seen) = Seen::of_stored(document) {
                    window.add(at, &seen, now);
                }
            })?;
        Ok(wake == Wake::Timeout)
    }

    fn name(&self) -> &'static str {
        "store"
    }
}
