//! The last rung of `weir-init install --mode auto`: where nothing may be redirected, to look.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::process::Command;
use weir_lab::{Node, binary, skip_unless_root};
use weir_tests::{
    peer::{connect, converse, listen},
    stage::{Direction::Inbound, Family::V4, Mode::Direct, Stage},
    weir::{Sidecar, init, wait_for},
};

const PORT: u16 = 8080;
const NO_NET_ADMIN: &str = "-net_admin,-sys_admin,-bpf,-perfmon";
const NO_NET_RAW_EITHER: &str = "-net_admin,-sys_admin,-bpf,-perfmon,-net_raw";
const NO_BPF: &str = "-sys_admin,-bpf,-perfmon";

/// A program without some capabilities.
fn without(node: &Node, capabilities: &str, program: &str) -> Command {
    let mut command = node.command("setpriv");
    command.args(["--bounding-set", capabilities, "--inh-caps", "-all"]);
    command.arg(binary(program).unwrap());
    command
}

/// How `weir-init` ended, and what it wrote.
fn run(mut command: Command, arguments: &[&str]) -> (bool, String) {
    let output = command.args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn rules(node: &Node) -> String {
    let mut all = String::new();
    for program in ["iptables-save", "ip6tables-save"] {
        all += &node.run(node.command(program)).unwrap();
    }
    all += &node.ip("rule").unwrap();
    all += &node.ip("route show table all").unwrap();
    // Link-local addresses come when they have been found to be free; comments have the time.
    let lines = all
        .lines()
        .filter(|line| !line.contains("fe80:") && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn where_nothing_may_be_redirected_auto_looks() {
    if skip_unless_root("where_nothing_may_be_redirected_auto_looks") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let before = rules(&stage.pod);
    let auto = |capabilities: &str, verb: &str| {
        run(
            without(&stage.pod, capabilities, "weir-init"),
            &[verb, "--mode", "auto"],
        )
    };
    let (done, said) = auto(NO_NET_ADMIN, "install");
    assert!(done, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in [
        "mode tap",
        "ebpf, tproxy and redirect: no privilege",
        "CAP_NET_ADMIN",
        "nothing is held",
        "TLS stays closed",
        "may be missed",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(rules(&stage.pod), before);
    let (done, said) = auto(NO_NET_ADMIN, "check");
    assert!(done && said.contains("ok         packets"), "{said}");
    let (done, said) = auto(NO_NET_ADMIN, "remove");
    assert!(done && said.contains("nothing was installed here"), "{said}");
    // What was asked for by name is not replaced by less.
    for mode in ["redirect", "tproxy", "ebpf"] {
        let command = without(&stage.pod, NO_NET_ADMIN, "weir-init");
        let (done, said) = run(command, &["install", "--mode", mode]);
        assert!(!done && said.contains("CAP_NET_ADMIN is missing"), "{said}");
    }

    let command = without(&stage.pod, NO_NET_ADMIN, "weir-sidecar");
    let sidecar = Sidecar::start_by(&stage.pod, command, &["--mode", "auto"]).unwrap();
    let listener = listen(&stage.pod, stage.server(PORT));
    let client = connect(&stage.client, stage.server(PORT)).unwrap();
    let server = weir_tests::peer::accept(&listener);
    converse(&client, &server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    converse(&server, &client, b"HTTP/1.1 204 No Content\r\n\r\n");
    wait_for("the request's document", || !sidecar.documents().is_empty());
    assert_eq!(sidecar.documents()[0]["weir"]["capture"], "tap");
}

#[test]
fn every_rung_that_failed_is_named_with_its_reason() {
    if skip_unless_root("every_rung_that_failed_is_named_with_its_reason") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let before = rules(&stage.pod);
    // It may change the network, but has neither BPF nor iptables.
    let install = |capabilities: &str| {
        let mut command = stage.pod.command("setpriv");
        command.args(["--bounding-set", capabilities, "--inh-caps", "-all"]);
        command
            .args(["env", "PATH=/nonexistent"])
            .arg(binary("weir-init").unwrap());
        run(command, &["install", "--mode", "auto"])
    };
    let (done, said) = install(NO_BPF);
    assert!(done, "{said}");
    let last = said.lines().last().unwrap();
    for word in [
        "mode tap",
        "ebpf:",
        "CAP_BPF",
        "tproxy: it needs a sidecar with NET_RAW",
        "redirect: none of",
        "nothing is held",
    ] {
        assert!(last.contains(word), "{word}: {said}");
    }
    assert_eq!(rules(&stage.pod), before);
    let (done, said) = install(&format!("{NO_BPF},-net_raw"));
    assert!(
        !done && said.contains("tap: no packet socket") && said.contains("NET_RAW"),
        "{said}"
    );
    assert_eq!(rules(&stage.pod), before);
}

#[test]
fn it_fails_closed_where_packets_can_not_be_seen_or_something_is_in_force() {
    if skip_unless_root("it_fails_closed_where_packets_can_not_be_seen_or_something_is_in_force") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let auto = |capabilities: &str, verb: &str| {
        run(
            without(&stage.pod, capabilities, "weir-init"),
            &[verb, "--mode", "auto"],
        )
    };
    let (done, said) = auto(NO_NET_RAW_EITHER, "install");
    assert!(!done && said.contains("no way to redirect works here"), "{said}");
    assert!(
        said.contains("CAP_NET_ADMIN") && said.contains("NET_RAW"),
        "{said}"
    );
    let (done, said) = auto(NO_NET_RAW_EITHER, "check");
    assert!(!done && said.contains("failed     packets"), "{said}");
    // With the privilege, nothing in force is a failed check: it may be that nobody has installed anything.
    assert!(init(&stage.pod, "check", &["--mode", "auto"]).is_err());
    init(&stage.pod, "install", &["--mode", "redirect"]).unwrap();
    let before = rules(&stage.pod);
    for verb in ["install", "check", "remove"] {
        let (done, said) = auto(NO_NET_ADMIN, verb);
        assert!(
            !done && said.contains("CAP_NET_ADMIN is missing"),
            "{verb}: {said}"
        );
    }
    assert_eq!(rules(&stage.pod), before);
}
