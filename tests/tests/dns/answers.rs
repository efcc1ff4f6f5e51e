//! What the application gets, and what the documents say of it.

use crate::stage::{LARGE, Stage, TAP, ask, asker, hear, in_every_mode, in_every_mode_and_tap, query};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};
use weir_tests::peer::again;

const A: u16 = 1;
const TXT: u16 = 16;

/// The documents of queries for this name.
fn of<'a>(documents: &'a [Value], name: &'a str) -> Vec<&'a Value> {
    documents
        .iter()
        .filter(|document| document["dns"]["question"]["name"] == name)
        .collect()
}

#[test]
fn dig_gets_every_kind_of_answer_and_each_has_its_document() {
    in_every_mode_and_tap(
        "dig_gets_every_kind_of_answer_and_each_has_its_document",
        |stage| {
            let cases = [
                ("both.weir.test A", "NOERROR", "198.18.9.2"),
                ("both.weir.test AAAA", "NOERROR", "fd00:198:18:9::2"),
                ("alias.weir.test A", "NOERROR", "both.weir.test."),
                ("text.weir.test TXT", "NOERROR", "\"some text\" \"and more\""),
                ("nobody.weir.test A", "NXDOMAIN", ""),
                ("broken.test A", "SERVFAIL", ""),
                ("elsewhere.example A", "REFUSED", ""),
            ];
            let mut asked = 0;
            for server in stage.first() {
                for transport in ["udp", "tcp"] {
                    for (question, status, data) in cases {
                        let flag = if transport == "tcp" { "+tcp" } else { "+notcp" };
                        let said = stage.dig(server, &format!("{question} {flag}"));
                        assert!(said.contains(&format!("status: {status}")), "{said}");
                        assert!(said.contains(data), "{said}");
                        assert!(said.contains(&format!("SERVER: {server}#53")), "{said}");
                        asked += 1;
                        let documents = stage.documents(asked);
                        assert_eq!(documents.len(), asked);
                        assert_document(&documents[asked - 1], stage, question, status, transport);
                        assert_eq!(documents[asked - 1]["destination"]["ip"], server.to_string());
                    }
                }
            }
        },
    );
}

fn assert_document(document: &Value, stage: &Stage, question: &str, status: &str, transport: &str) {
    let (name, kind) = question.split_once(' ').unwrap();
    let at = |pointer: &str| document.pointer(pointer).cloned().unwrap_or_default();
    let context = format!("{question} over {transport}: {document:#}");
    assert_eq!(
        at("/dns/question"),
        json!({"name": name, "type": kind, "class": "IN"}),
        "{context}"
    );
    assert_eq!(at("/dns/response_code"), status, "{context}");
    let outcome = if status == "NOERROR" { "success" } else { "failure" };
    assert_eq!(at("/event/outcome"), outcome, "{context}");
    assert_eq!(at("/network/transport"), transport, "{context}");
    assert_eq!(at("/network/direction"), "egress", "{context}");
    assert_eq!(at("/destination/port"), 53, "{context}");
    match stage.mode {
        TAP => assert_eq!(at("/weir/capture"), TAP, "{context}"),
        mode => assert_eq!(at("/weir/mode"), mode, "{context}"),
    }
    assert_eq!(at("/weir/anomalies"), Value::Null, "{context}");
    assert!(
        at("/event/duration").as_u64().is_some_and(|took| took > 0),
        "{context}"
    );
    let addresses = match name {
        "both.weir.test" if kind == "AAAA" => json!(["fd00:198:18:9::2"]),
        "both.weir.test" | "alias.weir.test" => json!(["198.18.9.2"]),
        _ => Value::Null,
    };
    assert_eq!(at("/dns/resolved_ip"), addresses, "{context}");
    if name == "text.weir.test" {
        assert_eq!(
            at("/dns/answers/0/data"),
            "\"some text\" \"and more\"",
            "{context}"
        );
        assert_eq!(at("/dns/answers/0/ttl"), 60, "{context}");
    }
}

#[test]
fn an_answer_too_large_for_a_datagram_is_asked_for_again_over_tcp() {
    in_every_mode_and_tap(
        "an_answer_too_large_for_a_datagram_is_asked_for_again_over_tcp",
        |stage| {
            for (i, server) in stage.first().into_iter().enumerate() {
                let said = stage.dig(server, "large.weir.test TXT +bufsize=1232");
                assert!(said.contains("Truncated, retrying in TCP mode"), "{said}");
                assert_eq!(said.matches(&"x".repeat(100)).count(), LARGE, "{said}");
                let documents = stage.documents(2 * (i + 1));
                // Two data threads may have carried them, and either may export first.
                let by = |transport| {
                    let mut latest = documents[2 * i..].iter();
                    latest
                        .find(|document| document["network"]["transport"] == transport)
                        .unwrap()
                };
                let [udp, tcp] = ["udp", "tcp"].map(by);
                let flags = |document: &Value| document["dns"]["header_flags"].to_string();
                assert!(flags(udp).contains("TC"), "{udp:#}");
                assert!(!flags(tcp).contains("TC"), "{tcp:#}");
                assert_eq!(tcp["dns"]["answers"].as_array().unwrap().len(), LARGE);
            }
        },
    );
}

#[test]
fn an_answer_is_byte_for_byte_that_of_a_direct_query() {
    in_every_mode("an_answer_is_byte_for_byte_that_of_a_direct_query", |stage| {
        for server in stage.first() {
            for (id, name, kind) in [
                (0, "both.weir.test", A),
                (4660, "bOtH.wEiR.tEsT", A),
                (65535, "large.weir.test", TXT),
                (7, "nobody.weir.test", A),
            ] {
                let query = query(id, name, kind);
                let before = stage.queries();
                let direct = ask(&stage.outside, server, &query);
                assert_eq!(stage.queries(), before);
                assert_eq!(ask(&stage.pod, server, &query), direct, "{name} of {server}");
                assert_eq!(stage.queries(), before + 1);
            }
        }
    });
}

#[test]
fn a_thousand_queries_at_once_each_get_their_own_answer() {
    const CLIENTS: usize = 1000;
    in_every_mode_and_tap("a_thousand_queries_at_once_each_get_their_own_answer", |stage| {
        for (turn, server) in stage.first().into_iter().enumerate() {
            // The same id for all: only the sockets tell them apart.
            let clients: Vec<_> = (0..CLIENTS)
                .map(|i| {
                    (
                        asker(&stage.pod, server),
                        query(7, &format!("n{i}.many.weir.test"), A),
                    )
                })
                .collect();
            for (i, (socket, query)) in clients.iter().enumerate() {
                socket.send(query).unwrap();
                // Datagrams may be lost where a buffer is full, as without Weir: no more on the way than one holds.
                if i >= 200 {
                    assert_is_answer(&clients[i - 200].1, &hear(&clients[i - 200].0));
                }
            }
            for (socket, query) in &clients[CLIENTS - 200..] {
                assert_is_answer(query, &hear(socket));
            }
            let documents = stage.documents(CLIENTS * (turn + 1));
            let names: HashSet<_> = documents[CLIENTS * turn..]
                .iter()
                .map(|document| document["dns"]["question"]["name"].to_string())
                .collect();
            assert_eq!((documents.len(), names.len()), (CLIENTS * (turn + 1), CLIENTS));
            assert!(
                documents
                    .iter()
                    .all(|document| document["dns"]["response_code"] == "NOERROR")
            );
        }
        assert_eq!(stage.sidecar().metric("weir_dns_dropped_total", &[]), 0);
    });
}

#[test]
fn a_thousand_queries_may_wait_at_once_and_be_answered_in_any_order() {
    const CLIENTS: usize = 1000;
    const BATCH: usize = 100;
    in_every_mode_and_tap(
        "a_thousand_queries_may_wait_at_once_and_be_answered_in_any_order",
        |stage| {
            for (turn, server) in stage.silent().into_iter().enumerate() {
                let resolver = stage.silent_socket(server);
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|i| (asker(&stage.pod, server), query(7, &format!("n{i}.held.test"), A)))
                    .collect();
                let mut waiting = Vec::new();
                for batch in clients.chunks(BATCH) {
                    for (socket, query) in batch {
                        socket.send(query).unwrap();
                    }
                    for _ in batch {
                        let mut query = [0; 512];
                        let (length, from) = again(|| resolver.recv_from(&mut query)).unwrap();
                        waiting.push((query[..length].to_vec(), from));
                    }
                }
                let sources: HashSet<_> = waiting.iter().map(|(_, from)| from.port()).collect();
                assert_eq!(sources.len(), CLIENTS, "each from a port of its own");
                // The last that was asked is answered first.
                waiting.reverse();
                for batch in waiting.chunks(BATCH) {
                    for (query, from) in batch {
                        let mut answer = query.clone();
                        answer[2] |= 0x80;
                        resolver.send_to(&answer, from).unwrap();
                    }
                    for (query, _) in batch {
                        let asked = |(_, own): &&(_, Vec<u8>)| own == query;
                        let (socket, query) = clients.iter().find(asked).unwrap();
                        assert_is_answer(query, &hear(socket));
                    }
                }
                assert_eq!(stage.documents(CLIENTS * (turn + 1)).len(), CLIENTS * (turn + 1));
            }
            assert_eq!(stage.sidecar().metric("weir_dns_dropped_total", &[]), 0);
        },
    );
}

#[test]
fn one_socket_may_ask_many_things_at_once() {
    in_every_mode_and_tap("one_socket_may_ask_many_things_at_once", |stage| {
        let socket = asker(&stage.pod, stage.first()[0]);
        let asked: Vec<_> = (0..200)
            .map(|id| query(id, &format!("n{id}.many.weir.test"), A))
            .collect();
        for query in &asked {
            socket.send(query).unwrap();
        }
        let mut answered = HashSet::new();
        for _ in &asked {
            let answer = hear(&socket);
            let id = u16::from_be_bytes([answer[0], answer[1]]);
            assert_is_answer(&asked[usize::from(id)], &answer);
            assert!(answered.insert(id), "{id} twice");
        }
        let documents = stage.documents(asked.len());
        let flows: HashSet<_> = documents
            .iter()
            .map(|d| d["weir"]["flow_id"].to_string())
            .collect();
        assert_eq!((documents.len(), flows.len()), (asked.len(), 1));
    });
}

/// The same id and question, and no error.
fn assert_is_answer(query: &[u8], answer: &[u8]) {
    let question = &query[12..query.len() - 11];
    assert_eq!(answer[..2], query[..2]);
    assert_eq!(&answer[12..12 + question.len()], question);
    assert_eq!(answer[3] & 15, 0);
}

#[test]
fn queries_over_one_tcp_connection_each_have_their_document() {
    in_every_mode_and_tap(
        "queries_over_one_tcp_connection_each_have_their_document",
        |stage| {
            let server = (stage.first()[0], 53);
            let mut stream = stage.pod.enter(|| TcpStream::connect(server)).unwrap().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let names = ["both.weir.test", "nobody.weir.test"];
            for (id, name) in (0..).zip(names) {
                let query = query(id, name, A);
                let length = u16::try_from(query.len()).unwrap().to_be_bytes();
                // In pieces that are no message each.
                for piece in [&length[..1], &[&length[1..], &query[..5]].concat(), &query[5..]] {
                    stream.write_all(piece).unwrap();
                }
            }
            for _ in names {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                stream
                    .read_exact(&mut vec![0; u16::from_be_bytes(length).into()])
                    .unwrap();
            }
            let documents = stage.documents(2);
            assert_eq!(of(&documents, names[0])[0]["dns"]["response_code"], "NOERROR");
            assert_eq!(of(&documents, names[1])[0]["dns"]["response_code"], "NXDOMAIN");
        },
    );
}
