//! `weir top`: what it adds up is what was asked, from the store and from packets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    thread,
};
use tempfile::TempDir;
use weir_lab::{Process, binary, skip_unless_root};
use weir_tests::{
    peer::listen,
    stage::{
        Direction::Inbound,
        Family::{V4, V6},
        Mode::Direct,
        Stage,
    },
    weir::{LIMIT, Sidecar, wait_for},
};

const PORT: u16 = 8080;

/// Path, the status it is answered with, and how often it is asked.
const ASKED: [(&str, u16, u64); 4] = [("/a", 200, 7), ("/b", 404, 5), ("/c", 503, 2), ("/d", 200, 1)];

fn answer(status: u16) -> String {
    format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
}

/// Answers every path with its status.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let mut reader = BufReader::new(stream);
        let (mut line, mut path) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap().into();
            }
            line.clear();
        }
        let asked = ASKED.iter().find(|(known, _, _)| *known == path);
        let status = asked.map_or(200, |(_, status, _)| *status);
        let _ = reader.get_mut().write_all(answer(status).as_bytes());
    }
}

/// Asks everything; the bytes of each path, both ways.
fn ask(stage: &Stage) -> BTreeMap<&'static str, u64> {
    let listener = listen(stage.callee(), stage.server(PORT));
    thread::spawn(move || serve(&listener));
    let mut bytes = BTreeMap::new();
    for (path, status, count) in ASKED {
        for _ in 0..count {
            let (got, _) = stage.caller().http_get(stage.server(PORT), path).unwrap();
            assert_eq!(got, status);
        }
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", stage.server(PORT));
        bytes.insert(path, count * (request.len() + answer(status).len()) as u64);
    }
    bytes
}

fn weir(stage: &Stage, flags: &[&str]) -> Command {
    let mut command = stage.pod.command(binary("weir").unwrap());
    command.arg("top").args(flags).env_remove("WEIR_STORE");
    command
}

fn object(text: &str) -> Value {
    let line = text.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no object: {text}"))).unwrap()
}

/// Requests and errors of every row.
fn rows(report: &Value) -> BTreeMap<String, (u64, u64)> {
    let row = |row: &Value| {
        let number = |name: &str| row[name].as_u64().unwrap();
        let p50 = number("p50");
        assert!(p50 > 0 && p50 <= number("p99"), "{row}");
        let key = row["key"].as_str().unwrap().to_owned();
        (key, (number("requests"), number("errors")))
    };
    report["rows"].as_array().unwrap().iter().map(row).collect()
}

/// That a report by path says what was asked.
fn assert_paths(report: &Value, bytes: &BTreeMap<&str, u64>) {
    let failed = |status, count| if status < 400 { 0 } else { count };
    let expected: BTreeMap<_, _> = ASKED
        .iter()
        .map(|(path, status, count)| ((*path).to_owned(), (*count, failed(*status, *count))))
        .collect();
    assert_eq!(rows(report), expected, "{report:#}");
    let keys: Vec<_> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["key"])
        .collect();
    assert_eq!(keys, ["/a", "/b", "/c", "/d"], "most requests first");
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(row["bytes"], bytes[row["key"].as_str().unwrap()], "{row}");
    }
    let total = &report["total"];
    assert_eq!((&total["requests"], &total["errors"]), (&15.into(), &7.into()));
    assert_eq!(total["bytes"], bytes.values().sum::<u64>());
}

/// A sidecar with a store.
fn with_store(stage: &Stage) -> (Sidecar, TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let store = directory.path().join("weir.db");
    let sink = format!("sqlite:{}", store.display());
    let sidecar = Sidecar::start(&stage.pod, &["--mode", "tap", "--export", &sink]).unwrap();
    // The sink makes it on its own thread.
    wait_for("the store is made", || {
        let flags = ["--store", store.to_str().unwrap(), "--once"];
        stage.pod.run(weir(stage, &flags)).is_ok()
    });
    (sidecar, directory, store)
}

#[test]
fn what_was_stored_is_added_up_exactly() {
    for family in [V4, V6] {
        if skip_unless_root("what_was_stored_is_added_up_exactly") {
            return;
        }
        let stage = Stage::new(Direct, Inbound, family);
        let (sidecar, _directory, store) = with_store(&stage);
        let store = store.to_str().unwrap();
        let bytes = ask(&stage);
        let once = |flags: &[&str]| {
            let flags = [&["--store", store, "--once", "--window", "10m"], flags].concat();
            stage.pod.run(weir(&stage, &flags)).unwrap()
        };
        let asked = |text: &str| object(text)["total"]["requests"].as_u64().unwrap();
        wait_for("everything is stored", || asked(&once(&["--json"])) >= 15);
        // Of its connections the sidecar tells when it ends; they are no requests.
        drop(sidecar);
        assert_paths(&object(&once(&["--json", "--by", "path"])), &bytes);
        let address = stage.server(PORT);
        let client = stage.pick(stage.link.a.v4.to_string(), stage.link.a.v6.to_string());
        for (by, key) in [
            ("source", client),
            ("destination", address.to_string()),
            ("service", address.to_string()),
        ] {
            let report = object(&once(&["--json", "--by", by]));
            assert_eq!(rows(&report), [(key, (15, 7))].into(), "{by}: {report:#}");
            assert_eq!(report["source"], "store");
        }
        let first = object(&once(&["--json", "--by", "path", "--sort", "errors", "-n", "1"]));
        assert_eq!(first["rows"][0]["key"], "/b");
        assert_eq!(
            (&first["keys"], &first["total"]["requests"]),
            (&4.into(), &15.into())
        );
        let table = once(&["--by", "path"]);
        assert!(table.starts_with("15 requests in "), "{table}");
        assert!(!table.contains('\x1b') && table.lines().count() == 6, "{table}");
        // Nothing of it began within the last nanosecond.
        let none = stage.pod.run(weir(
            &stage,
            &["--store", store, "--once", "--json", "--window", "1ns"],
        ));
        assert_eq!(asked(&none.unwrap()), 0);
    }
}

#[test]
fn what_is_stored_later_is_seen_later() {
    if skip_unless_root("what_is_stored_later_is_seen_later") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let (_sidecar, _directory, store) = with_store(&stage);
    let flags = ["--json", "--interval", "200ms", "--by", "path", "--store"];
    let mut top = top(&stage, &[&flags[..], &[store.to_str().unwrap()]].concat());
    wait_for("a first look", || top.output().contains("\"total\""));
    let bytes = ask(&stage);
    let last = || object(top.output().trim_end().lines().last().unwrap());
    wait_for("all of it", || {
        // The last line may be half written.
        top.output().ends_with('\n') && last()["total"]["requests"] == 15
    });
    assert_paths(&last(), &bytes);
    assert!(top.terminate(LIMIT).unwrap().success());
}

fn top(stage: &Stage, flags: &[&str]) -> Process {
    stage.pod.spawn(weir(stage, flags)).unwrap()
}

#[test]
fn packets_are_added_up_as_the_store_is() {
    for family in [V4, V6] {
        if skip_unless_root("packets_are_added_up_as_the_store_is") {
            return;
        }
        let stage = Stage::new(Direct, Inbound, family);
        let flags = ["--json", "--by", "path", "--once", "-i", "eth+", "-p", "8080"];
        let mut top = top(&stage, &[&flags[..], &["--window", "10m"]].concat());
        wait_for("it looks", || top.output().contains("looking"));
        let bytes = ask(&stage);
        // Asked to end before the window is over, it shows what has been seen.
        assert!(top.terminate(LIMIT).unwrap().success(), "{}", top.output());
        let report = object(&top.output());
        assert_paths(&report, &bytes);
        assert_eq!(
            (&report["source"], &report["lost_packets"]),
            (&"tap".into(), &0.into())
        );
    }
}

#[test]
fn a_terminal_is_written_over_and_left_as_it_was() {
    if skip_unless_root("a_terminal_is_written_over_and_left_as_it_was") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let program = binary("weir").unwrap();
    let inner = format!(
        "stty cols 40 rows 10; exec {} top --tap --interval 200ms",
        program.display()
    );
    let mut command = stage.pod.command("script");
    // A terminal of its own; what is shown there comes out here.
    command.args(["--quiet", "--flush", "--return", "--command", &inner, "/dev/null"]);
    let mut script = stage.pod.spawn(command).unwrap();
    wait_for("it is shown", || script.output().matches("REQUESTS").count() >= 2);
    ask(&stage);
    wait_for("requests are shown", || {
        script.output().contains("15 requests in ")
    });
    let shell = fs::read_to_string(format!("/proc/{0}/task/{0}/children", script.pid())).unwrap();
    let pid: i32 = shell.split_whitespace().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(script.wait(LIMIT).unwrap().success(), "{}", script.output());
    let text = script.output();
    assert!(
        text.contains("\x1b[?1049h") && text.trim_end().ends_with("\x1b[?25h\x1b[?1049l"),
        "{text:?}"
    );
    for line in text.split("\x1b[K") {
        let shown = line.rsplit(['\n', 'H']).next().unwrap();
        assert!(shown.chars().count() <= 40 || shown.contains('\x1b'), "{shown:?}");
    }
}

#[test]
fn a_store_that_is_not_there_is_said() {
    if skip_unless_root("a_store_that_is_not_there_is_said") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let output = weir(&stage, &["--store", "/no/such/weir.db", "--once"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("there is no store at /no/such/weir.db"), "{error}");
}
