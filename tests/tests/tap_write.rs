//! `weir tap --write`: the packets that were decoded, kept in a file, mean the same when they are decoded again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};
use weir_lab::{Process, binary, skip_unless_root};
use weir_tests::{
    peer::{listen, pair},
    stage::{
        Direction::{Inbound, Outbound},
        Family::{V4, V6},
        Mode::Direct,
        Stage,
    },
    weir::{LIMIT, local, wait_for},
};

const PORT: u16 = 8080;

/// `weir tap` in the pod, writing to this file.
fn tap(stage: &Stage, file: &Path, flags: &[&str]) -> Process {
    let mut command = stage.pod.command(binary("weir").unwrap());
    command
        .args(["tap", "--format", "json", "--write"])
        .arg(file)
        .args(flags);
    let process = stage.pod.spawn(command).unwrap();
    wait_for("it looks", || process.output().contains("looking"));
    process
}

fn exchange(mut client: &TcpStream, mut server: &TcpStream, path: &str, body: usize) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n");
    let answer = [head.into_bytes(), vec![b'x'; body]].concat();
    std::thread::scope(|scope| {
        scope.spawn(|| server.write_all(&answer).unwrap());
        client.read_exact(&mut vec![0; answer.len()]).unwrap();
    });
}

/// Documents about exchanges, without what tells their source, in the order of their paths.
fn documents(text: &str) -> Vec<Value> {
    let mut all: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    all.retain(|document| document["event"]["dataset"] != "weir.flow");
    for document in &mut all {
        document["weir"]["capture"] = Value::Null;
    }
    all.sort_by_key(|document| document["url"]["path"].to_string());
    all
}

fn decoded(stage: &Stage, files: &[&Path]) -> (Vec<Value>, String) {
    let mut command = stage.pod.command(binary("weir").unwrap());
    let output = command.args(["decode", "--join"]).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (documents(&String::from_utf8_lossy(&output.stdout)), said)
}

#[test]
fn what_was_written_gives_the_same_documents_again() {
    for (direction, family) in [(Inbound, V4), (Inbound, V6), (Outbound, V4)] {
        if skip_unless_root("what_was_written_gives_the_same_documents_again") {
            return;
        }
        let stage = Stage::new(Direct, direction, family);
        let directory = tempfile::tempdir().unwrap();
        let [all, short] = ["all.pcapng", "short.pcapng"].map(|name| directory.path().join(name));
        let own = listen(&stage.pod, local(PORT));
        let listener = listen(stage.callee(), stage.server(PORT));
        let late = pair(stage.caller(), &listener);
        let mut whole = tap(&stage, &all, &[]);
        let mut cut = tap(
            &stage,
            &short,
            &["--snaplen", "200B", "--port", "8080", "-i", "eth+"],
        );
        exchange(&late.0, &late.1, "/late", 10);
        let (client, server) = pair(&stage.pod, &own);
        exchange(&client, &server, "/loopback", 100_000);
        let (client, server) = pair(stage.caller(), &listener);
        exchange(&client, &server, "/a", 300_000);
        exchange(&client, &server, "/b", 5);
        for (process, count) in [(&mut whole, 4), (&mut cut, 3)] {
            wait_for("the documents", || documents(&process.output()).len() == count);
            process.terminate(LIMIT).unwrap();
        }
        for (process, file) in [(&whole, &all), (&cut, &short)] {
            let (again, said) = decoded(&stage, &[file]);
            let printed = documents(&process.output());
            assert_eq!(again, printed);
            let is_cut = said.contains("not captured whole (snaplen)");
            assert_eq!(is_cut, file == &short, "{said}");
        }
        assert!(short.metadata().unwrap().len() < 100_000, "bodies were left out");
        read_by_tcpdump(&all);
    }
}

/// That an independent reader understands the file: every packet with its interface and direction.
fn read_by_tcpdump(file: &Path) {
    let Ok(output) = Command::new("tcpdump").args(["-nr"]).arg(file).output() else {
        eprintln!("skipped: tcpdump is not there to read {}", file.display());
        return;
    };
    let (text, said) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success() && said.contains("LINUX_SLL2"), "{said}");
    assert!(text.contains("GET /a HTTP/1.1"), "{text}");
    for way in [" In ", " Out "] {
        assert!(text.lines().any(|line| line.contains(way)), "{way}: {text}");
    }
}

#[test]
fn rotated_files_are_one_capture_together() {
    if skip_unless_root("rotated_files_are_one_capture_together") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seen.pcapng");
    let mut process = tap(&stage, &file, &["--write-size", "64KiB", "--write-files", "1000"]);
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    for n in 0..10 {
        exchange(&client, &server, &format!("/{n}"), 50_000);
    }
    wait_for("the documents", || documents(&process.output()).len() == 10);
    process.terminate(LIMIT).unwrap();
    let count = std::fs::read_dir(&directory).unwrap().count();
    assert!(count > 3, "{count} files for half a MiB");
    let numbered = |n| directory.path().join(format!("seen.pcapng.{n}"));
    let mut files: Vec<_> = (1..count).rev().map(numbered).collect();
    files.push(file);
    let files: Vec<&Path> = files.iter().map(|path| path.as_path()).collect();
    assert_eq!(decoded(&stage, &files).0, documents(&process.output()));
}

#[test]
fn a_full_disk_ends_the_file_and_not_the_looking() {
    if skip_unless_root("a_full_disk_ends_the_file_and_not_the_looking") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let directory = tempfile::tempdir().unwrap();
    let small = SmallDisk::new(directory.path().join("small"));
    let file = small.0.join("seen.pcapng");
    let mut process = tap(&stage, &file, &[]);
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    exchange(&client, &server, "/first", 10);
    wait_for("what is written at first", || {
        file.metadata().unwrap().len() > 500
    });
    exchange(&client, &server, "/large", 1 << 20);
    wait_for("the disk's end", || {
        process.output().contains("no more packets are written")
    });
    exchange(&client, &server, "/after", 10);
    wait_for("what is seen afterwards", || process.output().contains("/after"));
    let status = process.terminate(LIMIT).unwrap();
    assert_eq!(status.code(), Some(1), "{}", process.output());
    assert!(process.output().contains("make room"), "{}", process.output());
    let (again, said) = decoded(&stage, &[&file]);
    assert!(!said.contains("cut in the middle of a packet"), "{said}");
    assert!(again.iter().any(|document| document["url"]["path"] == "/first"));
}

/// A file system with little room, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=128k", "weir-test"])
            .arg(&path);
        assert!(mount.status().unwrap().success());
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !gone.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

#[test]
fn a_file_that_can_not_be_written_is_said_at_once() {
    if skip_unless_root("a_file_that_can_not_be_written_is_said_at_once") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let mut command = stage.pod.command(binary("weir").unwrap());
    let output = command
        .args(["tap", "--write", "/no/such/file"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("create its directory"), "{error}");
}
