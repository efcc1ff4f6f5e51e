//! What Weir exports: the document's types with their field names, the identity of a document, redaction.
//!
//! A decoder (left of here) builds a [`Document`] from an exchange and the [`Flow`] it was seen on, under a [`Policy`];
//! a sink (right of here) writes it. The field reference and the Elasticsearch mapping are generated from these types.
#![forbid(unsafe_code)]

pub mod datakit;
mod document;
mod flow;
mod headers;
mod id;
mod json;
mod names;
mod octets;
pub mod pipy;
mod policy;
mod report;
pub mod schema;
mod swar;
mod time;
mod wrapping;
mod writer;

pub use document::*;
pub use flow::{Capture, Direction, Flow};
pub use headers::Headers;
pub use id::DocumentId;
pub use json::{Bounds, Builder, Json, Name, Place};
pub use names::Names;
pub use octets::Octets;
pub use policy::{Policy, REDACTED, Text};
pub use report::{FlowEnd, Party, Progress, Report, Reported, Sent};
pub use time::Timestamp;
pub use wrapping::{Tunnel, TunnelKind, Tunnels, Wrapping};
pub use writer::{Unwritable, write_json};
