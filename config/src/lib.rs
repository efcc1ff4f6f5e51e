//! One configuration for all of Weir's programs.
//!
//! A value comes from, in rising precedence: the built-in default, the YAML file, a `WEIR_*` variable, a flag.
//! The sections are plain data ([`Interception`], [`Relay`], [`Decoding`], [`Capture`], [`Records`], [`Sink`]); the flags that
//! set them live in [`args`], so that `weir-init` and `weir-sidecar` spell a setting the same way.
#![forbid(unsafe_code)]

pub mod args;
mod capture;
mod error;
mod failure;
mod flows;
mod interception;
mod layout;
mod list;
mod load;
mod names;
mod pins;
pub mod probe;
mod records;
mod relay;
mod resolv;
mod sinks;
mod value;

pub use capture::{Bodies, Capture, MediaRange};
pub use error::ConfigError;
pub use failure::OnFailure;
pub use flows::Flows;
pub use interception::{Interception, MissingProxy, Mode, ROUTE_PROTOCOL, SPARE_V4, SPARE_V6};
pub use layout::Layout;
pub use list::{Cidrs, Interfaces, MappedPort, PortMap, Ports, Servers};
pub use load::{Config, load, parse};
pub use names::NamePattern;
pub use pins::{Pinned, Pins};
pub use records::{Decoding, Records};
pub use relay::{Relay, SourceAddress};
pub use sinks::{Datakit, Elasticsearch, Export, Lines, Ndjson, Points, Secret, Sink, Sqlite};
pub use value::{Bytes, Period};
