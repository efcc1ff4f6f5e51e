//! Any bytes: nothing panics, and the same bytes give the same exchanges however they are cut.

use crate::support::{A, Observer, framed, query, response};
use proptest::prelude::*;
use weir_protocols::Close;

/// A message with some bytes changed, or any bytes.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        Just(query(1, "shop.example", A)),
        Just(response(
            1,
            0,
            "shop.example",
            A,
            &[(A, 1, &[198, 18, 0, 9]), (16, 1, b"\x01x"), (46, 1, &[7; 40])]
        )),
    ];
    let changed = (
        whole,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    )
        .prop_map(|(mut bytes, changes)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        });
    prop_oneof![4 => changed, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn any_datagrams_are_survived(messages in prop::collection::vec((any::<bool>(), mangled()), 0..20)) {
        let mut flow = Observer::udp();
        for (client, bytes) in &messages {
            if *client {
                flow.client(1, bytes);
            } else {
                flow.server(1, bytes);
            }
        }
        flow.close(2, Close::Abandoned);
        prop_assert!(flow.exchanges.len() <= messages.len());
        prop_assert_eq!(flow.documents().len(), flow.exchanges.len());
    }

    #[test]
    fn a_stream_means_the_same_in_any_pieces(
        messages in prop::collection::vec((any::<bool>(), mangled()), 0..10),
        piece in 1usize..40,
    ) {
        let observe = |piece: usize| {
            let mut flow = Observer::tcp();
            flow.client(0, framed(&query(9, "first", A)));
            for (client, bytes) in &messages {
                for part in framed(bytes).chunks(piece) {
                    if *client { flow.client(0, part) } else { flow.server(0, part) };
                }
            }
            flow.close(0, Close::Finished);
            flow.documents()
        };
        prop_assert_eq!(observe(piece), observe(usize::MAX));
    }
}
