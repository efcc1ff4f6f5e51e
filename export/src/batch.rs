//! Serialised documents on their way to the sinks: one block of text that all sinks of a layout share.

use crate::queue::Lease;
use std::{ops::Range, sync::Arc};
use weir_config::Layout;
use weir_records::{Document, DocumentId, datakit::Point, pipy, write_json};

/// A batch is handed over when its text has reached this size. Large enough that a hand-over, which wakes the sink's thread
/// where the application may have wanted the processor, costs nothing a document (of 64 KiB it was a twelfth of what the tap
/// takes, of more than this it is no less); small enough that it stays in the cache between serialising and writing.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// What a sink must know of a document without reading its text.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its line ends in the text.
    end: usize,
    id: u128,
    /// `@timestamp` in ns since the epoch.
    time: u64,
    kind: &'static str,
}

/// Documents as JSON, or points as line protocol, one a line.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    layout: Layout,
    text: Vec<u8>,
    entries: Vec<Entry>,
}

/// What became of a document that was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is there.
    Taken,
    /// It has no place in the layout.
    LeftOut,
    /// It can't be serialised.
    Unserialisable,
}

impl Batch {
    /// An empty one for documents of this layout.
    pub(crate) fn of(layout: Layout) -> Self {
        Self {
            layout,
            ..Self::default()
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Appends a document, or nothing.
    pub(crate) fn push(&mut self, document: &Document) -> Pushed {
        match self.layout {
            Layout::Ecs => self.write(document, document.event.dataset, document),
            Layout::Pipy => match pipy::shape(document) {
                Some(shape) => self.write(document, shape.index().name(), &shape),
                None => Pushed::LeftOut,
            },
            // Its points are each of many documents: see `Batch::push_point`.
            Layout::Datakit => Pushed::LeftOut,
        }
    }

    /// Appends a point.
    pub(crate) fn push_point(&mut self, point: &Point) {
        let start = self.text.len();
        point.write(&mut self.text);
        self.entries.push(Entry {
            end: self.text.len(),
            id: DocumentId::of(&&self.text[start..]).0,
            time: point.time.0,
            kind: point.measurement.name(),
        });
    }

    fn write(&mut self, document: &Document, kind: &'static str, shape: &impl serde::Serialize) -> Pushed {
        let start = self.text.len();
        if write_json(&mut self.text, shape).is_err() {
            self.text.truncate(start);
            return Pushed::Unserialisable;
        }
        self.text.push(b'\n');
        self.entries.push(Entry {
            end: self.text.len(),
            id: document.event.id.0,
            time: document.timestamp.0,
            kind,
        });
        Pushed::Taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.text.len() >= BATCH_BYTES
    }

    /// Number of documents.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Moves the documents out into a batch of just their size; the buffers stay for the next ones.
    pub(crate) fn take(&mut self) -> Self {
        let taken = Self {
            layout: self.layout,
            text: self.text.as_slice().to_vec(),
            entries: self.entries.as_slice().to_vec(),
        };
        self.text.clear();
        self.entries.clear();
        // One huge document must not hold its memory for ever.
        self.text.shrink_to(2 * BATCH_BYTES);
        taken
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].end);
        start..self.entries[index].end
    }
}

/// One document that waits in a sink's queue. The batch's memory is given back when its last one is gone.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    lease: Arc<Lease>,
    index: usize,
}

impl Doc {
    /// The documents of a batch.
    pub(crate) fn all(lease: Lease) -> impl Iterator<Item = Self> {
        let lease = Arc::new(lease);
        (0..lease.batch().len()).map(move |index| Self {
            lease: lease.clone(),
            index,
        })
    }

    fn entry(&self) -> &Entry {
        &self.lease.batch().entries[self.index]
    }

    pub(crate) fn id(&self) -> u128 {
        self.entry().id
    }

    /// `@timestamp` in ns since the epoch.
    pub(crate) fn time(&self) -> u64 {
        self.entry().time
    }

    /// Its `event.dataset`; in layout `pipy` the name of its index, in layout `datakit` that of the measurement.
    pub(crate) fn kind(&self) -> &'static str {
        self.entry().kind
    }

    /// Its JSON with the newline after it.
    pub(crate) fn line(&self) -> &[u8] {
        let batch = self.lease.batch();
        &batch.text[batch.range(self.index)]
    }

    /// Its JSON.
    pub(crate) fn json(&self) -> &str {
        let line = self.line();
        // serde_json writes UTF-8 only, so the empty default is never seen.
        std::str::from_utf8(&line[..line.len() - 1]).unwrap_or_default()
    }

    /// True if the other one's line follows at once in the same text.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lease, &other.lease) && self.index + 1 == other.index
    }

    /// The lines of consecutive documents of one batch (see [`Doc::precedes`]) as one piece.
    pub(crate) fn lines(run: &[Self]) -> &[u8] {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return &[];
        };
        let batch = first.lease.batch();
        &batch.text[batch.range(first.index).start..batch.range(last.index).end]
    }
}
