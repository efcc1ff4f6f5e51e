//! Messages that do not match: questions that can't be read, several of them, answers that come twice, too late, or to nothing.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::Decoder;

/// A query whose name points forward, into nothing.
fn unreadable_query(id: u16) -> Vec<u8> {
    let mut bytes = query(id, "", A);
    bytes.splice(12..13, [0xc0, 0x40]);
    bytes
}

fn unreadable_response(id: u16) -> Vec<u8> {
    let mut bytes = response(id, 0, "", A, &[]);
    bytes.splice(12..13, [0xc0, 0x40]);
    bytes
}

/// The kinds of a document's anomalies.
fn kinds(document: &Value) -> Vec<&str> {
    let list = document["weir"]["anomalies"].as_array();
    list.into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap().split(':').next().unwrap())
        .collect()
}

#[test]
fn a_question_that_can_not_be_read_is_paired_by_its_id() {
    let document = Observer::udp()
        .client(0, unreadable_query(1))
        .server(1, response(1, 0, "a", A, &[(A, 1, &[198, 18, 0, 9])]))
        .document();
    assert_eq!(kinds(&document), ["malformed_query", "paired_by_id"]);
    assert_eq!(document["weir"]["dns"]["rcode"], 0);
    assert_eq!(document["dns"]["question"]["name"], "a");
    assert_eq!(document["dns"]["resolved_ip"], json!(["198.18.0.9"]));
    let document = Observer::udp()
        .client(0, query(1, "a", A))
        .server(1, unreadable_response(1))
        .document();
    assert_eq!(kinds(&document), ["paired_by_id", "malformed_response"]);
    assert_eq!(document["dns"]["question"]["name"], "a");
    // The same bytes need no guess; nor do both that are read.
    let document = Observer::udp()
        .client(0, unreadable_query(1))
        .server(1, unreadable_response(1))
        .document();
    assert_eq!(kinds(&document), ["malformed_query", "malformed_response"]);
    // A question that ends within its name, or has a label of an unknown kind.
    for broken in [&[0x40, 1, 0, 0, 1, 0, 1][..], &[5, b'a']] {
        let garbage = [&query(1, "", A)[..12], broken].concat();
        let mut flow = Observer::udp();
        flow.client(0, &garbage).client(1, &garbage);
        let document = flow.server(2, response(1, 1, "a", A, &[])).document();
        assert_eq!(kinds(&document), ["malformed_query", "paired_by_id"]);
        assert_eq!(document["weir"]["dns"], json!({"rcode": 1, "repeats": 1}));
    }
}

#[test]
fn an_id_that_several_queries_have_pairs_nothing_that_is_unreadable() {
    let mut flow = Observer::udp();
    flow.client(0, query(1, "a", A))
        .client(1, query(1, "b", A))
        .server(2, unreadable_response(1))
        .server(3, response(1, 0, "b", A, &[]))
        .tick(9000);
    let documents = flow.documents();
    assert_eq!(kinds(&documents[0]), ["unmatched_response", "malformed_response"]);
    assert_eq!(documents[1]["dns"]["question"]["name"], "b");
    assert_eq!(documents[2]["error"]["type"], "timeout");
    // One of them alone can't be read: a response to neither of the others is that one's.
    let mut flow = Observer::udp();
    flow.client(0, query(1, "a", A))
        .client(1, unreadable_query(1))
        .server(2, response(1, 0, "c", A, &[]))
        .server(3, response(1, 0, "a", A, &[]));
    let documents = flow.documents();
    assert_eq!(kinds(&documents[0]), ["malformed_query", "paired_by_id"]);
    assert_eq!(kinds(&documents[1]), [""; 0]);
}

#[test]
fn several_questions_are_told() {
    let three = |flags: u16| {
        let mut bytes = message(1, flags, [0; 3], "a", A);
        bytes[5] = 3;
        for other in ["b", "c"] {
            bytes.extend(name(other));
            bytes.extend([0, 1, 0, 1]);
        }
        bytes
    };
    let expected = json!(["several_questions: 3, of which one at most is told"]);
    let document = Observer::udp()
        .client(0, three(0x0100))
        .server(1, three(0x8180))
        .document();
    assert_eq!(document["weir"]["anomalies"], expected);
    assert_eq!(document["dns"]["question"]["name"], "a");
    let document = Observer::udp().client(0, three(0x0100)).tick(7000).document();
    assert_eq!(document["weir"]["anomalies"], expected);
    let document = Observer::udp()
        .client(0, query(1, "a", A))
        .server(1, response(1, 0, "a", A, &[]))
        .document();
    assert_eq!(document["weir"].get("anomalies"), None);
}

#[test]
fn an_answer_that_comes_too_late_has_a_document() {
    let late = response(1, 0, "a", A, &[(A, 1, &[198, 18, 0, 9])]);
    let mut flow = Observer::udp();
    flow.client(0, query(1, "A", A)).tick(6000).server(7000, &late);
    flow.server(7001, &late)
        .client(8000, query(2, "b", A))
        .tick(15_000);
    let documents = flow.documents();
    assert_eq!(documents.len(), 3, "{documents:#?}");
    assert_eq!(documents[0]["error"]["type"], "timeout");
    assert_eq!(
        documents[1]["weir"]["anomalies"],
        json!(["late_response: 7000 ms after its query, which was given up"])
    );
    assert_eq!(documents[1]["dns"]["resolved_ip"], json!(["198.18.0.9"]));
    assert_eq!(documents[1]["event"].get("duration"), None);
    assert_ne!(documents[0]["event"]["id"], documents[1]["event"]["id"]);
    // Its copy is counted.
    assert_eq!(documents[2]["weir"]["dns"]["copies"], 1);
}

#[test]
fn answers_to_nothing_and_second_answers_have_documents_and_copies_have_none() {
    let (first, second) = (
        response(1, 0, "a", A, &[(A, 1, &[198, 18, 0, 9])]),
        response(1, 3, "a", A, &[]),
    );
    let mut flow = Observer::udp();
    flow.client(0, query(1, "a", A))
        .server(1, &first)
        .server(2, &first)
        .server(3, &second)
        .server(4, &second)
        .server(5, response(2, 0, "a", A, &[]))
        .server(6, response(1, 0, "b", A, &[]));
    let documents = flow.documents();
    let told: Vec<_> = documents
        .iter()
        .map(|document| (kinds(document), document["weir"]["dns"]["copies"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (vec![], Value::Null),
            (vec!["second_response"], json!(1)),
            (vec!["unmatched_response"], json!(1)),
            (vec!["unmatched_response"], Value::Null),
        ]
    );
    // Of a flow whose queries may have been missed nothing is odd.
    let mut flow = Observer::udp();
    flow.decoder = Decoder::late_dns_datagrams(&limits());
    let document = flow.server(0, &first).server(1, &first).document();
    assert_eq!(kinds(&document), [""; 0]);
}

#[test]
fn a_zone_transfer_is_one_exchange() {
    let first = response(1, 0, "a", 252, &[(A, 1, &[198, 18, 0, 1])]);
    let mut next = response(1, 0, "a", 252, &[(A, 1, &[198, 18, 0, 2])]);
    let mut flow = Observer::tcp();
    flow.client(0, framed(&query(1, "a", 252)))
        .server(1, framed(&first));
    for at in 0..100 {
        flow.server(2 + at, framed(&next));
    }
    // The messages behind the first may have no question.
    next.splice(4..6, [0, 0]);
    next.splice(12..19, []);
    flow.server(200, framed(&next));
    assert_eq!(kinds(&flow.document()), ["zone_transfer"]);
}

#[test]
fn what_waits_is_held_to_account() {
    let mut flow = Observer::udp();
    let idle = flow.decoder.held();
    let long = vec!["\u{1}".repeat(60); 4].join(".");
    for id in 0..16 {
        flow.client(0, query(id, &long, A));
    }
    // Each name has four signs for each of its bytes in a document, and comes as it was sent besides.
    assert!(
        flow.decoder.held() - idle > 16 * 5 * 240,
        "{}",
        flow.decoder.held()
    );
    flow.tick(9000);
    assert!(flow.decoder.held() < idle + (16 << 10), "{}", flow.decoder.held());
}
