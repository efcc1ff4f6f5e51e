//! What the end-to-end tests share: the stage (namespaces, Weir in them) and the peers that talk across it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

pub mod many;
pub mod peer;
pub mod search;
pub mod stage;
pub mod weir;

/// The running kernel's version, such as (5, 10).
pub fn kernel() -> (u32, u32) {
    let name = nix::sys::utsname::uname().unwrap();
    let release = name.release().to_str().unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}
