//! `weir top sources`: every packet that came in is counted once, in the kernel or by a tap.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    process::Command,
};
use weir_lab::{Lab, Link, Node, Process, binary, skip_unless_root};
use weir_tests::{
    kernel,
    peer::{listen, pair},
    weir::{LIMIT, wait_for},
};

const PORT: u16 = 8080;

struct Scene {
    outside: Node,
    pod: Node,
    link: Link,
    lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let mut lab = Lab::new("sources").unwrap();
        let (outside, pod) = (lab.node("outside").unwrap(), lab.node("pod").unwrap());
        let link = lab.join(&outside, &pod).unwrap();
        Self {
            outside,
            pod,
            link,
            lab,
        }
    }

    /// `weir top sources --port 8080` in the pod, without these capabilities.
    fn count(&self, without: &str, flags: &[&str]) -> Process {
        let mut command = self.pod.command("setpriv");
        if !without.is_empty() {
            command.arg(format!("--bounding-set={without}"));
        }
        command.arg("--").arg(binary("weir").unwrap());
        command
            .args(["top", "sources", "--port", "8080", "--json"])
            .args(flags);
        let process = self.pod.spawn(command).unwrap();
        wait_for("it counts", || process.output().contains("counted "));
        process
    }

    /// Datagrams of both families, each so many with so much in them, from outside.
    fn datagrams(&self, count: u64, len: usize) {
        for (from, to) in self.link.a.at(0).into_iter().zip(self.link.b.at(PORT)) {
            let socket = self.outside.enter(|| UdpSocket::bind(from)).unwrap().unwrap();
            for _ in 0..count {
                // That nobody listens is told to the sender, and is no reason to stop.
                let _ = socket.send_to(&vec![7; len], to);
            }
        }
    }

    /// A conversation of both families; what was said.
    fn talk(&self, rounds: usize) {
        for at in self.link.b.at(PORT) {
            let listener = listen(&self.pod, at);
            let (mut client, mut server) = pair(&self.outside, &listener);
            for _ in 0..rounds {
                let mut said = [7; 100];
                client.write_all(&said).unwrap();
                server.read_exact(&mut said).unwrap();
                server.write_all(&said).unwrap();
                client.read_exact(&mut said).unwrap();
            }
        }
    }
}

type Counts = BTreeMap<(IpAddr, String), (u64, u64)>;

fn reports(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// All intervals together.
fn sum(reports: &[Value]) -> Counts {
    let mut counts = Counts::new();
    for report in reports {
        assert_eq!(report["other"]["packets"], 0, "{report}");
        let mut total = (0, 0);
        for row in report["rows"].as_array().unwrap() {
            let key = (
                row["source"].as_str().unwrap().parse().unwrap(),
                row["transport"].as_str().unwrap().to_owned(),
            );
            let [packets, bytes] = ["packets", "bytes"].map(|name| row[name].as_u64().unwrap());
            let count = counts.entry(key).or_default();
            *count = (count.0 + packets, count.1 + bytes);
            total = (total.0 + packets, total.1 + bytes);
        }
        let said = &report["total"];
        assert_eq!(
            (&said["packets"], &said["bytes"]),
            (&total.0.into(), &total.1.into())
        );
    }
    counts
}

fn finish(process: &mut Process) -> Vec<Value> {
    assert!(
        process.terminate(LIMIT).unwrap().success(),
        "{}",
        process.output()
    );
    reports(&process.output())
}

/// What tcpdump says came in to the port, by source and protocol: packets and bytes from the IP header on.
fn seen_by_tcpdump(text: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |marker: &str| words.iter().position(|word| *word == marker);
        let Some(arrow) = at(">") else { continue };
        let (ip, _) = words[arrow - 1].rsplit_once('.').unwrap();
        let transport = if line.contains("UDP") { "udp" } else { "tcp" };
        // IPv4's length is that of the whole packet, IPv6's of what follows its header.
        let number = |name: &str| {
            let rest = line.split(name).nth(1).unwrap();
            rest.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse::<u64>()
                .unwrap()
        };
        let bytes = if ip.contains(':') {
            40 + number("payload length: ")
        } else {
            number(", length ")
        };
        let count = counts.entry((ip.parse().unwrap(), transport.into())).or_default();
        *count = (count.0 + 1, count.1 + bytes);
    }
    counts
}

#[test]
fn every_packet_is_in_one_interval_whoever_counts() {
    // Without CAP_PERFMON too; without CAP_BPF a tap counts.
    for (without, by) in [
        ("", "ebpf"),
        ("-perfmon,-sys_admin", "ebpf"),
        ("-bpf,-sys_admin", "tap"),
    ] {
        if skip_unless_root("every_packet_is_in_one_interval_whoever_counts") {
            return;
        }
        let scene = Scene::new();
        // An independent witness.
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("seen.pcap");
        let mut tcpdump = scene.pod.command("tcpdump");
        tcpdump
            .args(["-i", "any", "-Q", "in", "-B", "16384", "-s", "200", "-U", "-w"])
            .arg(&file);
        tcpdump.args(["-Z", "root", "dst", "port", "8080"]);
        let mut witness = scene.pod.spawn(tcpdump).unwrap();
        wait_for("tcpdump listens", || witness.output().contains("listening on"));
        let mut process = scene.count(without, &["--interval", "100ms"]);
        let (datagrams, len) = (20_000, 50);
        scene.datagrams(datagrams, len);
        scene.talk(200);
        // To itself: over loopback, where each packet is seen twice.
        let own = scene
            .pod
            .enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap()
            .unwrap();
        for _ in 0..7 {
            let _ = own.send_to(b"seven..", (Ipv4Addr::LOCALHOST, PORT));
        }
        scene.datagrams(10, 1000);
        wait_for("more intervals", || reports(&process.output()).len() > 3);
        let reports = finish(&mut process);
        let counts = sum(&reports);
        for report in &reports {
            assert_eq!(report["counted_by"], by, "{report}");
            assert_eq!(report["reason"].is_null(), by == "ebpf", "{report}");
            assert_eq!(
                (&report["lost_packets"], &report["fragments"]),
                (&0.into(), &0.into())
            );
        }
        assert_eq!(
            counts[&(Ipv4Addr::LOCALHOST.into(), "udp".into())],
            (7, 7 * 35),
            "{by}"
        );
        for (ip, headers) in [(IpAddr::from(scene.link.a.v4), 28), (scene.link.a.v6.into(), 48)] {
            let bytes = datagrams * (len as u64 + headers) + 10 * (1000 + headers);
            assert_eq!(counts[&(ip, "udp".into())], (datagrams + 10, bytes), "{by}");
            assert!(counts[&(ip, "tcp".into())].0 > 200, "{counts:?}");
        }
        let seen = || {
            let read = Command::new("tcpdump")
                .args(["-nvt", "-r"])
                .arg(&file)
                .output()
                .unwrap();
            seen_by_tcpdump(&String::from_utf8_lossy(&read.stdout).replace("\n    ", " "))
        };
        let all = |counts: &Counts| counts.values().map(|(packets, _)| packets).sum::<u64>();
        wait_for("tcpdump has written all", || all(&seen()) >= all(&counts));
        witness.terminate(LIMIT).unwrap();
        assert!(
            witness.output().contains("\n0 packets dropped by kernel"),
            "{}",
            witness.output()
        );
        assert_eq!(counts, seen(), "{by}");
    }
}

#[test]
fn once_is_one_interval_and_the_reason_is_said() {
    if skip_unless_root("once_is_one_interval_and_the_reason_is_said") {
        return;
    }
    let scene = Scene::new();
    let in_kernel = "counted in the kernel (eBPF)";
    // Before 6.8 the verifier is stricter with who has no CAP_PERFMON, and may refuse the program.
    let without_perfmon = if kernel() < (6, 8) { "counted " } else { in_kernel };
    for (without, said) in [
        ("", in_kernel),
        ("-perfmon,-sys_admin", without_perfmon),
        ("-bpf,-sys_admin", "counted by a tap: "),
    ] {
        let mut process = scene.count(without, &["--once", "--interval", "10m", "-n", "1"]);
        scene.datagrams(3, 10);
        assert!(process.output().contains(said), "{}", process.output());
        let reports = finish(&mut process);
        assert_eq!(reports.len(), 1);
        assert_eq!(
            (&reports[0]["total"]["packets"], &reports[0]["sources"]),
            (&6.into(), &2.into())
        );
        let row = &reports[0]["rows"][0];
        assert_eq!(
            (&row["source"], &row["bytes"]),
            (&scene.link.a.v6.to_string().into(), &(3 * 58).into())
        );
        assert_eq!(reports[0]["rows"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn interfaces_that_come_later_count_and_others_do_not() {
    if skip_unless_root("interfaces_that_come_later_count_and_others_do_not") {
        return;
    }
    let mut scene = Scene::new();
    let mut process = scene.count("", &["--interval", "100ms", "-i", "lo,eth1"]);
    scene.datagrams(5, 10);
    let first = scene.link.a.v4;
    let node = scene.lab.node("later").unwrap();
    scene.link = scene.lab.join(&node, &scene.pod).unwrap();
    scene.outside = node;
    let came = |counts: &Counts, ip: Ipv4Addr| counts.keys().any(|(from, _)| *from == ip);
    wait_for("packets by the new interface", || {
        scene.datagrams(1, 10);
        came(&sum(&reports(&process.output())), scene.link.a.v4)
    });
    let counts = sum(&finish(&mut process));
    assert!(!came(&counts, first), "{counts:?}");
}

#[test]
fn nothing_is_left_however_it_ends() {
    if skip_unless_root("nothing_is_left_however_it_ends") {
        return;
    }
    let scene = Scene::new();
    let filters = || {
        let mut all = String::new();
        for device in ["lo", "eth0"] {
            let mut tc = scene.pod.command("tc");
            tc.args(["filter", "show", "dev", device, "ingress"]);
            all += &scene.pod.run(tc).unwrap();
            if kernel() < (6, 6) {
                // Without links of tcx there is a qdisc for filters, which stays: others may use it by now.
                continue;
            }
            let mut tc = scene.pod.command("tc");
            tc.args(["qdisc", "show", "dev", device]);
            all += &scene.pod.run(tc).unwrap();
        }
        all
    };
    let before = filters();
    let end_by = |signal| {
        let mut process = scene.count("", &[]);
        process.signal(signal).unwrap();
        process.wait(LIMIT).unwrap();
    };
    end_by(Signal::SIGTERM);
    wait_for("as if nothing had been", || filters() == before);
    end_by(Signal::SIGKILL);
    if kernel() < (6, 6) {
        // No link ends with the process. What it left goes with the next one.
        end_by(Signal::SIGTERM);
    }
    wait_for("as if nothing had been", || filters() == before);
}

#[test]
fn without_any_privilege_both_reasons_are_said() {
    if skip_unless_root("without_any_privilege_both_reasons_are_said") {
        return;
    }
    let scene = Scene::new();
    let mut command = scene.pod.command("setpriv");
    command
        .args(["--bounding-set=-all", "--"])
        .arg(binary("weir").unwrap());
    let output = command.args(["top", "sources", "--once"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for said in ["cannot count in the kernel", "NET_RAW"] {
        assert!(error.contains(said), "{error}");
    }
    let mut command = scene.pod.command(binary("weir").unwrap());
    let output = command
        .args(["top", "sources", "--once", "-i", "nosuch"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("there is no interface nosuch"),
        "{error}"
    );
}
