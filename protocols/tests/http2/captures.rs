//! Captures of real peers, in `../shared/corpus` beside the sources or in the directory that `WEIR_CORPUS` names: what the
//! consumer of `dubbo/dubbo3-triple.pcap` says it called (`.expected.jsonl`).

use crate::pcap::pieces;
use crate::support::*;
use serde_json::Value;
use std::{fs, path::Path, path::PathBuf};
use weir_protocols::{Close, Decoder, Protocol};
use weir_records::Timestamp;

/// The corpus, or why the test is skipped.
fn corpus(test: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let corpus = std::env::var_os("WEIR_CORPUS")
        .map_or(beside, PathBuf::from)
        .join("dubbo");
    if corpus.is_dir() {
        return Some(corpus);
    }
    eprintln!("SKIPPED {test}: there is no {}", corpus.display());
    None
}

/// Everything in a capture, seen from its `skip`th piece on.
fn documents(path: &Path, skip: usize) -> Vec<Value> {
    let mut connections: Vec<Observer> = Vec::new();
    for (number, piece) in pieces(path).into_iter().enumerate() {
        while connections.len() <= piece.connection {
            let limits = limits(64);
            connections.push(Observer::of(if skip > 0 {
                Decoder::late(&limits)
            } else {
                Decoder::new(&limits)
            }));
        }
        if number < skip {
            continue;
        }
        let seen = &mut connections[piece.connection];
        seen.now = piece.at;
        let out = &mut |exchange| seen.exchanges.push(exchange);
        seen.decoder
            .data(piece.side, Timestamp(piece.at), &piece.bytes, out);
    }
    let mut documents = Vec::new();
    for mut connection in connections {
        if connection.protocol() == Protocol::Http2 {
            connection.close(Close::Finished);
            documents.extend(connection.documents());
        }
    }
    documents.sort_by_key(|document| document["@timestamp"].to_string());
    documents
}

#[test]
fn dump() {
    let Some(corpus) = corpus("dump") else { return };
    for d in documents(&corpus.join("dubbo3-triple.pcap"), 0) {
        eprintln!(
            "{} {} {} {} {} {:?}",
            d["@timestamp"],
            d["rpc"],
            d["error"],
            d["http"]["response"]["status_code"],
            d["event"]["outcome"],
            anomalies(&d)
        );
        eprintln!(
            "    {} {}",
            d["http"]["request"]["headers"], d["http"]["response"]["headers"]
        );
    }
}
