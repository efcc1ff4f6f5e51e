//! Elasticsearch 7.10 and later, and OpenSearch.
use crate::{
    ExportError,
    batch::Doc,
    runner::{Appetite, Failure, FailureKind, Sink, Verdict},
    stop::Stop,
};
use std::sync::Arc;
pub(crate) const KIND: &str = "elasticsearch";
pub(crate) struct Elasticsearch;
impl Elasticsearch {
    pub(crate) fn open(_: &weir_config::Elasticsearch, _: Arc<Stop>) -> Result<Self, ExportError> {
        Ok(Self)
    }
}
impl Sink for Elasticsearch {
    fn appetite(&self) -> Appetite {
        Appetite {
            bytes: 1 << 20,
            wait: std::time::Duration::ZERO,
        }
    }
    fn deliver(&mut self, _: &[Doc], _: &mut [Verdict]) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Slow, "todo"))
    }
}
