//! `weir decode` as its users run it: files and pipes in, documents and complaints out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that goes wrong"
)]

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

/// A query over DNS and three requests of one connection.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../capture/samples/shop.pcap");

fn weir(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .arg("decode")
        .args(args)
        .stdin(Stdio::null())
        .env_remove("WEIR_CONFIG")
        .env_remove("WEIR_CAPTURE_BODIES");
    command
}

fn run(args: &[&str]) -> Output {
    weir(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn documents(output: &Output) -> Vec<Value> {
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The sample, its first bytes only, as a file of this name.
fn part(directory: &tempfile::TempDir, name: &str, range: std::ops::Range<usize>) -> String {
    let path = directory.path().join(name);
    fs::write(&path, &fs::read(SAMPLE).unwrap()[range]).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn one_document_a_line_and_no_word_more() {
    let output = run(&[SAMPLE]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let documents = documents(&output);
    let names = |d: &Value| {
        format!(
            "{} {}",
            d["event"]["dataset"].as_str().unwrap(),
            d["url"]["original"]
        )
    };
    assert_eq!(
        documents.iter().map(names).collect::<Vec<_>>(),
        [
            "weir.dns null",
            "weir.http \"/products?q=kettle&token=<redacted>\"",
            "weir.http \"/orders\"",
            "weir.http \"/nothing-here\"",
        ]
    );
    assert_eq!(
        documents[1]["http"]["request"]["headers"]["cookie"][0],
        "<redacted>"
    );
    assert!(
        documents
            .iter()
            .all(|document| document["weir"]["capture"] == "pcap")
    );
    // The same file gives the same documents, identities included.
    assert_eq!(run(&[SAMPLE]).stdout, output.stdout);
}

#[test]
fn a_port_may_be_pinned_to_a_protocol() {
    let datasets = |args: &[&str]| {
        let output = run(&[args, &[SAMPLE]].concat());
        assert!(output.status.success(), "{output:?}");
        let dataset = |document: Value| document["event"]["dataset"].as_str().unwrap().to_owned();
        documents(&output).into_iter().map(dataset).collect::<Vec<_>>()
    };
    let found = run(&[SAMPLE]);
    let port = documents(&found)[1]["destination"]["port"].to_string();
    let pin = |protocol: &str| format!("{port}:{protocol}");
    assert_eq!(datasets(&["--protocols", &pin("http1")]).len(), 4);
    assert_eq!(datasets(&["--protocols", &pin("tcp")]), ["weir.dns"]);
    assert_eq!(datasets(&["--protocols", "53:tcp"]), ["weir.http"; 3]);
    let wrong = run(&["--protocols", "80:smtp", SAMPLE]);
    assert!(!wrong.status.success());
    assert!(
        text(&wrong.stderr).contains("allowed are http1, http, http2"),
        "{wrong:?}"
    );
}

#[test]
fn a_table_for_people() {
    let output = run(&["--format", "table", SAMPLE]);
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("TIME (UTC)"));
    assert!(
        lines[3].contains("POST") && lines[3].contains("201"),
        "{}",
        lines[3]
    );
}

#[test]
fn a_pipe_and_a_compressed_file_are_read_too() {
    let known = run(&[SAMPLE]).stdout;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.pcap.gz");
    let mut gzip = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
    gzip.write_all(&fs::read(SAMPLE).unwrap()).unwrap();
    gzip.finish().unwrap();
    assert_eq!(run(&[path.to_str().unwrap()]).stdout, known);
    let output = weir(&["-"])
        .stdin(fs::File::open(SAMPLE).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.stdout, known);
}

#[test]
fn what_comes_from_a_running_capture_is_shown_at_once() {
    let mut child = weir(&["-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let sample = fs::read(SAMPLE).unwrap();
    // All but the last packet: the pipe stays open.
    input.write_all(&sample[..sample.len() - 20]).unwrap();
    for _ in 0..4 {
        lines.next().unwrap().unwrap();
    }
    drop(input);
    assert!(lines.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn settings_of_the_configuration_apply() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.yaml");
    fs::write(&path, "records: {redact: false, host_name: shop-1}\n").unwrap();
    let output = run(&[
        "--config",
        path.to_str().unwrap(),
        "--local",
        "198.18.0.1",
        SAMPLE,
    ]);
    let documents = documents(&output);
    assert_eq!(documents[1]["url"]["query"], "q=kettle&token=T0P");
    assert_eq!(documents[1]["host"]["name"], "shop-1");
    assert_eq!(documents[1]["network"]["direction"], "ingress");
}

#[test]
fn bodies_are_shown_on_request() {
    let bodies = |output: &Output| -> Vec<Value> {
        let documents = documents(output);
        let of_http = documents.iter().filter(|d| d["event"]["dataset"] == "weir.http");
        of_http
            .flat_map(|d| {
                [
                    d["http"]["request"]["body"].clone(),
                    d["http"]["response"]["body"].clone(),
                ]
            })
            .filter(|body| body["bytes"] != 0)
            .collect()
    };
    let without = bodies(&run(&[SAMPLE]));
    assert!(!without.is_empty() && without.iter().all(|body| body["content"].is_null()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.yaml");
    let all = "capture: {bodies: {max_bytes: 4KiB, content_types: ['*/*']}}\n";
    fs::write(&path, all).unwrap();
    let with = bodies(&run(&["--config", path.to_str().unwrap(), SAMPLE]));
    assert!(with.iter().all(|body| body["content"].is_string()), "{with:#?}");
    // The flag goes over the file.
    let cut = bodies(&run(&[
        "--config",
        path.to_str().unwrap(),
        "--capture-bodies",
        "2",
        SAMPLE,
    ]));
    assert!(
        cut.iter()
            .all(|body| body["content"].as_str().unwrap().len() <= 2)
    );
    let wrong = run(&["--capture-bodies", "1GiB", SAMPLE]);
    assert!(
        text(&wrong.stderr).contains("capture.bodies.max_bytes"),
        "{wrong:?}"
    );
}

#[test]
fn a_file_that_was_cut_is_read_as_far_as_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let size = fs::read(SAMPLE).unwrap().len();
    let output = run(&[&part(&directory, "cut.pcap", 0..size - 5)]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(documents(&output).len(), 4);
    assert!(
        text(&output.stderr).contains("cut in the middle of a packet"),
        "{output:?}"
    );
}

#[test]
fn parts_of_a_capture_can_be_joined() {
    // As `tcpdump -C` writes them: each with the header.
    let sample = fs::read(SAMPLE).unwrap();
    let word = |at: usize| u32::from_le_bytes(sample[at..at + 4].try_into().unwrap()) as usize;
    let mut ends = vec![24];
    while ends[ends.len() - 1] < sample.len() {
        let at = ends[ends.len() - 1];
        ends.push(at + 16 + word(at + 8));
    }
    let directory = tempfile::tempdir().unwrap();
    let middle = ends[ends.len() / 2];
    let parts = [24..middle, middle..sample.len()].map(|range| {
        let path = directory.path().join(format!("{}.pcap", range.start));
        fs::write(&path, [&sample[..24], &sample[range]].concat()).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let joined = run(&["--join", &parts[0], &parts[1]]);
    assert_eq!(joined.stdout, run(&[SAMPLE]).stdout);
    let apart = run(&[&parts[0], &parts[1]]);
    assert!(apart.status.success());
    assert!(
        text(&apart.stderr).contains("connections were joined late"),
        "{apart:?}"
    );
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("notes.txt");
    fs::write(&other, "no capture").unwrap();
    let empty = part(&directory, "empty.pcap", 0..0);
    let output = run(&["/nonexistent.pcap", other.to_str().unwrap(), &empty, SAMPLE]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(documents(&output).len(), 4);
    let errors: Vec<_> = text(&output.stderr).lines().collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(
        errors[0].contains("/nonexistent.pcap: cannot open it: No such file"),
        "{errors:?}"
    );
    assert!(
        errors[1].contains("notes.txt: it is neither pcap nor pcapng"),
        "{errors:?}"
    );
    assert!(errors[2].contains("empty.pcap: it is empty"), "{errors:?}");
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn what_was_left_out_is_counted_by_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let mut sample = fs::read(SAMPLE).unwrap();
    sample[20] = 147;
    let path = directory.path().join("other.pcap");
    fs::write(&path, &sample).unwrap();
    let output = run(&[path.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let said: Vec<_> = text(&output.stderr)
        .lines()
        .map(|line| line.rsplit(".pcap: ").next().unwrap())
        .collect();
    assert_eq!(
        said,
        [
            "link type 147 is not known here (https://www.tcpdump.org/linktypes.html)",
            "packets of an unknown link type: 24",
            "no request was found in 24 packets",
        ]
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = weir(&[SAMPLE])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn requests_in_the_layout_of_pipy_and_the_rest_is_counted() {
    let output = run(&["--layout", "pipy", SAMPLE]);
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 3);
    let first = r#"{"time":1795398318179,"host":"shop.example:8000","path":"/products?q=kettle&token=<redacted>","headers":"{"#;
    assert!(lines[0].starts_with(first), "{}", lines[0]);
    let documents = documents(&output);
    let headers: Value = serde_json::from_str(documents[0]["headers"].as_str().unwrap()).unwrap();
    assert_eq!(headers["cookie"], "<redacted>");
    assert_eq!(headers["host"], "shop.example:8000");
    assert_eq!(documents[1]["path"], "/orders");
    let said = text(&output.stderr);
    assert!(
        said.ends_with("shop.pcap: documents that have no place in this layout, left out: 1\n")
            && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(run(&["--layout", "ecs", SAMPLE]).stdout, run(&[SAMPLE]).stdout);
}

#[test]
fn points_of_the_layout_of_datakit() {
    let output = run(&["--layout", "datakit", "--local", "198.18.0.0/15", SAMPLE]);
    assert!(output.status.success(), "{output:?}");
    // Each is of the interval that ended then, and a nanosecond after the one before.
    let expected = [
        (
            "httpflow,",
            " bytes_read=143i,bytes_written=93i,count=1i,http_version=\"1.1\",latency=526000i,method=\"GET\",\
             path=\"/nothing-here\",status_code=404i,truncated=F 1795398360000000000",
        ),
        (
            "httpflow,",
            " bytes_read=154i,bytes_written=132i,count=1i,http_version=\"1.1\",latency=913000i,method=\"GET\",\
             path=\"/products\",status_code=200i,truncated=F 1795398360000000001",
        ),
        (
            "httpflow,",
            " bytes_read=140i,bytes_written=157i,count=1i,http_version=\"1.1\",latency=208000i,method=\"POST\",\
             path=\"/orders\",status_code=201i,truncated=F 1795398360000000002",
        ),
        (
            "dnsflow,",
            " count=1i,latency=466000i,latency_max=466000i,rcode=0i 1795398330000000000",
        ),
    ];
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (start, end)) in lines.iter().zip(expected) {
        assert!(line.starts_with(start) && line.ends_with(end), "{line}");
        assert!(
            line.contains(",direction=outgoing,") && line.contains(",src_port=*,"),
            "{line}"
        );
    }
    assert!(
        !text(&output.stdout).contains("kettle"),
        "a query is no part of a path"
    );
    assert_eq!(text(&output.stderr).lines().count(), 0, "{output:?}");
}

#[test]
fn connections_of_a_capture_in_the_layout_of_datakit() {
    let output = run(&["--flows", "--layout", "datakit", "--local", "198.18.0.2", SAMPLE]);
    let flows = text(&output.stdout)
        .lines()
        .filter(|line| line.starts_with("netflow,"));
    let flows: Vec<_> = flows.collect();
    assert_eq!(flows.len(), 2, "{flows:#?}");
    let of_requests = ",transport=tcp bytes_read=437i,bytes_written=382i,retransmits=0i,";
    assert!(flows[0].contains(of_requests), "{}", flows[0]);
    assert!(flows[0].ends_with(",tcp_closed=1i,tcp_established=1i 1795398360000000000"));
    assert!(flows[1].ends_with(",transport=udp bytes_read=46i,bytes_written=30i 1795398360000000001"));
}

#[test]
fn a_layout_is_of_json_alone() {
    for layout in ["ecs", "pipy", "datakit"] {
        let output = run(&["--format", "table", "--layout", layout, SAMPLE]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty() && text(&output.stderr).contains("--layout is for JSON"));
    }
    let output = run(&["--layout", "kibana", SAMPLE]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("[possible values: ecs, pipy, datakit]"),
        "{output:?}"
    );
}

#[test]
fn calls_of_dubbo_in_the_layout_of_pipy() {
    let corpus = std::env::var("WEIR_CORPUS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus").to_owned());
    let capture = format!("{corpus}/dubbo/dubbo27-hessian2.pcap");
    if !std::path::Path::new(&capture).exists() {
        return eprintln!("SKIPPED calls_of_dubbo_in_the_layout_of_pipy: there is no {capture}");
    }
    let (known, output) = (run(&[&capture]), run(&["--layout", "pipy", &capture]));
    let (known, calls) = (documents(&known), documents(&output));
    assert_eq!(text(&output.stderr), "", "every call has its place");
    assert_eq!((known.len(), calls.len()), (46, 46));
    for (document, call) in known.iter().zip(&calls) {
        let dubbo = &document["dubbo"];
        assert_eq!(call["method"], dubbo["method"]);
        let raw: Vec<Value> = serde_json::from_str(call["raw"].as_str().unwrap()).unwrap();
        let args = dubbo["args"].as_array().unwrap();
        assert_eq!(raw[5..raw.len() - 1], args[..], "{call}");
        assert_eq!(raw.last(), dubbo.get("attachments"), "{call}");
        // Each at its place, and none of them an object or a list.
        for (plain, arg) in call["args"].as_array().unwrap().iter().zip(args) {
            match plain.as_str() {
                Some(text) if !arg.is_string() => {
                    assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), arg)
                }
                _ => assert_eq!(plain, arg),
            }
        }
        assert_eq!(call["args"].as_array().unwrap().len(), args.len());
    }
}
