//! Any split gives the same documents; any bytes leave the decoder alive.

use crate::support::*;
use proptest::prelude::*;
use serde_json::Value;
use weir_protocols::{Close, Decoder, Side};

/// Everything but times, and what a time decides.
fn timeless(mut documents: Vec<Value>) -> Vec<Value> {
    for document in &mut documents {
        document.as_object_mut().unwrap().remove("@timestamp");
        document["event"].as_object_mut().unwrap().remove("duration");
        document["event"].as_object_mut().unwrap().remove("end");
        document["weir"].as_object_mut().unwrap().remove("timing");
        for side in ["request", "response"] {
            if let Some(counts) = document["rpc"][side].as_object_mut() {
                counts.remove("first_message");
                counts.remove("last_message");
            }
        }
    }
    documents
}

/// A conversation: its turns, each of one side.
fn turns() -> impl Strategy<Value = Vec<(Side, Vec<u8>)>> {
    let exchange = (
        "[a-z]{1,12}",
        prop::collection::vec(any::<u8>(), 0..300),
        any::<bool>(),
        0..6_u8,
    );
    prop::collection::vec(exchange, 1..8).prop_map(|exchanges| {
        let mut turns = vec![
            (Side::Client, [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()),
            (Side::Server, frame(SETTINGS, 0, 0, &[])),
        ];
        for (number, (path, body, insert, kind)) in exchanges.into_iter().enumerate() {
            let id = u32::try_from(number * 2 + 1).unwrap();
            let path = format!("/{path}/m");
            let fields = if kind < 3 { call(&path) } else { get(&path) };
            let head: Vec<u8> = fields
                .iter()
                .flat_map(|(name, value)| literal(if insert { 0x40 } else { 0 }, name, value))
                .collect();
            let (begin, end) = head.split_at(head.len() / 2);
            turns.push((
                Side::Client,
                [
                    frame(HEADERS, 0, id, begin),
                    frame(CONTINUATION, END_HEADERS, id, end),
                ]
                .concat(),
            ));
            let padded = [&[2][..], &message(false, &body), &[0, 0]].concat();
            turns.push((Side::Client, frame(DATA, PADDED | END_STREAM, id, &padded)));
            let answer = [&b"\x88"[..], &literal(0x40, "content-type", "application/grpc")].concat();
            turns.push((Side::Server, frame(HEADERS, END_HEADERS, id, &answer)));
            turns.push((Side::Server, data(id, false, &message(true, &body))));
            match kind {
                0 => turns.push((Side::Server, frame(RST_STREAM, 0, id, &[0, 0, 0, 2]))),
                1 => {}
                _ => turns.push((Side::Server, headers(id, true, &[("grpc-status", "0")]))),
            }
        }
        turns
    })
}

fn documents(turns: &[(Side, Vec<u8>)], cuts: &[u8]) -> Vec<Value> {
    let mut seen = Observer::of(Decoder::new(&keeping(100)));
    let mut cuts = cuts.iter().cycle();
    for (side, bytes) in turns {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = cuts.next().map_or(rest.len(), |cut| usize::from(*cut % 60) + 1);
            let (piece, tail) = rest.split_at(length.min(rest.len()));
            seen.data(*side, piece);
            rest = tail;
        }
    }
    seen.close(Close::Finished);
    timeless(seen.documents())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_documents(turns in turns(), cuts in prop::collection::vec(any::<u8>(), 1..64)) {
        let whole = documents(&turns, &[]);
        prop_assert!(!whole.is_empty());
        prop_assert_eq!(documents(&turns, &cuts), whole);
    }

    #[test]
    fn mutated_conversations_are_survived(
        turns in turns(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..8),
        gap in any::<prop::sample::Index>(),
        late in any::<bool>(),
    ) {
        let mut turns = turns;
        for (turn, at, byte) in changes {
            let turn = turn.index(turns.len());
            let bytes = &mut turns[turn].1;
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let limits = if late { limits(2) } else { keeping(20) };
        let mut seen = Observer::of(if late { Decoder::late(&limits) } else { Decoder::new(&limits) });
        let gap = gap.index(turns.len());
        for (number, (side, bytes)) in turns.iter().enumerate() {
            if number == gap {
                seen.gap(*side, Some(bytes.len() as u64));
            } else {
                seen.data(*side, bytes);
            }
        }
        seen.close(Close::Finished);
        let documents = seen.documents();
        let ids: std::collections::HashSet<_> = documents.iter().map(|d| d["event"]["id"].to_string()).collect();
        prop_assert_eq!(ids.len(), documents.len());
    }

    #[test]
    fn any_header_block_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut seen = Observer::new();
        seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bytes));
        seen.server(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bytes));
        seen.close(Close::Finished);
        prop_assert_eq!(seen.documents().len(), 1);
    }
}
