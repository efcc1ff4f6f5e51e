//! Any split gives the same document; any bytes are survived and counted.

use crate::{frames::*, support::*};
use proptest::prelude::*;
use serde_json::Value;
use weir_protocols::{Close, Side};

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

/// A message in fragments, with control frames between them.
fn message(side: Side) -> impl Strategy<Value = (Vec<u8>, usize)> {
    let fragments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4);
    (fragments, any::<bool>(), any::<bool>()).prop_map(move |(fragments, text, ping)| {
        let mut bytes = Vec::new();
        let last = fragments.len() - 1;
        for (at, fragment) in fragments.iter().enumerate() {
            let opcode = match (at, text) {
                (0, true) => TEXT,
                (0, false) => BINARY,
                _ => CONTINUATION,
            };
            let fin = if at == last { FIN } else { 0 };
            bytes.extend(frame(side, fin | opcode, fragment));
            if ping {
                bytes.extend(frame(side, FIN | PING, b"p"));
            }
        }
        (bytes, fragments.concat().len())
    })
}

fn documents(steps: &[(Side, Vec<u8>)], cut: usize) -> Vec<Value> {
    let mut seen = Observer::new();
    let all = [
        (Side::Client, REQUEST.into()),
        (Side::Server, switch(ACCEPT).into_bytes()),
    ];
    for (side, bytes) in all.iter().chain(steps) {
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
        for side in ["client", "server"] {
            if let Some(side) = document["websocket"][side].as_object_mut() {
                side.remove("first_message");
                side.remove("last_message");
            }
        }
    }
    documents
}

proptest! {
    #[test]
    fn any_split_gives_the_same_counts(
        up in prop::collection::vec(message(Side::Client), 0..4),
        down in prop::collection::vec(message(Side::Server), 0..4),
        cut in 1..40usize,
    ) {
        let sent = |side: Side, messages: &[(Vec<u8>, usize)]| -> Vec<_> {
            messages.iter().map(|(bytes, _)| (side, bytes.clone())).collect()
        };
        let steps = [sent(Side::Client, &up), sent(Side::Server, &down)].concat();
        let whole = documents(&steps, usize::MAX);
        prop_assert_eq!(documents(&steps, cut), whole.clone());
        for (side, messages) in [("client", &up), ("server", &down)] {
            let counts = &whole[1]["websocket"][side];
            prop_assert_eq!(&counts["messages"], messages.len());
            prop_assert_eq!(&counts["bytes"], messages.iter().map(|(_, size)| size).sum::<usize>());
        }
    }

    #[test]
    fn anything_is_survived_and_told_once(
        steps in prop::collection::vec((side(), prop::collection::vec(any::<u8>(), 1..80)), 0..12),
        cut in 1..20usize,
    ) {
        let whole = documents(&steps, usize::MAX);
        prop_assert_eq!(whole.len(), 2);
        let bytes = |of: Side| steps.iter().filter(|(side, _)| *side == of).map(|(_, bytes)| bytes.len()).sum::<usize>();
        prop_assert_eq!(&whole[1]["source"]["bytes"], bytes(Side::Client));
        prop_assert_eq!(&whole[1]["destination"]["bytes"], bytes(Side::Server));
        prop_assert_eq!(documents(&steps, cut), whole);
    }
}
