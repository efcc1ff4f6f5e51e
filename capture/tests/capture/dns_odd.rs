//! Captures of DNS that is unusual: records of rare types, messages that do not match, streams of which something was missed.

use crate::support::*;
use serde_json::Value;

fn data(seen: &Seen) -> Vec<&str> {
    let answers = seen
        .documents
        .iter()
        .flat_map(|document| document["dns"]["answers"].as_array().into_iter().flatten());
    answers.map(|answer| answer["data"].as_str().unwrap()).collect()
}

#[test]
fn records_are_told_as_a_zone_file_has_them() {
    assert_eq!(
        data(&repro("dns-https-record.pcap")),
        ["1 . alpn=h2 port=8443 ipv4hint=198.18.7.7"]
    );
    assert_eq!(
        data(&repro("dns-txt.pcap")),
        [r#""one \"q\"" "two\010line" "\255\254""#]
    );
}

/// Name, response code and kinds of anomalies of each document.
fn told(seen: &Seen) -> Vec<String> {
    let line = |document: &Value| {
        let anomalies = document["weir"]["anomalies"].as_array();
        let kinds = anomalies.into_iter().flatten().map(|text| {
            let text = text.as_str().unwrap();
            text.split(':').next().unwrap().to_owned()
        });
        let told = [
            document["dns"]["question"]["name"]
                .as_str()
                .unwrap_or("-")
                .to_owned(),
            document["weir"]["dns"]["rcode"].to_string(),
        ];
        told.into_iter().chain(kinds).collect::<Vec<_>>().join(" ")
    };
    seen.documents.iter().map(line).collect()
}

#[test]
fn a_stream_of_messages_goes_on_behind_a_gap() {
    assert_eq!(
        told(&repro("dns-tcp-after-gap.pcap")),
        [
            "a.example 0",
            "b.example 0 unmatched_response gap",
            "c.example 0 gap",
            "d.example 0"
        ]
    );
}

#[test]
fn messages_that_do_not_match_are_told() {
    assert_eq!(
        told(&repro("dns-unreadable-query.pcap")),
        ["a.example 0 malformed_query several_questions paired_by_id"]
    );
    assert_eq!(
        told(&repro("dns-late-answer.pcap")),
        ["a.example -1", "a.example 0 late_response"]
    );
    assert_eq!(
        told(&repro("dns-three-questions.pcap")),
        ["a.example 0 several_questions"]
    );
}
