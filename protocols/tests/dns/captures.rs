//! Captures of real queries, in `../shared/corpus` beside the sources or in the directory that `WEIR_CORPUS` names:
//! `dns/*.pcap`, and beside each what another decoder reads in it (`*.result`).

use crate::support::Observer;
use serde_json::Value;
use std::{collections::HashMap, fs, path::PathBuf};

#[test]
fn captures_mean_what_they_are_known_to_mean() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let corpus = std::env::var_os("WEIR_CORPUS").map_or(beside, PathBuf::from);
    let directory = corpus.join("dns");
    if !directory.is_dir() {
        let missing = directory.display();
        eprintln!("SKIPPED captures_mean_what_they_are_known_to_mean: there is no {missing}");
        return;
    }
    let mut compared = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pcap") {
            let documents = documents(&fs::read(&path).unwrap());
            compared += compare(
                &documents,
                &fs::read_to_string(path.with_extension("result")).unwrap(),
            );
        }
    }
    assert!(compared > 0);
}

/// The documents of a capture of Ethernet and IPv4 in little-endian pcap.
fn documents(capture: &[u8]) -> Vec<Value> {
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0xa1b2_c3d4);
    let mut flows: HashMap<Vec<u8>, Observer> = HashMap::new();
    let (mut at, mut ms) = (24, 0);
    while at < capture.len() {
        let length = word(at + 8) as usize;
        let frame = &capture[at + 16..at + 16 + length];
        at += 16 + length;
        ms += 1;
        let ip = &frame[14..];
        let ip = &ip[..usize::from(u16::from_be_bytes([ip[2], ip[3]]))];
        let (addresses, transport) = (&ip[12..20], &ip[usize::from(ip[0] & 15) * 4..]);
        let (open, header): (fn() -> Observer, usize) = match ip[9] {
            6 => (Observer::tcp, usize::from(transport[12] >> 4) * 4),
            17 => (Observer::udp, 8),
            other => panic!("protocol {other}"),
        };
        let (ports, payload) = (&transport[..4], &transport[header..]);
        let asks = ports[2..] == [0, 53];
        let key = match asks {
            true => [&addresses[..4], &ports[..2], &addresses[4..]].concat(),
            false => [&addresses[4..], &ports[2..], &addresses[..4]].concat(),
        };
        let flow = flows.entry(key).or_insert_with(open);
        if asks {
            flow.client(ms, payload)
        } else {
            flow.server(ms, payload)
        };
    }
    flows.values().flat_map(Observer::documents).collect()
}

fn compare(documents: &[Value], known: &str) -> usize {
    let mut compared = 0;
    for line in known.lines() {
        // (A remark follows the object.)
        let known: Value = serde_json::Deserializer::from_str(line)
            .into_iter()
            .next()
            .unwrap()
            .unwrap();
        let Some(code) = known.get("response_code") else {
            continue;
        };
        let id = known["request_id"].to_string();
        let document = documents
            .iter()
            .find(|d| d["dns"]["id"] == id.as_str() && d["dns"]["question"]["type"] == known["request_type"])
            .unwrap_or_else(|| panic!("no document for {line}"));
        assert_eq!(document["dns"]["question"]["name"], known["request_resource"]);
        assert_eq!(&document["weir"]["dns"]["rcode"], code);
        assert_eq!(document["destination"]["bytes"], known["captured_response_byte"]);
        if let Some(address) = known["response_result"]
            .as_str()
            .and_then(|text| text.strip_prefix("A="))
        {
            let (address, rest) = address.split_once(" TTL=").unwrap();
            assert_eq!(document["dns"]["resolved_ip"][0], address);
            let ttl = document["dns"]["answers"][0]["ttl"].to_string();
            assert_eq!(rest.split(';').next(), Some(ttl.as_str()));
        }
        compared += 1;
    }
    compared
}
