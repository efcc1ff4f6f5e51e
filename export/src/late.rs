//! A sink that its own thread opens. A full disk, a missing directory or certificate costs documents and never delays
//! whoever started the pipeline.

use crate::{
    ExportError,
    batch::Doc,
    runner::{Appetite, Failure, FailureKind, Sink, Verdict},
};
use std::{fmt, time::Duration};

/// Opens a sink; called again until it succeeds.
pub(crate) type Open = Box<dyn FnMut() -> Result<Box<dyn Sink>, ExportError> + Send>;

/// A sink, opened or still to be opened.
pub(crate) struct Late {
    open: Open,
    sink: Option<Box<dyn Sink>>,
}

impl Late {
    pub(crate) fn new(open: Open) -> Self {
        Self { open, sink: None }
    }

    fn opened(&mut self) -> Result<&mut Box<dyn Sink>, Failure> {
        let sink = match self.sink.take() {
            Some(sink) => sink,
            None => (self.open)().map_err(|error| Failure::new(FailureKind::Retry, error.to_string()))?,
        };
        Ok(self.sink.insert(sink))
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.sink.is_some() {
            "opened"
        } else {
            "not opened"
        };
        write!(f, "Late({state})")
    }
}

impl Sink for Late {
    fn appetite(&self) -> Appetite {
        let unknown = Appetite {
            bytes: 1 << 20,
            wait: Duration::ZERO,
        };
        self.sink.as_ref().map_or(unknown, |sink| sink.appetite())
    }

    fn prepare(&mut self) -> Result<(), Failure> {
        self.opened()?.prepare()
    }

    fn deliver(&mut self, documents: &[Doc], verdicts: &mut [Verdict]) -> Result<(), Failure> {
        self.opened()?.deliver(documents, verdicts)
    }

    fn tend(&mut self) -> Result<(), Failure> {
        self.opened()?.tend()
    }
}
