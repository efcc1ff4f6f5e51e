//! Captures of DNS that is unusual: records of rare types, messages that do not match, streams of which something was missed.

use crate::support::*;

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
