//! HTTP/2, gRPC and Triple through Weir, with real peers: curl, h2load and nginx, nghttp and nghttpx for connections that
//! begin as HTTP/1.1; gRPC's own client and server, and those of Dubbo for Python.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

#[path = "http2/grpc.rs"]
mod grpc;
#[path = "http2/triple.rs"]
mod triple;
#[path = "http2/upgrade.rs"]
mod upgrade;
#[path = "http2/web.rs"]
mod web;

use serde_json::Value;
use std::path::{Path, PathBuf};
use weir_tests::stage::{
    Direction::{Inbound, Outbound},
    Family::{V4, V6},
    Mode::{Ebpf, Redirected, Tap},
    Stage, Weight, play,
};
use weir_tests::weir::wait_for;

/// Runs a case in both directions.
fn in_both_directions(name: &str, case: impl Fn(&Stage)) {
    for combination in [
        (Redirected, Inbound, V4),
        (Redirected, Outbound, V6),
        (Ebpf, Inbound, V6),
        (Ebpf, Outbound, V4),
        (Tap, Inbound, V4),
        (Tap, Outbound, V6),
    ] {
        play(name, Weight::Light, combination, &case);
    }
}

/// Python with a package: `scripts/setup test` installs it in `.cache/NAME`; `WEIR_NAME_PYTHON` names another.
fn python(test: &str, name: &str) -> Option<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache");
    let own = cache.join(name).join("bin/python");
    let variable = format!("WEIR_{}_PYTHON", name.to_uppercase());
    let python = std::env::var_os(variable).map_or(own, PathBuf::from);
    if python.exists() {
        return Some(python);
    }
    eprintln!(
        "SKIPPED {test}: there is no {} (scripts/setup test)",
        python.display()
    );
    None
}

/// The documents of exchanges over HTTP/2, once there are so many, in the order in which they began.
fn documents(stage: &Stage, count: usize) -> Vec<Value> {
    let sidecar = stage.sidecar.as_ref().unwrap();
    let seen = || -> Vec<Value> {
        let all = sidecar.documents().into_iter();
        all.filter(|document| document["http"]["version"] == "2")
            .collect()
    };
    wait_for(&format!("{count} documents"), || seen().len() >= count);
    let mut seen = seen();
    assert_eq!(seen.len(), count);
    // (Connections end, and their documents come, in any order.)
    seen.sort_by_key(|document| document["@timestamp"].to_string());
    seen
}
