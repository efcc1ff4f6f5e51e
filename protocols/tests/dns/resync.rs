//! DNS over TCP of which something was missed, or that has bytes that belong to no message.

use crate::support::*;
use serde_json::Value;
use weir_protocols::{Close, Side};
use weir_records::Timestamp;

const CLIENT_GAP: &str = "gap: bytes of the client before this were missed";
const SERVER_GAP: &str = "gap: bytes of the server before this were missed";
const QUERY_MISSED: &str = "gap: bytes of the client were missed, the query may be among them";
const RESPONSE_MISSED: &str = "gap: bytes of the server were missed, the response may be among them";

fn asks(id: u16) -> Vec<u8> {
    framed(&query(id, &format!("n{id}.example"), A))
}

fn answers(id: u16) -> Vec<u8> {
    framed(&response(
        id,
        0,
        &format!("n{id}.example"),
        A,
        &[
            (A, 60, &[198, 18, 0, 9]),
            (16, 60, &[b"\x40", &[b'x'; 64][..]].concat()),
        ],
    ))
}

impl Observer {
    fn gap(&mut self, side: Side, missed: Option<usize>) -> &mut Self {
        let out = &mut |exchange| self.exchanges.push(exchange);
        let missed = missed.map(|missed| missed as u64);
        self.decoder.gap(side, Timestamp(50 * MS), missed, out);
        self
    }
}

/// Id, outcome and anomalies of each document.
fn told(flow: &Observer) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let documents = flow.documents();
    let told = documents.iter().map(|document| {
        let anomalies = document["weir"]["anomalies"].as_array();
        (
            text(&document["dns"]["id"]),
            text(&document["event"]["outcome"]),
            anomalies.into_iter().flatten().map(text).collect(),
        )
    });
    told.collect()
}

fn line(id: &str, outcome: &str, anomalies: &[&str]) -> (String, String, Vec<String>) {
    let anomalies = anomalies.iter().map(ToString::to_string).collect();
    (id.into(), outcome.into(), anomalies)
}

#[test]
fn the_next_query_is_found_after_a_gap_of_any_length() {
    let lost = asks(2);
    for missed in [None, Some(lost.len() - 9), Some(lost.len() - 9 + 300)] {
        for piece in [1, 7, 1000] {
            let mut flow = Observer::tcp();
            // The second query is lost, but for a few bytes at its end.
            flow.client(0, asks(1)).gap(Side::Client, missed);
            let rest = [&lost[lost.len() - 9..], &asks(3), &asks(4)].concat();
            for bytes in rest.chunks(piece) {
                flow.client(60, bytes);
            }
            for id in 1..=4 {
                flow.server(70, answers(id));
            }
            flow.close(99, Close::Finished);
            assert_eq!(
                told(&flow),
                [
                    line("1", "success", &[]),
                    line(
                        "2",
                        "success",
                        &["unmatched_response: no query waits for it", QUERY_MISSED]
                    ),
                    line("3", "success", &[CLIENT_GAP]),
                    line("4", "success", &[]),
                ],
                "{missed:?}, in pieces of {piece}"
            );
        }
    }
}

#[test]
fn a_query_whose_answer_may_be_in_a_gap_is_unknown() {
    for how in [Close::Finished, Close::Reset(Side::Server)] {
        let mut flow = Observer::tcp();
        for id in 1..=3 {
            flow.client(0, asks(id));
        }
        flow.server(1, answers(1))
            .gap(Side::Server, Some(answers(2).len()));
        flow.server(60, answers(3)).client(61, asks(4)).close(99, how);
        assert_eq!(
            told(&flow),
            [
                line("1", "success", &[]),
                line("3", "success", &[SERVER_GAP]),
                line("2", "unknown", &[RESPONSE_MISSED]),
                line("4", "failure", &[]),
            ]
        );
        let errors: Vec<_> = flow
            .documents()
            .iter()
            .map(|d| d["error"]["type"].clone())
            .collect();
        assert_eq!(errors[2].is_null(), how == Close::Finished);
    }
}

#[test]
fn a_gap_within_a_message_is_stepped_over() {
    let long = answers(1);
    let mut flow = Observer::tcp();
    flow.client(0, [asks(1), asks(2)].concat())
        .server(1, &long[..50])
        .gap(Side::Server, Some(20))
        .server(60, [&long[70..], &answers(2)].concat())
        .close(99, Close::Finished);
    assert_eq!(
        told(&flow),
        [
            line("1", "success", &["gap: bytes of the response were missed"]),
            line("2", "success", &[]),
        ]
    );
    let document = &flow.documents()[0];
    assert_eq!(document["destination"]["bytes"], long.len());
    assert_eq!(document["dns"]["answers"].as_array().unwrap().len(), 1);
    assert_eq!(document["weir"]["truncated"], true);
    // Up to its end exactly; before its id is known.
    for known in [5, 30] {
        let mut flow = Observer::tcp();
        flow.client(0, [asks(1), asks(2)].concat())
            .server(1, &long[..known])
            .gap(Side::Server, Some(long.len() - known))
            .server(60, answers(2))
            .close(99, Close::Finished);
        let outcomes: Vec<_> = told(&flow)
            .iter()
            .map(|(id, outcome, _)| format!("{id} {outcome}"))
            .collect();
        let expected: &[&str] = match known {
            5 => &["2 success", "1 unknown"],
            _ => &["1 success", "2 success"],
        };
        assert_eq!(outcomes, expected);
    }
}

#[test]
fn messages_are_found_among_bytes_that_belong_to_none() {
    for junk in [
        &[0][..],
        &[0, 0],
        &[0, 5, 1, 2, 3, 4, 5],
        &[7],
        &[0x20, 0, 0],
        b"junk junk",
        &[0xff; 40],
    ] {
        for piece in [1, 5, 1000] {
            let mut flow = Observer::tcp();
            flow.client(0, asks(1)).server(1, answers(1));
            for bytes in [junk, &asks(2), &asks(3)].concat().chunks(piece) {
                flow.client(2, bytes);
            }
            for bytes in [&answers(2), junk, &answers(3)].concat().chunks(piece) {
                flow.server(3, bytes);
            }
            flow.client(4, asks(4))
                .server(5, answers(4))
                .close(99, Close::Finished);
            let outcomes: Vec<_> = told(&flow)
                .iter()
                .map(|(id, outcome, _)| format!("{id} {outcome}"))
                .collect();
            assert_eq!(
                outcomes,
                ["1 success", "2 success", "3 success", "4 success"],
                "{junk:x?} in pieces of {piece}"
            );
            let bytes = junk.len();
            assert_eq!(
                told(&flow)[1].2,
                [format!(
                    "resynchronised: {bytes} bytes of the client belong to no message"
                )]
            );
            assert_eq!(
                told(&flow)[2].2,
                [format!(
                    "resynchronised: {bytes} bytes of the server belong to no message"
                )]
            );
        }
    }
}

#[test]
fn what_is_never_dns_again_is_left_alone() {
    for (junk, pieces) in [(b"GET / HTTP/1.1\r\n".repeat(4096), 17), (vec![0; 64 << 10], 17)] {
        let mut flow = Observer::tcp();
        flow.client(0, asks(1)).server(1, answers(1)).client(2, asks(2));
        flow.client(3, [0]);
        for _ in 0..pieces {
            assert!(!flow.decoder.is_opaque());
            assert!(flow.decoder.held() < 300 << 10, "{}", flow.decoder.held());
            flow.client(4, &junk);
        }
        assert!(flow.decoder.is_opaque());
        assert_eq!(told(&flow)[1], line("2", "unknown", &[]));
    }
}

#[test]
fn messages_with_odd_headers_are_still_messages() {
    // Three questions, an unknown operation, no question at all: none begins as messages do that are searched for.
    let mut three = query(1, "a.example", A);
    three[5] = 3;
    for other in ["b.example", "c.example"] {
        three.extend(name(other));
        three.extend([0, 1, 0, 1]);
    }
    let mut unknown = query(2, "a.example", A);
    unknown[2] |= 6 << 3;
    let none = [&[0, 3, 1, 0], &[0; 8][..]].concat();
    for odd in [three, unknown, none] {
        for piece in [1, 20, 1000] {
            let mut flow = Observer::tcp();
            flow.client(0, asks(9));
            for bytes in [framed(&odd), asks(8)].concat().chunks(piece) {
                flow.client(1, bytes);
            }
            flow.close(99, Close::Finished);
            let ids: Vec<_> = told(&flow).into_iter().map(|(id, ..)| id).collect();
            assert_eq!(ids, ["9", &odd[1].to_string(), "8"], "in pieces of {piece}");
        }
    }
}
