//! However it is cut, a connection is found to be the same, and each exchange comes out once.

use crate::{support::*, tls, wire::*};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashSet;
use weir_protocols::{Close, Decoder, Side};

/// What a side may send: whole and broken parts of every protocol. (Not the preface of HTTP/2: it makes that certain, and
/// where its frames are found again depends on segments.)
fn pieces() -> Vec<Vec<u8>> {
    vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        GET.into(),
        b"GET / HTTP/1.1\r\nno field\r\n\r\n".to_vec(),
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        OK.into(),
        b"HTTP/1.1 204 x\r\n\r\n".to_vec(),
        b"+OK\r\n".to_vec(),
        b"220 hello\r\n".to_vec(),
        SETTINGS.to_vec(),
        NO_HELLO.to_vec(),
        tls::record(tls::HANDSHAKE, &tls::client_hello("a")),
        query(1, 0, b""),
        query(2, 1, b"\xff\xff"),
        no_such_name(1),
        no_such_name(2),
        call(1, true),
        call(2, false),
        reply(1),
        dubbo(0x82, 0, 3, b"\xff\xff"),
        dubbo(0xc2, 0, 4, b""),
        vec![0, 1, 2, 3, 0xff],
        vec![0; 40],
    ]
}

fn step() -> impl Strategy<Value = (Side, usize, usize)> {
    let side = prop_oneof![Just(Side::Client), Just(Side::Server)];
    (side, 0..pieces().len(), 0..400usize)
}

/// Everything but times.
fn documents(decoder: Decoder, steps: &[(Side, Vec<u8>)], cut: usize) -> Vec<Value> {
    let mut seen = Observer::of(decoder);
    for (side, bytes) in steps {
        for part in bytes.chunks(cut) {
            seen.step(&Step::Data(*side, part.to_vec()));
        }
    }
    seen.step(&Step::Close(Close::Finished));
    let mut documents = seen.documents();
    for document in &mut documents {
        document.as_object_mut().unwrap().remove("@timestamp");
        document["event"].as_object_mut().unwrap().remove("duration");
        document["event"].as_object_mut().unwrap().remove("end");
        document["weir"].as_object_mut().unwrap().remove("timing");
    }
    let ids: HashSet<_> = documents
        .iter()
        .map(|document| document["event"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), documents.len(), "an exchange came out twice");
    documents
}

fn bytes(steps: &[(Side, usize, usize)]) -> Vec<(Side, Vec<u8>)> {
    let pieces = pieces();
    let mut steps: Vec<_> = steps
        .iter()
        .map(|(side, piece, length)| {
            let piece = &pieces[*piece];
            // Mostly whole.
            let length = if *length < 300 {
                piece.len()
            } else {
                length % piece.len()
            };
            (*side, piece[..length].to_vec())
        })
        .collect();
    steps.retain(|(_, bytes)| !bytes.is_empty());
    steps
}

/// A body without an end was ended by a status line at the beginning of a segment, while another request waited.
fn ends_at_a_segment(documents: &[Value]) -> bool {
    documents.iter().any(|document| {
        let anomalies = document["weir"]["anomalies"].as_array();
        anomalies.is_some_and(|list| list.iter().any(|anomaly| anomaly == "response_body_end_unknown"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_gives_the_same_documents(steps in prop::collection::vec(step(), 1..7), cut in 1..9usize) {
        let steps = bytes(&steps);
        let whole = documents(Decoder::new(&limits()), &steps, usize::MAX);
        let cut = documents(Decoder::new(&limits()), &steps, cut);
        prop_assume!(!ends_at_a_segment(&whole) && !ends_at_a_segment(&cut));
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn joined_late_each_comes_out_once(steps in prop::collection::vec(step(), 1..9), cut in 1..50usize) {
        documents(Decoder::late(&limits()), &bytes(&steps), cut);
    }
}
