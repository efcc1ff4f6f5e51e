//! Real Dubbo peers across the relay, Java's own and dubbo2.js as a consumer of Java's provider: their documents say what the
//! consumer says of its calls.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests end where something is not as it should be.

#[path = "../../protocols/tests/dubbo/expected.rs"]
mod expected;

use serde_json::Value;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use weir_lab::{Lab, Node};
use weir_tests::weir::{Sidecar, install, wait_for};

const PORT: u16 = 20880;
/// Longest start of a Java program, or run of the consumer.
const PATIENCE: Duration = Duration::from_secs(120);
/// 44 calls of Java's consumer and two of its provider's.
const CALLS_OF_JAVA: usize = 46;
/// 19 calls of dubbo2.js in either version of the protocol.
const CALLS_OF_NODE: usize = 38;

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Consumer {
    /// Of the provider's version.
    Java,
    /// dubbo2.js.
    Node,
}

/// Where peers are, once they are fetched and compiled.
fn prepared(peer: &str) -> Result<PathBuf, String> {
    let output = Command::new(here().join("prepare"))
        .arg(peer)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let cache = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(cache.trim()).join(peer))
}

/// The sources of the peers.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dubbo-peers")
}

/// Where the provider's part and the consumer's are.
fn both(version: &str, consumer: Consumer) -> Result<[PathBuf; 2], String> {
    let provider = prepared(version)?;
    let consumer = match consumer {
        Consumer::Java => provider.clone(),
        Consumer::Node => prepared("dubbo2.js")?,
    };
    Ok([provider, consumer])
}

fn node(node: &Node, peers: &Path, provider: SocketAddr) -> Command {
    let mut command = node.command("node");
    command
        .env("NODE_PATH", peers.join("node_modules"))
        .arg(here().join("node/consumer.js"))
        .arg(provider.to_string());
    command
}

fn java(node: &Node, peers: &Path, host: &str, serialization: &str, class: &str) -> Command {
    let mut command = node.command("java");
    command
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .args([
            "-Djava.net.preferIPv4Stack=true",
            "-Ddubbo.application.serialize-check-status=WARN",
        ])
        .args(["--add-opens", "java.base/java.lang=ALL-UNNAMED"])
        .args(["--add-opens", "java.base/java.math=ALL-UNNAMED"])
        .arg(format!(
            "-Djava.util.logging.config.file={}/classes/logging.properties",
            peers.display()
        ))
        .arg(format!("-Dlab.host={host}"))
        .arg(format!("-Dlab.port={PORT}"))
        .arg(format!("-Dlab.serialization={serialization}"))
        .arg("-cp")
        .arg(format!("{0}/classes:{0}/lib/*", peers.display()))
        .arg(class);
    command
}

/// Every call of the peers through the relay, the provider in the pod or the consumer.
fn across_the_relay(
    test: &str,
    (version, consumer): (&str, Consumer),
    serialization: &str,
    mode: &str,
    provider_in_pod: bool,
) {
    if weir_lab::skip_unless_root(test) {
        return;
    }
    let [peers, others] = match both(version, consumer) {
        Ok(both) => both,
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{test}: {reason}"),
        Err(reason) => return eprintln!("SKIPPED {test}: {reason}"),
    };
    let mut lab = Lab::new("dubbo").unwrap();
    let (outside, pod) = (lab.node("outside").unwrap(), lab.node("pod").unwrap());
    let link = lab.join(&outside, &pod).unwrap();
    let settings = tempfile::NamedTempFile::new().unwrap();
    // The consumer tells of 70 000 bytes and of 94 500.
    std::fs::write(
        &settings,
        "records: {max_value: 200000, max_header_value: 200000, max_values: 100000}\n",
    )
    .unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(settings.path(), readable).unwrap();
    if mode != "tap" {
        install(&pod, &["--mode", mode]).unwrap();
    }
    let flags = ["--mode", mode, "--config", settings.path().to_str().unwrap()];
    let mut sidecar = Sidecar::start(&pod, &flags).unwrap();

    let (provider, caller, address) = match provider_in_pod {
        true => (&pod, &outside, link.b.at(PORT)[0]),
        false => (&outside, &pod, link.a.at(PORT)[0]),
    };
    let host = address.ip().to_string();
    let mut running = provider
        .spawn(java(provider, &peers, &host, serialization, "lab.Provider"))
        .unwrap();
    wait_for("the provider is ready", || running.output().contains("READY"));
    let (calls_made, command) = match consumer {
        Consumer::Java => (
            CALLS_OF_JAVA,
            java(caller, &others, &host, serialization, "lab.Consumer"),
        ),
        Consumer::Node => (CALLS_OF_NODE, node(caller, &others, address)),
    };
    let said = caller
        .run(command)
        .unwrap_or_else(|error| panic!("{error}\nthe provider: {}", running.output()));
    running.terminate(PATIENCE).unwrap();

    let calls = || -> Vec<Value> {
        let documents = sidecar.documents().into_iter();
        documents
            .filter(|document| document["event"]["dataset"] == "weir.dubbo")
            .collect()
    };
    wait_for("every call has its document", || calls().len() >= calls_made);
    let documents = calls();
    match consumer {
        Consumer::Java => expected::check(&documents, &said, serialization),
        Consumer::Node => {
            assert_eq!(said.lines().count(), CALLS_OF_NODE);
            let others = expected::others(&documents, &said, serialization);
            assert_eq!(others, Vec::<&Value>::new());
        }
    }
    let direction = if provider_in_pod { "ingress" } else { "egress" };
    for document in &documents {
        assert_eq!(document["network"]["direction"], direction, "{document:#}");
        let anomalies = document["weir"]["anomalies"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert_eq!(anomalies, expected::anomalies(document), "{document:#}");
        assert_eq!(document["weir"].get("truncated"), None, "{document:#}");
    }
    assert!(
        consumer == Consumer::Node || sidecar.metric("weir_events_total", &[]) > 0,
        "Java's heartbeats are counted"
    );
    sidecar.assert_well();
}

#[test]
fn dubbo_2_7_over_hessian2_into_the_pod() {
    across_the_relay(
        "dubbo_2_7_over_hessian2_into_the_pod",
        ("dubbo27", Consumer::Java),
        "hessian2",
        "redirect",
        true,
    );
}

#[test]
fn dubbo_3_over_fastjson2_out_of_the_pod() {
    across_the_relay(
        "dubbo_3_over_fastjson2_out_of_the_pod",
        ("dubbo3", Consumer::Java),
        "fastjson2",
        "tproxy",
        false,
    );
}

#[test]
fn dubbo_3_over_hessian2_into_the_pod() {
    across_the_relay(
        "dubbo_3_over_hessian2_into_the_pod",
        ("dubbo3", Consumer::Java),
        "hessian2",
        "redirect",
        true,
    );
}

#[test]
fn dubbo_2_7_over_hessian2_out_of_a_pod_that_is_only_looked_at() {
    across_the_relay(
        "dubbo_2_7_over_hessian2_out_of_a_pod_that_is_only_looked_at",
        ("dubbo27", Consumer::Java),
        "hessian2",
        "tap",
        false,
    );
}

#[test]
fn dubbo_3_over_fastjson2_into_a_pod_that_is_only_looked_at() {
    across_the_relay(
        "dubbo_3_over_fastjson2_into_a_pod_that_is_only_looked_at",
        ("dubbo3", Consumer::Java),
        "fastjson2",
        "tap",
        true,
    );
}

#[test]
fn dubbo2_js_into_the_pod() {
    across_the_relay(
        "dubbo2_js_into_the_pod",
        ("dubbo27", Consumer::Node),
        "hessian2",
        "ebpf",
        true,
    );
}

#[test]
fn dubbo2_js_out_of_the_pod() {
    across_the_relay(
        "dubbo2_js_out_of_the_pod",
        ("dubbo27", Consumer::Node),
        "hessian2",
        "redirect",
        false,
    );
}
