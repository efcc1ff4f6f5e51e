//! Which query a response answers, and what becomes of those that have none.

use crate::support::{A, AAAA, Observer, framed, query, response};
use serde_json::json;
use weir_protocols::{Close, Side};

#[test]
fn a_query_without_an_answer_comes_out_after_six_seconds() {
    let mut flow = Observer::udp();
    flow.client(0, query(1, "a", A)).tick(5999);
    assert!(flow.exchanges.is_empty());
    let document = flow.tick(6000).document();
    assert_eq!(document["weir"]["dns"]["rcode"], -1);
    assert_eq!(document["error"]["type"], "timeout");
    assert_eq!(document["event"]["outcome"], "failure");
    assert_eq!(document["event"]["duration"], 6_000_000_000_u64);
    assert_eq!(document["dns"]["type"], "query");
    assert_eq!(document["dns"].get("response_code"), None);
}

#[test]
fn a_query_sent_again_is_one_query_that_waits_on() {
    let mut flow = Observer::udp();
    flow.client(0, query(1, "a", A))
        .client(5000, query(1, "a", A))
        .tick(10_999);
    let document = flow.server(11_000 - 1, response(1, 0, "a", A, &[])).document();
    assert_eq!(document["weir"]["dns"], json!({"rcode": 0, "repeats": 1}));
    assert_eq!(document["event"]["duration"], 10_999_000_000_u64);
}

#[test]
fn answers_find_their_queries_by_id_and_question_in_any_order() {
    let mut flow = Observer::udp();
    flow.client(0, query(1, "a", A))
        .client(1, query(1, "a", AAAA))
        .client(2, query(2, "a", A));
    // The case of the name does not matter.
    flow.server(3, response(2, 0, "A", A, &[]))
        .server(4, response(1, 0, "b", A, &[]));
    flow.server(5, response(1, 3, "a", AAAA, &[]))
        .server(6, response(1, 2, "a", A, &[]));
    let told: Vec<_> = flow
        .documents()
        .iter()
        .map(|d| {
            (
                d["dns"]["id"].clone(),
                d["dns"]["question"]["type"].clone(),
                d["dns"]["response_code"].clone(),
            )
        })
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["2", "A", "NOERROR"],
            // What was never asked.
            ["1", "A", "NOERROR"],
            ["1", "AAAA", "NXDOMAIN"],
            ["1", "A", "SERVFAIL"]
        ])
    );
    let ids: std::collections::HashSet<_> = flow
        .documents()
        .iter()
        .map(|d| d["event"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_server_that_can_not_read_the_question_may_leave_it_out() {
    let refusal = [0, 1, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let document = Observer::udp()
        .client(0, query(1, "a", A))
        .server(1, refusal)
        .document();
    assert_eq!(document["dns"]["response_code"], "FORMERR");
    assert_eq!(document["dns"]["question"]["name"], "a");
}

#[test]
fn the_end_of_a_flow_tells_why_there_is_no_answer() {
    let ending = |how| {
        let mut flow = Observer::udp();
        flow.client(0, query(1, "a", A)).close(1, how).document()
    };
    assert_eq!(
        ending(Close::Reset(Side::Server))["error"]["type"],
        "port_unreachable"
    );
    assert_eq!(ending(Close::Abandoned)["error"]["type"], "abandoned");
    assert_eq!(ending(Close::Abandoned)["event"]["outcome"], "unknown");
    let late = Observer::udp()
        .client(0, query(1, "a", A))
        .close(9000, Close::Abandoned)
        .document();
    assert_eq!(late["error"]["type"], "timeout");
}

#[test]
fn too_many_that_wait_give_up_the_oldest() {
    let mut flow = Observer::udp();
    for id in 0..17 {
        flow.client(0, query(id, "a", A));
    }
    let document = flow.document();
    assert_eq!(document["dns"]["id"], "0");
    assert_eq!(document["weir"]["anomalies"], json!(["too_many_pending"]));
}

#[test]
fn over_tcp_messages_may_come_in_any_pieces() {
    let client: Vec<u8> = [framed(&query(1, "a", A)), framed(&query(2, "b", AAAA))].concat();
    let server: Vec<u8> = [
        framed(&response(2, 0, "b", AAAA, &[])),
        framed(&response(1, 3, "a", A, &[])),
    ]
    .concat();
    for piece in [1, 2, 3, 13, 1000] {
        let mut flow = Observer::tcp();
        for (i, bytes) in client.chunks(piece).enumerate() {
            flow.client(i as u64, bytes);
        }
        for bytes in server.chunks(piece) {
            flow.server(500, bytes);
        }
        let documents = flow.documents();
        let names: Vec<_> = documents
            .iter()
            .map(|d| d["dns"]["question"]["name"].clone())
            .collect();
        assert_eq!(json!(names), json!(["b", "a"]), "in pieces of {piece}");
        assert_eq!(documents[0]["network"]["transport"], "tcp");
        assert_eq!(documents[0]["weir"]["dns"]["rcode"], 0);
    }
}

#[test]
fn over_tcp_the_connection_tells_what_was_not_answered() {
    let mut flow = Observer::tcp();
    flow.client(0, framed(&query(1, "a", A))).tick(60_000);
    assert!(flow.exchanges.is_empty());
    assert_eq!(
        flow.close(60_001, Close::Finished).document()["error"]["type"],
        "no_response"
    );
}
