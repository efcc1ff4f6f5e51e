//! `weir demo` as its users run it: what it shows, and that it leaves nothing behind, however it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure here is a failed test"
)]

#[path = "demo/elasticsearch.rs"]
mod elasticsearch;
#[path = "demo/run.rs"]
mod run;

use elasticsearch::Elasticsearch;
use nix::sys::signal::Signal;
use run::{Demo, Running, get, namespaces_of, processes_of, table};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    io::BufRead,
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Output},
};
use tempfile::TempDir;
use weir_lab::{binary, skip_unless_root};

/// The last line of a held demo's invitation.
const HELD: &str = "  all documents:";
/// The password that the demo sends.
const SECRET: &str = "correct-horse";

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn shows_requests_of_both_directions_and_families_and_leaves_nothing() {
    if skip_unless_root("shows_requests_of_both_directions_and_families_and_leaves_nothing") {
        return;
    }
    let text = stdout(&Demo::new(&[]).run());
    let lines = table(&text);
    for (direction, v6) in [("in", false), ("in", true), ("out", false), ("out", true)] {
        let found = lines
            .iter()
            .any(|line| line.direction == direction && line.v6 == v6);
        assert!(found, "{direction}, IPv6 {v6}: {text}");
    }
    for (direction, method, target, statuses) in [
        ("in", "GET", "/", &["200", "200"][..]),
        ("in", "HEAD", "/", &["200"]),
        ("in", "GET", "/nowhere", &["404"]),
        ("in", "POST", "/orders", &["201", "201"]),
        ("in", "GET", "/broken", &["503"]),
        ("in", "GET", "/checkout", &["202"]),
        ("out", "GET", "/v1/payments", &["202"]),
        ("out", "GET", "/v2/price", &["404"]),
    ] {
        let same = |line: &&run::Line| {
            (&*line.direction, &*line.method, &*line.target) == (direction, method, target)
        };
        let found: Vec<_> = lines.iter().filter(same).map(|line| &line.status).collect();
        assert_eq!(found, statuses, "{direction} {method} {target}: {text}");
    }
    let hosts: BTreeSet<_> = lines.iter().map(|line| line.host.as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["bank.example", "shop.example"]), "{text}");
    let login = lines
        .iter()
        .find(|line| line.target.starts_with("/login?user=ada"));
    assert_eq!(login.unwrap().status, "302", "{text}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(text.contains("weir demo --keep"), "{text}");
}

#[test]
fn kept_documents_are_a_store_for_tail() {
    if skip_unless_root("kept_documents_are_a_store_for_tail") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("demo.db");
    let keep = ["--keep", file.to_str().unwrap()];
    let text = stdout(&Demo::new(&keep).run());
    let tail = text.lines().last().unwrap().trim();
    assert_eq!(tail, format!("weir tail --store {} --no-follow", file.display()));
    let mut command = Command::new(binary("weir").unwrap());
    command
        .args(tail.split_whitespace().skip(1))
        .args(["--limit", "100"]);
    let shown = stdout(&command.output().unwrap());
    assert_eq!(table(&shown).len(), table(&text).len());
    assert!(!String::from_utf8_lossy(&fs::read(&file).unwrap()).contains(SECRET));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);

    let again = Demo::new(&keep).run();
    assert!(stderr(&again).contains("there already"), "{again:?}");
}

#[test]
fn an_interrupt_in_the_middle_leaves_nothing() {
    if skip_unless_root("an_interrupt_in_the_middle_leaves_nothing") {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut demo = Demo::new(&[]);
        let running = demo.start_until("Two network namespaces");
        let pid = running.pid();
        assert_eq!(namespaces_of(pid).len(), 2);
        running.signal(signal);
        let (code, said) = running.end();
        assert!(
            code == Some(130) && said.contains("interrupted"),
            "{signal}: {code:?} {said}"
        );
        demo.assert_nothing_is_left(pid);
    }
}

#[test]
fn a_held_demo_shows_further_requests_until_ctrl_c() {
    if skip_unless_root("a_held_demo_shows_further_requests_until_ctrl_c") {
        return;
    }
    let mut demo = Demo::new(&["--hold"]);
    let mut running = demo.start_until(HELD);
    let pid = running.pid();
    get(
        &running.client(),
        (Ipv4Addr::new(198, 18, 0, 2), 8080),
        "/by-hand",
    )
    .unwrap();
    let mut line = String::new();
    while !line.contains("/by-hand") {
        line.clear();
        assert!(
            running.stdout.read_line(&mut line).unwrap() > 0,
            "the demo ended early"
        );
    }
    running.signal(Signal::SIGINT);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    demo.assert_nothing_is_left(pid);
}

#[test]
fn a_reader_that_goes_away_leaves_nothing() {
    if skip_unless_root("a_reader_that_goes_away_leaves_nothing") {
        return;
    }
    let mut demo = Demo::new(&["--hold"]);
    let Running { mut child, stdout } = demo.start_until(HELD);
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    demo.assert_nothing_is_left(child.id());
}

/// A directory with the real programs, but for one that says something and fails.
fn programs_with_a_broken(name: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for program in ["weir-init", "weir-sidecar"] {
        std::os::unix::fs::symlink(binary(program).unwrap(), directory.path().join(program)).unwrap();
    }
    let broken = directory.path().join(name);
    fs::remove_file(&broken).unwrap();
    fs::write(&broken, "#!/bin/sh\necho no river today >&2\nexit 3\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn a_part_that_fails_is_shown_and_leaves_nothing() {
    if skip_unless_root("a_part_that_fails_is_shown_and_leaves_nothing") {
        return;
    }
    for name in ["weir-init", "weir-sidecar"] {
        let programs = programs_with_a_broken(name);
        let mut demo = Demo::new(&[]);
        demo.command.env("WEIR_BIN_DIR", programs.path());
        let output = demo.run();
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains(name) && error.contains("no river today"),
            "{error}"
        );
    }
}

#[test]
fn a_sidecar_that_dies_ends_a_held_demo() {
    if skip_unless_root("a_sidecar_that_dies_ends_a_held_demo") {
        return;
    }
    let mut demo = Demo::new(&["--hold"]);
    let running = demo.start_until(HELD);
    let pid = running.pid();
    let programs = processes_of(demo.temporary.path());
    let (sidecar, _) = programs
        .iter()
        .find(|(_, line)| line.contains("weir-sidecar"))
        .unwrap();
    nix::sys::signal::kill(*sidecar, Signal::SIGKILL).unwrap();
    let (code, said) = running.end();
    assert!(
        code == Some(1) && said.contains("weir-sidecar ended with signal: 9"),
        "{code:?} {said}"
    );
    demo.assert_nothing_is_left(pid);
}

#[test]
fn what_a_killed_demo_left_is_swept_by_the_next() {
    if skip_unless_root("what_a_killed_demo_left_is_swept_by_the_next") {
        return;
    }
    let mut demo = Demo::new(&["--hold"]);
    let running = demo.start_until(HELD);
    let pid = running.pid();
    running.signal(Signal::SIGKILL);
    running.child_ended();
    assert_eq!(namespaces_of(pid).len(), 2);
    let mut next = Demo::new(&[]);
    // The same directory for temporary files, as two runs of one user have.
    next.command.env("TMPDIR", demo.temporary.path());
    stdout(&next.run());
    assert_eq!(namespaces_of(pid), Vec::<String>::new());
    assert_eq!(processes_of(demo.temporary.path()), []);
    let names = fs::read_dir(demo.temporary.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    let left: Vec<_> = names
        .filter(|name| name.to_string_lossy().starts_with("weir-demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn without_root_it_says_so() {
    if skip_unless_root("without_root_it_says_so") {
        return;
    }
    // Where everybody may reach it.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("weir");
    fs::copy(binary("weir").unwrap(), &program).unwrap();
    let mut command = Command::new(program);
    command.arg("demo").uid(65534).gid(65534).current_dir("/");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("need root"), "{output:?}");
}

#[test]
fn a_wrong_sink_is_refused_before_anything_is_built() {
    for sink in ["kafka:x", "none"] {
        let mut command = Command::new(binary("weir").unwrap());
        let output = command.args(["demo", "--export", sink]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn the_documents_are_found_in_elasticsearch() {
    if skip_unless_root("the_documents_are_found_in_elasticsearch") {
        return;
    }
    let ip = Ipv4Addr::new(198, 18, 0, 1);
    let mut demo = Demo::new(&["--hold", "--export", &format!("elasticsearch:http://{ip}:9200")]);
    let running = demo.start_until(HELD);
    let pid = running.pid();
    // It starts after the requests: their documents have waited for it.
    let server = Elasticsearch::start(&running.client(), ip);
    let by = |path: &str, status: u16, number: usize| {
        let terms = json!([{"term": {"url.path": path}}, {"term": {"http.response.status_code": status}}]);
        server.search(&json!({"query": {"bool": {"filter": terms}}}), number)
    };
    let broken = by("/broken", 503, 1);
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert_eq!(broken[0]["network"]["direction"], "ingress");
    assert_eq!(broken[0]["network"]["type"], "ipv6");
    let payments = by("/v1/payments", 202, 2);
    assert_eq!(payments.len(), 2, "{payments:?}");
    assert!(
        payments
            .iter()
            .all(|document| document["network"]["direction"] == "egress")
    );
    drop(server);
    running.signal(Signal::SIGINT);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    demo.assert_nothing_is_left(pid);
}
