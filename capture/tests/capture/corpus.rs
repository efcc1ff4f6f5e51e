//! Captures of others, in `../shared/corpus` beside the sources or in the directory that `WEIR_CORPUS` names, and beside
//! each what another decoder reads in it (`*.result`).

use crate::support::*;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use weir_capture::{Counters, Packet, Tracker};
use weir_records::Timestamp;

/// The captures in a folder of the corpus; none, and a loud word, where it is absent.
fn captures(folder: &str, test: &str) -> Vec<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let directory = std::env::var_os("WEIR_CORPUS")
        .map_or(beside, PathBuf::from)
        .join(folder);
    let Ok(entries) = fs::read_dir(&directory) else {
        eprintln!("SKIPPED {test}: there is no {}", directory.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn decode(path: &Path) -> (Seen, Counters) {
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for (link, frame) in read_all(&fs::read(path).unwrap()).unwrap() {
        let packet = Packet::new(
            Timestamp(frame.at),
            link,
            &frame.bytes[..frame.kept],
            frame.bytes.len(),
        );
        tracker.packet(&packet, &mut seen);
    }
    tracker.finish(&mut seen);
    (seen, tracker.counters().clone())
}

fn known(path: &Path) -> String {
    fs::read_to_string(path.with_extension("result")).unwrap()
}

#[test]
fn captures_of_dns_mean_what_they_are_known_to_mean() {
    let mut compared = 0;
    let paths = captures("dns", "captures_of_dns_mean_what_they_are_known_to_mean");
    for path in &paths {
        let (seen, counters) = decode(path);
        assert_eq!((counters.malformed, counters.gaps), (0, 0), "{}", path.display());
        for line in known(path).lines() {
            // (A remark follows the object.)
            let mut objects = serde_json::Deserializer::from_str(line).into_iter::<Value>();
            let known = objects.next().unwrap().unwrap();
            if known.get("response_code").is_none() {
                continue;
            }
            let same = |document: &&Value| {
                document["dns"]["id"].as_str() == Some(&*known["request_id"].to_string())
                    && document["dns"]["question"]["type"] == known["request_type"]
            };
            let document = seen
                .documents
                .iter()
                .find(same)
                .unwrap_or_else(|| panic!("no document for {line}"));
            assert_eq!(document["dns"]["question"]["name"], known["request_resource"]);
            assert_eq!(document["weir"]["dns"]["rcode"], known["response_code"]);
            assert_eq!(document["destination"]["bytes"], known["captured_response_byte"]);
            if let Some(address) = known["response_result"]
                .as_str()
                .and_then(|text| text.strip_prefix("A="))
            {
                assert_eq!(
                    document["dns"]["resolved_ip"][0],
                    address.split(' ').next().unwrap()
                );
            }
            // The other decoder's round-trip time, in µs.
            if let Some(rrt) = known["rrt"].as_u64().filter(|rrt| *rrt > 0) {
                assert_eq!(document["event"]["duration"], rrt * 1000, "{line}");
            }
            compared += 1;
        }
    }
    assert!(paths.is_empty() || compared > 0);
}

/// What the other decoder says of a field: `method: Post`, `path: "/a"`, `status_code: Some(200)`.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!(" {name}: ")).unwrap();
    let rest = rest.strip_prefix("Some(").unwrap_or(rest);
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next().unwrap(),
        None => rest.split([',', ')', ' ']).next().unwrap(),
    }
}

#[test]
fn captures_of_http_mean_what_they_are_known_to_mean() {
    let mut compared = 0;
    let paths = captures("http", "captures_of_http_mean_what_they_are_known_to_mean");
    for path in &paths {
        let text = known(path);
        let of_kind = |kind: &str| {
            let told = text.lines().filter(|line| line.contains("proto: Http1"));
            told.filter(|line| field(line, "msg_type") == kind)
                .collect::<Vec<_>>()
        };
        let (requests, responses) = (of_kind("Request"), of_kind("Response"));
        let (seen, counters) = decode(path);
        assert_eq!(
            (counters.malformed, counters.unknown_link),
            (0, 0),
            "{}",
            path.display()
        );
        let mut documents = seen.documents.iter().filter(|document| {
            document["network"]["protocol"] == "http" && document["http"]["version"] != "2"
        });
        for (request, response) in requests.iter().zip(&responses) {
            let document = documents
                .next()
                .unwrap_or_else(|| panic!("no document for {request}"));
            let method = document["http"]["request"]["method"].as_str().unwrap();
            assert_eq!(method.to_lowercase(), field(request, "method").to_lowercase());
            assert_eq!(document["url"]["original"], field(request, "path"));
            let host = &document["http"]["request"]["headers"]["host"][0];
            assert_eq!(host, field(request, "host"));
            assert_eq!(
                document["http"]["request"]["body"]["bytes"].to_string(),
                field(request, "req_content_length")
            );
            assert_eq!(
                document["source"]["bytes"].to_string(),
                field(request, "captured_request_byte")
            );
            assert_eq!(
                document["http"]["response"]["status_code"].to_string(),
                field(response, "status_code")
            );
            compared += 1;
        }
    }
    assert!(paths.is_empty() || compared > 0);
}

#[test]
fn captures_of_dubbo_are_read_without_losses() {
    for path in captures("dubbo", "captures_of_dubbo_are_read_without_losses") {
        let (_, counters) = decode(&path);
        let lost = [
            counters.malformed,
            counters.unknown_link,
            counters.not_ip,
            counters.incomplete_fragments,
            counters.gaps,
            counters.bound_reached,
            counters.decoder_panics,
        ];
        assert_eq!(lost, [0; 7], "{}: {counters:?}", path.display());
        assert!(counters.connections > 0);
    }
}
