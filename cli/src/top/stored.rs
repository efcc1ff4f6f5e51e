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
        let since = window.begin(now);
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
