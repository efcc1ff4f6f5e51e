//! Any conversation: survived, each exchange out once, and the same documents however it is cut.
//!
//! The input is a list of steps between bytes 0xFF: `C…` and `S…` are data of client and server, `c` and `s` their
//! ends, `G` and `g` a gap on either side (with a length in the next byte), `R` a reset. A first step `L` makes it a
//! late join, `T` sets narrow limits, `B` keeps bodies.
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
    fn steps(input: &[u8], piece: usize) -> (Self, bool) {
        let mut steps = input.split(|b| *b == 0xff).peekable();
        let mut option = |name: &[u8]| steps.next_if(|step| *step == name).is_some();
        let (late, narrow, keeps) = (option(b"L"), option(b"T"), option(b"B"));
        let bodies = Bodies {
            max_bytes: Bytes(if keeps { 40 } else { 0 }),
            content_types: vec!["*/*".parse().expect("a media type")],
        };
        let limits = Arc::new(if narrow {
            Limits {
                max_head: 48,
                max_headers: 2,
                max_pending: 3,
                bodies,
                ..Limits::default()
            }
        } else {
            Limits {
                max_head: 64 << 10,
                max_headers: 128,
                max_pending: 1024,
                bodies,
                ..Limits::default()
            }
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
        let mut exact = !late;
        for step in steps {
            let Some((kind, rest)) = step.split_first() else {
                continue;
            };
            exact &= !matches!(kind, b'G' | b'g');
            run.step(*kind, rest, piece);
        }
        run.step(b'R', b"", piece);
        (run, exact)
    }

    fn step(&mut self, kind: u8, rest: &[u8], piece: usize) {
        let Self { decoder, exchanges } = self;
        // Always the same: how bytes were cut may show in times and nowhere else.
        let at = Timestamp(0);
        let out = &mut |exchange| exchanges.push(exchange);
        match kind {
            b'C' => rest
                .chunks(piece)
                .for_each(|bytes| decoder.data(Side::Client, at, bytes, out)),
            b'S' => rest
                .chunks(piece)
                .for_each(|bytes| decoder.data(Side::Server, at, bytes, out)),
            b'c' => decoder.end(Side::Client, at, out),
            b's' => decoder.end(Side::Server, at, out),
            b'G' => decoder.gap(Side::Client, at, rest.first().map(|n| u64::from(*n)), out),
            b'g' => decoder.gap(Side::Server, at, rest.first().map(|n| u64::from(*n)), out),
            b'R' => decoder.close(at, Close::Reset(Side::Server), out),
            _ => {}
        }
    }

    fn documents(&self) -> Vec<String> {
        let flow = weir_protocols_fuzz::flow(80);
        let policy = Policy::new(&Records {
            max_header_value: 32,
            max_headers: 4,
            max_url: 32,
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
        // Where the stream was lost, the beginnings of segments are what it is found again by. After an upgrade to HTTP/2
        // that may be so at any time.
        let http1 = |text: &&String| !text.contains("\"http2\":{");
        let (documents, cut): (Vec<_>, Vec<_>) = (
            documents.iter().filter(http1).collect(),
            cut.iter().filter(http1).collect(),
        );
        // A body without an end is ended by a status line at the beginning of a segment, while another request waits.
        let by_segment = |text: &&String| text.contains("response_body_end_unknown");
        if exact
            && !documents.iter().copied().any(|text| by_segment(&text))
            && !cut.iter().copied().any(|text| by_segment(&text))
        {
            assert_eq!(documents, cut, "in pieces of {piece}");
        }
    }
});
