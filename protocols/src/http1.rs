//! HTTP/1.x (RFC 9112).

use weir_records::{Document, Flow, Policy};

/// A request and its response.
#[derive(Clone, Debug)]
pub struct Exchange {}

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let _ = (flow, policy);
        unimplemented!()
    }
}
