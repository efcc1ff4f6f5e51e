//! `weir tail` as its users run it: the binary, a store on disk, pipes and signals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that goes wrong"
)]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rusqlite::Connection;
use std::{
    fs,
    io::{BufRead, BufReader, Lines, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// A store as the sink writes it.
struct Store {
    _dir: TempDir,
    path: PathBuf,
    connection: Connection,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.db");
        let connection = create(&path);
        Self {
            _dir: dir,
            path,
            connection,
        }
    }

    fn add(&self, method: &str, path: &str, status: u16) {
        self.add_document(
            &document(method, path, status, "ingress", "shop.example", "198.18.0.2"),
            now(),
        );
    }

    fn add_document(&self, document: &str, time: i64) {
        add(&self.connection, document, time);
    }

    fn tail(&self, args: &[&str]) -> Output {
        weir(&self.path, args).arg("--no-follow").output().unwrap()
    }

    /// The paths that are shown.
    fn paths(&self, args: &[&str]) -> Vec<String> {
        let output = self.tail(args);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let paths = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().last().unwrap().into());
        paths.collect()
    }
}

fn create(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA user_version = 1; PRAGMA application_id = 0x57454952;
             CREATE TABLE documents(seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER, id TEXT UNIQUE, dataset TEXT, document TEXT)",
        )
        .unwrap();
    connection
}

fn add(connection: &Connection, document: &str, time: i64) {
    connection
        .execute(
            "INSERT INTO documents(time, id, dataset, document) VALUES (?, hex(randomblob(16)), 'weir.http', ?)",
            (time, document),
        )
        .unwrap();
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn document(method: &str, path: &str, status: u16, direction: &str, host: &str, server: &str) -> String {
    serde_json::json!({
        "@timestamp": "2026-11-22T18:40:07.123456789Z",
        "network": {"direction": direction},
        "source": {"ip": "198.18.0.1", "port": 40000},
        "destination": {"ip": server, "port": 8080},
        "url": {"original": path, "path": path, "domain": host},
        "http": {"request": {"method": method}, "response": {"status_code": status}},
    })
    .to_string()
}

fn weir(store: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("tail").arg("--store").arg(store).args(args);
    command.env_remove("WEIR_STORE").env_remove("NO_COLOR");
    command
}

/// A `weir tail` that follows; ended when dropped.
struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(store: &Path, args: &[&str]) -> Self {
        let mut child = weir(store, args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failure(store: &Path) -> String {
    let output = weir(store, &["--no-follow"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn shows_the_last_documents_oldest_first() {
    let store = Store::new();
    for n in 0..30 {
        store.add("GET", &format!("/{n}"), 200);
    }
    let expected = |range: std::ops::Range<u32>| range.map(|n| format!("/{n}")).collect::<Vec<_>>();
    assert_eq!(store.paths(&[]), expected(10..30));
    assert_eq!(store.paths(&["-n", "3"]), expected(27..30));
    assert_eq!(store.paths(&["--since", "5m"]), expected(0..30));
    assert_eq!(store.paths(&["--since", "5m", "--limit", "2"]), expected(28..30));
    assert!(store.tail(&["-n", "0"]).stdout.is_empty());
}

#[test]
fn filters_are_combined_and_the_last_n_are_those_that_match() {
    let store = Store::new();
    store.add("GET", "/api/users", 200);
    store.add("POST", "/api/users", 503);
    store.add("GET", "/api/orders", 404);
    store.add("GET", "/static/a.css", 404);
    let other = document("PUT", "/out", 201, "egress", "Billing.example", "fd00:198:18::1");
    store.add_document(&other, now());
    for _ in 0..40 {
        store.add("GET", "/noise", 200);
    }
    for (args, paths) in [
        (
            &["--path", "/api"][..],
            &["/api/users", "/api/users", "/api/orders"][..],
        ),
        (&["--path", "/*/?.css"], &["/static/a.css"]),
        (&["--path", "/api", "-n", "1"], &["/api/orders"]),
        (&["--path", "/API"], &[]),
        (&["--status", "404"], &["/api/orders", "/static/a.css"]),
        (&["--status", "5xx,201"], &["/api/users", "/out"]),
        (
            &["--status", "400-503", "--method", "get,post", "--path", "/api"],
            &["/api/users", "/api/orders"],
        ),
        (&["--method", "put"], &["/out"]),
        (&["--direction", "egress"], &["/out"]),
        (&["--direction", "out", "--status", "404"], &[]),
        (&["--host", "billing.*"], &["/out"]),
        (&["--host", "fd00:198:18::1"], &["/out"]),
        (&["--host", "billing"], &[]),
    ] {
        assert_eq!(store.paths(args), paths, "{args:?}");
    }
}

#[test]
fn since_leaves_out_what_is_older() {
    let store = Store::new();
    let old = document("GET", "/old", 200, "ingress", "a", "198.18.0.2");
    store.add_document(&old, now() - 3_600_000_000_000);
    store.add("GET", "/new", 200);
    assert_eq!(store.paths(&["--since", "10m"]), ["/new"]);
    assert_eq!(store.paths(&["--since", "2h"]), ["/old", "/new"]);
    assert_eq!(
        store.paths(&["--since", "2020-01-01T00:00:00Z"]),
        ["/old", "/new"]
    );
}

#[test]
fn wrong_values_say_what_is_allowed() {
    let store = Store::new();
    for (args, allowed) in [
        (["--status", "teapot"], "400-499"),
        (["--since", "lunch"], "5m"),
        (["--direction", "up"], "ingress"),
        (["--color", "blue"], "never"),
    ] {
        let output = store.tail(&args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && text.contains(allowed),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn json_is_the_document_as_stored() {
    let store = Store::new();
    store.add_document(r#"{"b":1,"a":[2]}"#, now());
    assert_eq!(store.tail(&["--json"]).stdout, b"{\"b\":1,\"a\":[2]}\n");
}

#[test]
fn follows_what_comes_and_only_what_matches() {
    let store = Store::new();
    store.add("GET", "/first", 200);
    let mut follower = Follower::start(&store.path, &["--json", "--status", "200"]);
    assert!(follower.line().contains("/first"));
    store.add("GET", "/hidden", 404);
    store.add("GET", "/second", 200);
    assert!(follower.line().contains("/second"));
    store.add("GET", "/third", 200);
    assert!(follower.line().contains("/third"));
}

#[test]
fn follows_a_store_that_is_put_in_place_of_the_first() {
    let store = Store::new();
    store.add("GET", "/first", 200);
    let mut follower = Follower::start(&store.path, &["--json"]);
    assert!(follower.line().contains("/first"));
    let aside = store.path.with_extension("new");
    let second = create(&aside);
    add(
        &second,
        &document("GET", "/second", 200, "ingress", "a", "198.18.0.2"),
        now(),
    );
    second.close().unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", store.path.display()));
    }
    fs::rename(&aside, &store.path).unwrap();
    assert!(follower.line().contains("/second"));
}

#[test]
fn ctrl_c_is_a_success() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let store = Store::new();
        store.add("GET", "/first", 200);
        let mut follower = Follower::start(&store.path, &["--json"]);
        follower.line();
        kill(Pid::from_raw(follower.child.id() as i32), signal).unwrap();
        assert_eq!(follower.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn ends_in_silence_when_nobody_reads_any_more() {
    let store = Store::new();
    store.add("GET", "/first", 200);
    let mut child = weir(&store.path, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nothing more is written: the end of the reader alone is what ends it.
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn colours_are_for_terminals_and_whoever_asks() {
    let store = Store::new();
    store.add("GET", "/first", 200);
    let colored = |args: &[&str]| store.tail(args).stdout.contains(&0x1b);
    assert!(!colored(&[]) && !colored(&["--color", "never"]) && colored(&["--color", "always"]));
}

#[test]
fn the_store_may_be_named_by_the_environment() {
    let store = Store::new();
    store.add("GET", "/first", 200);
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["tail", "--no-follow", "--json"])
        .env("WEIR_STORE", &store.path)
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("/first"));
}

#[test]
fn says_what_is_wrong_with_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let missing = failure(&dir.path().join("none.db"));
    assert!(
        missing.contains("none.db") && missing.contains("--export sqlite:PATH"),
        "{missing}"
    );
    assert!(
        !dir.path().join("none.db").exists(),
        "looking must not make a store"
    );

    let text = dir.path().join("text");
    fs::write(&text, "no database, whatever its name says".repeat(100)).unwrap();
    assert!(failure(&text).contains("not a store"));

    let other = dir.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE x(y)")
        .unwrap();
    assert!(failure(&other).contains("not a store of Weir's"));

    let newer = dir.path().join("newer.db");
    create(&newer).execute_batch("PRAGMA user_version = 99").unwrap();
    let newer = failure(&newer);
    assert!(newer.contains("newer Weir") && newer.contains("99"), "{newer}");
}
