//! Any conversation: survived, each exchange out once, and the same documents however it is cut.
//!
//! The input is a list of steps, each with a byte for its kind and two for its length before it. Data of the client (`C`)
//! and the server (`S`) are bytes as they are; a payload (`c`, `s`) is put into a whole frame, whose type, flags and stream
//! are its first three bytes. `G` and `g` are gaps (of the length), `E` and `e` the sides' ends. A first byte `B` keeps bodies. A
//! first byte `L`, or one after it, makes it a late join; otherwise the connection has begun as it should.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{collections::HashSet, sync::Arc};
use weir_config::{Bodies, Bytes, Records};
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Policy, Timestamp};

struct Run {
    decoder: Decoder,
    exchanges: Vec<Exchange>,
}

impl Run {
    fn steps(mut input: &[u8], piece: usize) -> (Self, bool) {
        let mut option = |name| {
            let rest = input.strip_prefix(&[name]);
            input = rest.unwrap_or(input);
            rest.is_some()
        };
        let (keeps, late) = (option(b'B'), option(b'L'));
        let limits = Arc::new(Limits {
            max_head: 256,
            max_headers: 8,
            max_pending: 3,
            bodies: Bodies {
                max_bytes: Bytes(if keeps { 40 } else { 0 }),
                content_types: vec!["*/*".parse().expect("a media type")],
            },
            ..Limits::default()
        });
        let decoder = if late {
            Decoder::late(&limits)
        } else {
            Decoder::new(&limits)
        };
        let mut run = Self {
            decoder,
            exchanges: Vec::new(),
        };
        if !late {
            run.step(b'C', 0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", usize::MAX);
        }
        let mut exact = !late;
        while let Some(([kind, high, low], rest)) = input.split_first_chunk() {
            let length = u16::from_be_bytes([*high, *low]);
            let (bytes, rest) = rest.split_at(usize::from(length).min(rest.len()));
            input = rest;
            // Where frames are looked for, it matters where segments begin: after a gap, and after what may be no frame.
            exact &= !matches!(kind, b'G' | b'g' | b'C' | b'S');
            run.step(*kind, length, bytes, piece);
        }
        run.step(b'R', 0, b"", piece);
        (run, exact)
    }

    fn step(&mut self, kind: u8, length: u16, bytes: &[u8], piece: usize) {
        let Self { decoder, exchanges } = self;
        // Always the same: how bytes were cut may show in times and nowhere else.
        let at = Timestamp(0);
        let out = &mut |exchange| exchanges.push(exchange);
        let side = match kind {
            b'C' | b'c' | b'G' | b'E' => Side::Client,
            _ => Side::Server,
        };
        match kind {
            b'C' | b'S' => bytes
                .chunks(piece)
                .for_each(|bytes| decoder.data(side, at, bytes, out)),
            b'c' | b's' => {
                let [frame, flags, stream] = *bytes.first_chunk().unwrap_or(&[1, 5, 1]);
                let payload = bytes.get(3..).unwrap_or_default();
                let mut whole = (payload.len() as u32).to_be_bytes()[1..].to_vec();
                whole.extend([frame, flags, 0, 0, 0, stream]);
                whole.extend(payload);
                whole
                    .chunks(piece)
                    .for_each(|bytes| decoder.data(side, at, bytes, out));
            }
            b'E' | b'e' => decoder.end(side, at, out),
            b'G' | b'g' => decoder.gap(side, at, Some(u64::from(length)).filter(|n| *n > 0), out),
            b'R' => decoder.close(at, Close::Reset(Side::Server), out),
            _ => {}
        }
    }

    fn documents(&self) -> Vec<String> {
        let flow = weir_protocols_fuzz::flow(8080);
        let policy = Policy::new(&Records {
            max_header_value: 32,
            max_headers: 5,
            max_value: 32,
            max_values: 24,
            ..Records::default()
        });
        let documents: Vec<_> = self
            .exchanges
            .iter()
            .map(|exchange| exchange.document(&flow, &policy))
            .collect();
        let ids: HashSet<_> = documents.iter().map(|document| document.event.id).collect();
        assert_eq!(ids.len(), documents.len(), "an exchange came out twice");
        documents
            .iter()
            .map(|document| serde_json::to_string(document).expect("a document is JSON"))
            .collect()
    }
}

fuzz_target!(|input: &[u8]| {
    let (whole, exact) = Run::steps(input, usize::MAX);
    let documents = whole.documents();
    for piece in [1, 7] {
        let (cut, _) = Run::steps(input, piece);
        let cut = cut.documents();
        if exact {
            assert_eq!(documents, cut, "in pieces of {piece}");
        }
    }
});
