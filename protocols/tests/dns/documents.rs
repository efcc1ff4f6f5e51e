//! What a document says.

use crate::support::{A, AAAA, Observer, message, opt, query, response};
use serde_json::{Value, json};

fn asked(question: &[u8], answer: &[u8]) -> Value {
    Observer::udp().client(5, question).server(7, answer).document()
}

#[test]
fn an_answer_has_its_question_records_addresses_and_latency() {
    let question = query(4660, "Shop.example", A);
    let alias = [&[5][..], b"store", &[0xc0, 0x11]].concat();
    let answer = response(
        4660,
        0,
        "Shop.example",
        A,
        &[(5, 60, &alias), (A, 30, &[198, 18, 0, 9])],
    );
    let document = asked(&question, &answer);
    assert_eq!(
        document["dns"],
        json!({
            "type": "answer", "id": "4660", "op_code": "QUERY", "response_code": "NOERROR",
            "header_flags": ["RD", "RA"],
            "question": {"name": "Shop.example", "type": "A", "class": "IN"},
            "answers": [
                {"name": "Shop.example", "type": "CNAME", "class": "IN", "ttl": 60, "data": "store.example"},
                {"name": "Shop.example", "type": "A", "class": "IN", "ttl": 30, "data": "198.18.0.9"},
            ],
            "resolved_ip": ["198.18.0.9"],
        })
    );
    assert_eq!(document["event"]["dataset"], "weir.dns");
    assert_eq!(document["event"]["outcome"], "success");
    assert_eq!(document["event"]["duration"], 2_000_000);
    assert_eq!(document["@timestamp"], "1970-01-01T00:00:00.005000000Z");
    assert_eq!(
        document["network"],
        json!({"transport": "udp", "type": "ipv4", "protocol": "dns", "direction": "egress"})
    );
    assert_eq!(document["source"]["bytes"], question.len());
    assert_eq!(
        document["destination"],
        json!({"ip": "198.18.0.1", "port": 53, "bytes": answer.len()})
    );
    assert_eq!(document["weir"]["dns"], json!({"rcode": 0}));
    assert_eq!(document["weir"].get("truncated"), None);
}

#[test]
fn every_kind_of_data_is_written_out() {
    let v6 = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let document = asked(
        &query(1, "a", 255),
        &response(
            1,
            0,
            "a",
            255,
            &[
                (AAAA, 1, &v6),
                (16, 1, b"\x05v=spf\x021\xff"),
                (15, 1, b"\x00\x0a\x04mail\x00"),
                (33, 1, b"\x00\x01\x00\x02\x00\x50\x01s\x00"),
                (65280, 1, b"\x01\xab"),
                // Of a known type, but not of its form: its bytes, nothing guessed.
                (A, 1, b"\x01\x02"),
                (12, 1, b"\x04a\"b\x01\x00"),
            ],
        ),
    );
    let data: Vec<_> = document["dns"]["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            format!(
                "{} {}",
                answer["type"].as_str().unwrap(),
                answer["data"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        data,
        [
            "AAAA 2001:db8::1",
            "TXT \"v=spf\" \"1\\255\"",
            "MX 10 mail",
            "SRV 1 2 80 s",
            "TYPE65280 \\# 2 01ab",
            "A \\# 2 0102",
            "PTR a\\\"b\\001",
        ]
    );
    assert_eq!(document["dns"]["resolved_ip"], json!(["2001:db8::1"]));
    assert_eq!(document["weir"].get("anomalies"), None);
}

#[test]
fn codes_have_their_names_and_all_but_noerror_fail() {
    for (code, name) in [
        (1, "FORMERR"),
        (2, "SERVFAIL"),
        (3, "NXDOMAIN"),
        (5, "REFUSED"),
        (12, "RCODE12"),
    ] {
        let document = asked(&query(1, "a", A), &response(1, code, "a", A, &[]));
        assert_eq!(document["dns"]["response_code"], name);
        assert_eq!(document["weir"]["dns"]["rcode"], code);
        assert_eq!(document["event"]["outcome"], "failure", "{name}");
        assert_eq!(document.get("error"), None);
    }
}

#[test]
fn edns_widens_the_code_and_tells_do() {
    let with_opt = |flags, high, dnssec| [message(1, flags, [0, 0, 1], "a", A), opt(high, dnssec)].concat();
    let document = asked(&with_opt(0x0100, 0, true), &with_opt(0x8180, 1, true));
    assert_eq!(document["dns"]["response_code"], "BADVERS");
    assert_eq!(document["weir"]["dns"]["rcode"], 16);
    assert_eq!(document["dns"]["header_flags"], json!(["RD", "RA", "DO"]));
}

#[test]
fn a_cut_answer_has_its_flag_and_is_no_fault() {
    // Four records announced, one and a half there.
    let mut answer = response(1, 0, "a", 16, &[(16, 1, b"\x01x"), (16, 1, b"\x01y")]);
    answer[2] |= 2;
    answer[7] = 4;
    answer.truncate(answer.len() - 3);
    let document = asked(&query(1, "a", 16), &answer);
    assert_eq!(document["dns"]["header_flags"], json!(["TC", "RD", "RA"]));
    assert_eq!(document["dns"]["answers"].as_array().unwrap().len(), 1);
    assert_eq!(document["weir"].get("anomalies"), None);
    assert_eq!(document["weir"].get("truncated"), None);
}

#[test]
fn what_is_malformed_is_named_and_the_rest_told() {
    let mut answer = response(1, 0, "a", A, &[(A, 1, &[198, 18, 0, 9])]);
    answer[7] = 2;
    let document = asked(&query(1, "a", A), &answer);
    assert_eq!(
        document["weir"]["anomalies"],
        json!(["malformed_response: answer"])
    );
    assert_eq!(document["dns"]["resolved_ip"], json!(["198.18.0.9"]));
    // A name that points at itself.
    let mut question = query(1, "", A);
    question.splice(12..13, [0xc0, 12]);
    let document = Observer::udp().client(0, question).tick(7000).document();
    assert_eq!(
        document["weir"]["anomalies"],
        json!(["malformed_query: question"])
    );
    assert_eq!(document["dns"].get("question"), None);
}

#[test]
fn more_answers_than_are_kept_are_counted() {
    let records = vec![(A, 1, &[198, 18, 0, 9][..]); 1000];
    let document = asked(&query(1, "a", A), &response(1, 0, "a", A, &records));
    assert_eq!(document["dns"]["answers"].as_array().unwrap().len(), 128);
    assert_eq!(document["weir"]["truncated"], true);
    assert_eq!(document["weir"]["original_sizes"], json!({"dns.answers": 1000}));
}
