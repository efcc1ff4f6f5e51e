//! A text out of which secrets are taken from its beginning to its end.

use super::REDACTED;
use std::{borrow::Cow, ops::Range};

/// A text, and what has become of it so far.
pub(super) struct Edit<'a> {
    text: &'a [u8],
    clean: Vec<u8>,
    done: usize,
}

impl<'a> Edit<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            clean: Vec::new(),
            done: 0,
        }
    }

    /// Replaces what stands here; what stands before it was replaced before.
    pub fn replace(&mut self, range: Range<usize>) {
        if let Some(kept) = self.text.get(self.done..range.start)
            && range.end > range.start
        {
            self.clean.extend_from_slice(kept);
            self.clean.extend_from_slice(REDACTED.as_bytes());
            self.done = range.end;
        }
    }

    /// The text without what was replaced, if anything was.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.done == 0 {
            return None;
        }
        self.clean.extend_from_slice(&self.text[self.done..]);
        Some(self.clean)
    }
}

/// Puts what a step has made of a text in its place.
pub(super) fn apply(text: &mut Cow<'_, [u8]>, step: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
    if let Some(clean) = step(text) {
        *text = Cow::Owned(clean);
    }
}
