//! Packets to documents: made by hand with an independent encoder, from files, and from captures of others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that goes wrong"
)]

mod calls;
mod corpus;
mod datagrams;
mod dns_odd;
mod documents;
mod dubbo_odd;
mod files;
mod flows;
mod links;
mod linktypes;
mod losses;
mod names;
mod networks;
mod odd_http;
mod order;
mod pins;
mod prefaces;
mod receiver;
mod robust;
mod roles;
mod support;
mod tunnels;
mod wraps;
