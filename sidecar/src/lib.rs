//! The sidecar: accepts redirected connections, relays their bytes exactly and hands a copy to the decoders.
//!
//! The life of a connection reads top to bottom through these modules:
//! [`listen`] → [`original`] → [`dial`] → [`relay`] → [`observe`] → records → export; [`connection`] strings them
//! together and [`worker`] runs them, one single-threaded runtime a core. Where nothing is redirected, [`tap`] feeds the
//! decoders instead. [`app`] wires everything at start; where connections depend on the
//! sidecar, `supervisor` keeps its sockets and starts it anew after a crash.

pub mod addresses;
pub mod admin;
pub mod app;
pub mod backlog;
pub mod clients;
pub mod clock;
pub mod condition;
pub mod connection;
pub mod dial;
pub mod dns;
pub mod drain;
pub mod flows;
pub mod identity;
pub mod kept;
pub mod legs;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod mode;
pub mod observe;
pub mod original;
pub mod own;
pub mod ports;
pub mod privilege;
pub mod probe;
pub mod relay;
pub mod seldom;
pub mod socket;
pub mod source;
mod supervisor;
pub mod tap;
pub mod tcp_info;
pub mod turn;
pub mod unreached;
pub mod waiting;
pub mod worker;
