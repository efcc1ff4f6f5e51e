//! Calls of every shape in real search servers: none is rejected, none makes the mapping grow, and what is in them is found.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests end where something is not as it should be.

use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use weir_config::{Elasticsearch, Period, Records, Sink};
use weir_export::Pipeline;
use weir_protocols::{Decoder, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};
use weir_tests::search::{Kind, Server};

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);
const CALLS: u64 = 1000;

/// A string in Hessian 2.
fn s(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut rest = text.as_bytes();
    while rest.len() > 30_000 {
        wire.extend([&b"R\x75\x30"[..], &rest[..30_000]].concat());
        rest = &rest[30_000..];
    }
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&wire[..], b"S", &length, rest].concat()
}

fn frame(flags: u8, status: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xda, 0xbb, flags, status][..], &id.to_be_bytes(), &length, body].concat()
}

/// One of many shapes, under keys and classes that no other number has.
fn shape(number: u64) -> Vec<u8> {
    let own = |name: &str| s(&format!("{name}{number}"));
    let int = [&b"L"[..], &(number << 40).to_be_bytes()].concat();
    match number % 12 {
        0 => int,
        1 => own("word"),
        2 => b"\x7bT\x5c\x91".to_vec(),
        // A list of plain values, lists and objects.
        3 => [
            &b"\x7d\x91"[..],
            &own("x"),
            b"H",
            &own("k"),
            b"\x91Z",
            b"\x7a\x91\x01aN",
        ]
        .concat(),
        4 => [
            &b"H"[..],
            &own("key"),
            b"\x91",
            &own("a.b"),
            b"T",
            b"\x00N",
            &s("."),
            b"NZ",
        ]
        .concat(),
        5 => [
            &b"C"[..],
            &own("x.C"),
            b"\x92",
            &own("f"),
            &s("same"),
            b"\x60",
            &own("v"),
            &int,
        ]
        .concat(),
        6 => [
            &b"C"[..],
            &own("x.C"),
            b"\x91",
            &s("same"),
            b"\x60",
            b"H",
            &own("k"),
            b"NZ",
        ]
        .concat(),
        7 => [&b"H\x91"[..], &own("one"), b"\x92", &own("two"), b"Z"].concat(),
        8 => b"J\x00\x00\x00\xd0\x4b\x92\x84\xb8".to_vec(),
        9 => b"D\x7f\xf8\x00\x00\x00\x00\x00\x00".to_vec(),
        10 => [&b"\x22\x01\x02"[..]].concat(),
        // Deeper than most, beside a text that is longer than a term may be.
        _ => [&b"\x7a"[..], &[0x79; 50], b"N", &s(&"endless ".repeat(5000))].concat(),
    }
}

/// The documents of as many calls, each of a method and a shape of its own, whose results have the shape of the next.
fn push(producer: &mut weir_export::Producer) {
    let limits = Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: 16,
        ..Limits::default()
    });
    let flow = Flow {
        id: DocumentId(7),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Ingress,
        client: "198.18.0.2:40000".parse().unwrap(),
        server: "198.18.0.1:20880".parse().unwrap(),
        opened: Timestamp(0),
        connect: None,
        host: None,
        wrapping: None,
    };
    let policy = Policy::new(&Records {
        max_value: 100_000,
        ..Records::default()
    });
    let mut decoder = Decoder::new(&limits);
    for number in 0..CALLS {
        let mut out = |exchange: weir_protocols::Exchange| producer.push(&exchange.document(&flow, &policy));
        let descriptor = "Ljava/lang/Object;Ljava/lang/Object;";
        let asked = [
            s("2.0.2"),
            s(&format!("lab.Service{number}")),
            s("1.0.0"),
            s(&format!("method{number}")),
            s(descriptor),
            shape(number),
            s(&format!("needle{number} in the hay")),
            [&b"H"[..], &s(&format!("attachment{number}")), b"\x91Z"].concat(),
        ];
        let result = [&b"\x91"[..], &shape(number + 1)].concat();
        let at = Timestamp(1_700_000_000_000_000_000 + number);
        let request = frame(0xc2, 0, number, &asked.concat());
        decoder.data(Side::Client, at, &request, &mut out);
        decoder.data(Side::Server, at, &frame(2, 20, number, &result), &mut out);
    }
    producer.flush();
}

/// The names of all fields.
fn fields(mapping: &Value, prefix: &str, names: &mut Vec<String>) {
    for (name, field) in mapping["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        fields(field, &format!("{path}."), names);
        names.push(path);
    }
}

fn calls_of_every_shape_are_taken(server: &Server) {
    let index = "calls";
    let mut settings = Elasticsearch::at(&server.url()).unwrap();
    settings.index = Some(index.into());
    settings.flush_interval = Period(Duration::from_millis(20));
    let pipeline = Pipeline::start(&[Sink::Elasticsearch(settings)]).unwrap();
    let mut producer = pipeline.producer();
    push(&mut producer);
    drop(producer);
    let stats = pipeline.stats();
    pipeline.shutdown(PATIENCE);
    let end = stats.snapshot().remove(0);
    assert_eq!((end.sent, end.rejected, end.queued), (CALLS, 0, CALLS), "{end:?}");
    assert_eq!(server.count(index).unwrap(), CALLS);

    let mapping = server.get(&format!("/{index}/_mapping")).unwrap().body;
    let mut names = Vec::new();
    fields(&mapping[index]["mappings"], "", &mut names);
    let mut expected = Vec::new();
    fields(&weir_records::schema::mapping(), "", &mut expected);
    names.sort();
    expected.sort();
    assert_eq!(names, expected, "1000 calls have not grown the mapping");

    for (query, hits) in [
        (json!({"match": {"dubbo.args_text": "needle417"}}), 1),
        // Wherever it is, as somebody would type it.
        (json!({"query_string": {"query": "needle999"}}), 1),
        (json!({"match": {"dubbo.args_text": "word13"}}), 1),
        (json!({"match": {"dubbo.args_text": "endless"}}), CALLS / 12),
        (json!({"term": {"dubbo.method": "method3"}}), 1),
        (json!({"term": {"rpc.method": "lab.Service3/method3"}}), 1),
        (json!({"term": {"rpc.system.name": "dubbo"}}), CALLS),
        (json!({"term": {"dubbo.request_id": 12}}), 1),
    ] {
        let found = server
            .search(index, &json!({"query": query, "track_total_hits": true}))
            .unwrap();
        assert_eq!(found["hits"]["total"]["value"], hits, "{query}: {found}");
    }
    let mixed = server
        .search(index, &json!({"query": {"term": {"dubbo.method": "method3"}}}))
        .unwrap();
    assert_eq!(
        mixed["hits"]["hits"][0]["_source"]["dubbo"]["args"][0],
        json!([1, "x3", {"k3": 1}, [1, "a"], null]),
        "as it was"
    );
}

/// In CI nothing is skipped.
fn against(test: &str, kind: Kind) {
    match Server::started(kind, &[]) {
        Ok(server) => calls_of_every_shape_are_taken(&server),
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{test}: {reason:#}"),
        Err(reason) => eprintln!("SKIPPED {test}: {reason:#}"),
    }
}

#[test]
fn calls_of_every_shape_are_taken_by_elasticsearch() {
    against(
        "calls_of_every_shape_are_taken_by_elasticsearch",
        Kind::Elasticsearch7,
    );
}

#[test]
fn calls_of_every_shape_are_taken_by_opensearch() {
    against("calls_of_every_shape_are_taken_by_opensearch", Kind::OpenSearch2);
}
