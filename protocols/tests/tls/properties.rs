//! Any bytes: nothing panics, and the same bytes give the same document however they are cut.

use crate::support::{DATA, HANDSHAKE, Observer, client_hello, extension, record, server_hello};
use proptest::prelude::*;
use weir_protocols::{Close, Side};

fn hello(fragment: usize) -> Vec<u8> {
    client_hello("shop.example")
        .chunks(fragment)
        .flat_map(|part| record(HANDSHAKE, part))
        .collect()
}

fn answer() -> Vec<u8> {
    let hello = server_hello([3; 32], 0x1302, &[extension(43, &[3, 4])]);
    [record(HANDSHAKE, &hello), record(DATA, &[7; 300])].concat()
}

proptest! {
    #[test]
    fn records_and_segments_may_cut_it_anywhere(fragment in 1usize..300, piece in 1usize..300) {
        let observe = |fragment: usize, piece: usize| {
            let mut flow = Observer::new();
            for part in hello(fragment).chunks(piece) {
                flow.data(Side::Client, 0, part);
            }
            for part in answer().chunks(piece) {
                flow.data(Side::Server, 0, part);
            }
            flow.close(0, Close::Finished)
        };
        let mut cut = observe(fragment, piece);
        let whole = observe(usize::MAX, usize::MAX);
        // Headers of more records are more bytes.
        cut["source"]["bytes"] = whole["source"]["bytes"].clone();
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn changed_bytes_are_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12)) {
        let mut bytes = [hello(400), answer()].concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for piece in [1, 7, usize::MAX] {
            let mut flow = Observer::new();
            for part in bytes.chunks(piece) {
                flow.data(Side::Client, 0, part);
                flow.data(Side::Server, 0, part);
            }
            flow.gap(Side::Client, 0, None);
            flow.data(Side::Client, 0, &bytes);
            flow.documents();
        }
    }
}
