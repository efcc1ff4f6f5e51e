//! Any split gives the same documents; any bytes leave the decoder alive.

use crate::support::*;
use proptest::prelude::*;
use serde_json::Value;
use weir_protocols::{Close, Decoder, Side};

/// A value in Hessian 2 that uses no class or reference of another one.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(|int| [&b"I"[..], &int.to_be_bytes()].concat()),
        any::<i64>().prop_map(|long| [&b"L"[..], &long.to_be_bytes()].concat()),
        any::<f64>().prop_map(|double| [&b"D"[..], &double.to_be_bytes()].concat()),
        "[ -~\u{4e00}-\u{4e20}]{0,12}".prop_map(|text| s(&text)),
        prop::collection::vec(any::<u8>(), 0..15).prop_map(|bytes| [
            &[0x20 + u8::try_from(bytes.len()).unwrap()],
            &bytes[..]
        ]
        .concat()),
        Just(b"N".to_vec()),
        Just(b"\xda\xbb".repeat(3)).prop_map(|magic| [&[0x26], &magic[..]].concat()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| [
                &[0x78 + u8::try_from(items.len()).unwrap()],
                &items.concat()[..]
            ]
            .concat()),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(|pairs| {
                let pairs: Vec<u8> = pairs
                    .into_iter()
                    .flat_map(|(key, value)| [key, value].concat())
                    .collect();
                [&b"H"[..], &pairs, b"Z"].concat()
            }),
        ]
    })
}

/// A frame of the client's and what its server sends for it, if anything.
fn exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (value(), value(), 0..6_u8).prop_map(|(asked, answered, kind)| {
        let body = body("m", "Ljava/lang/Object;", &asked, &[("k", "v")]);
        match kind {
            0 => (heartbeat(0), heartbeat_answer(0)),
            1 => (frame(REQUEST | HESSIAN2, 0, 0, &body), Vec::new()),
            2 => (b"status\r\n".to_vec(), b"OK\r\ndubbo>".to_vec()),
            3 => (
                frame(REQUEST | TWO_WAY | HESSIAN2, 0, 0, &body),
                frame(HESSIAN2, 70, 0, &s("no")),
            ),
            _ => {
                let answer = [&b"\x91"[..], &answered].concat();
                (
                    frame(REQUEST | TWO_WAY | HESSIAN2, 0, 0, &body),
                    frame(HESSIAN2, 20, 0, &answer),
                )
            }
        }
    })
}

/// Gives each frame that waits for an answer a number of its own.
fn numbered(exchanges: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let number = |(at, (request, response)): (usize, &(Vec<u8>, Vec<u8>))| {
        let set = |frame: &[u8]| {
            let mut frame = frame.to_vec();
            if frame.starts_with(b"\xda\xbb") {
                frame[4..12].copy_from_slice(&(at as u64).to_be_bytes());
            }
            frame
        };
        (set(request), set(response))
    };
    exchanges.iter().enumerate().map(number).collect()
}

/// Everything but times, and what a time decides.
fn timeless(mut documents: Vec<Value>) -> Vec<Value> {
    for document in &mut documents {
        document.as_object_mut().unwrap().remove("@timestamp");
        document["event"].as_object_mut().unwrap().remove("duration");
        document["event"].as_object_mut().unwrap().remove("end");
        document["weir"].as_object_mut().unwrap().remove("timing");
    }
    documents
}

fn whole(exchanges: &[(Vec<u8>, Vec<u8>)]) -> Vec<Value> {
    let mut seen = Observer::new();
    // Its first frame tells what it is.
    seen.client(heartbeat(-1));
    for (request, response) in exchanges {
        seen.client(request).server(response);
    }
    seen.close(Close::Finished);
    timeless(seen.documents())
}

/// Cuts each piece at random places.
fn cut(exchanges: &[(Vec<u8>, Vec<u8>)], cuts: &[u8]) -> Vec<(Side, Vec<u8>)> {
    let mut cuts = cuts.iter().cycle().map(|cut| usize::from(*cut % 40) + 1);
    let mut pieces = Vec::new();
    for (request, response) in exchanges {
        for (side, bytes) in [(Side::Client, request), (Side::Server, response)] {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                pieces.push((side, piece.to_vec()));
                rest = tail;
            }
        }
    }
    pieces
}

proptest! {
    #[test]
    fn any_split_gives_the_same_documents(
        exchanges in prop::collection::vec(exchange(), 1..8),
        cuts in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let exchanges = numbered(&exchanges);
        let expected = whole(&exchanges);
        let mut seen = Observer::new();
        seen.client(heartbeat(-1));
        for (side, piece) in cut(&exchanges, &cuts) {
            seen.data(side, piece);
        }
        seen.close(Close::Finished);
        prop_assert_eq!(timeless(seen.documents()), expected);
    }

    #[test]
    fn mutated_conversations_are_survived(
        exchanges in prop::collection::vec(exchange(), 1..5),
        cuts in prop::collection::vec(any::<u8>(), 1..32),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..8),
        gap in any::<prop::sample::Index>(),
        late in any::<bool>(),
        serialization in prop::sample::select(vec![2_u8, 6, 23]),
    ) {
        let mut pieces = cut(&numbered(&exchanges), &cuts);
        for (piece, at, byte) in changes {
            let number = piece.index(pieces.len());
            let bytes = &mut pieces[number].1;
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut seen = Observer::of(if late { Decoder::late(&limits(3)) } else { Decoder::new(&limits(3)) });
        seen.client(frame(REQUEST | TWO_WAY | serialization, 0, -1, b"\0\0\0\x01I"));
        let gap = gap.index(pieces.len());
        for (number, (side, bytes)) in pieces.iter().enumerate() {
            let mut bytes = bytes.clone();
            if bytes.starts_with(b"\xda\xbb") && bytes.len() > 2 {
                bytes[2] = bytes[2] & 0xe0 | serialization;
            }
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
    fn any_body_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), serialization in prop::sample::select(vec![2_u8, 6, 23])) {
        let mut seen = Observer::new();
        seen.client(frame(REQUEST | TWO_WAY | serialization, 0, 1, &bytes));
        seen.server(frame(serialization, 20, 1, &bytes));
        prop_assert_eq!(seen.documents().len(), 1);
    }
}
