//! `weir-init`: the privileged, short-lived step that redirects one network namespace's traffic to the sidecar.
//!
//! The way goes from left to right. A [`plan`] is made from the configuration, without I/O: the rules of each
//! address family as a [`ruleset`], and the [`routes`] that its mode needs. [`apply`] compares it with what is
//! in force, lets a [`backend`] (iptables, nft or legacy) carry out the difference, and undoes all of it if a part
//! fails. [`check`] proves the result by real connections.
//!
//! The restore binaries are called directly rather than through the `iptables` crate, because that one calls the
//! `iptables` binary once a rule: only `iptables-restore` changes a whole table at once, so that no connection ever
//! meets half of the rules.
#![forbid(unsafe_code)]

pub mod apply;
pub mod attached;
pub mod auto;
pub mod backend;
pub mod check;
pub mod connections;
pub mod description;
pub mod ebpf;
pub mod error;
pub mod family;
pub mod host;
pub mod lock;
pub mod looking;
pub mod modes;
pub mod nftables;
pub mod open;
pub mod plan;
pub mod port_map;
pub mod privilege;
pub mod routes;
pub mod ruleset;
pub mod tc;
pub mod trial;

pub use error::Error;
pub use family::Family;
pub use plan::Plan;
