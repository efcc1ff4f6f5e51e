//! Any split gives the same documents; any bytes leave the decoder alive and small.

use crate::bodies::keeping;
use crate::support::*;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;
use weir_protocols::{Close, Decoder, Limits, Side};

/// An exchange that leaves the connection in use: its request, its response.
fn exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (0..REQUESTS.len(), 0..RESPONSES.len(), body(), body()).prop_map(|(request, response, up, down)| {
        // A response to HEAD has no body, so it is given one that has none anyway.
        let response = if REQUESTS[request].starts_with("HEAD") {
            BODILESS
        } else {
            response
        };
        (fill(REQUESTS[request], &up), fill(RESPONSES[response], &down))
    })
}

const REQUESTS: &[&str] = &[
    "GET /a?b=c HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n",
    "HEAD / HTTP/1.0\r\n\r\n",
    "POST /json HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: LENGTH\r\n\r\nBODY",
    "POST /form HTTP/1.1\r\nHost: a:81\r\nContent-Length: LENGTH\r\nX-Fold: a\r\n b\r\n\r\nBODY",
    "PUT http://b/x HTTP/1.1\nTransfer-Encoding: chunked\n\nCHUNKS",
    "PROPFIND /d HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\nX : y\r\n\r\nCHUNKS",
    "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nUpgrade: h2c\r\nContent-Length: LENGTH\r\n\r\nBODY",
    "\r\nGET /long HTTP/1.1\r\nX: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n\
     Content-Length: LENGTH\r\n\r\nBODY",
];

const RESPONSES: &[&str] = &[
    "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nCHUNKS",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
    "HTTP/1.1 500 Oops\r\nContent-Length: LENGTH\r\nContent-Length: LENGTH\r\n\r\nBODY",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\nCHUNKS",
    "HTTP/1.0 403\nContent-Length: LENGTH\nA: b\n c\n\nBODY",
    "HTTP/1.1 404 Not Found\r\nX: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n\
     Content-Length: LENGTH\r\n\r\nBODY",
];

/// The response that has no body.
const BODILESS: usize = 1;

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), any::<u8>()],
        0..40,
    )
}

fn fill(template: &str, body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for (number, chunk) in body.chunks(7).enumerate() {
        let extension = if number % 2 == 0 { ";a=\"b\"" } else { "" };
        chunks.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\nX-Trailer: t\r\n\r\n");
    let head = template.replace("LENGTH", &body.len().to_string());
    if let Some(head) = head.strip_suffix("BODY") {
        [head.as_bytes(), body].concat()
    } else if let Some(head) = head.strip_suffix("CHUNKS") {
        [head.as_bytes(), &chunks].concat()
    } else {
        head.into_bytes()
    }
}

/// Limits that the longer heads above exceed.
fn tight() -> Arc<Limits> {
    Arc::new(Limits {
        max_head: 96,
        max_headers: 2,
        max_pending: 64,
        ..Limits::default()
    })
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

fn documents(steps: &[Step], limits: &Arc<Limits>) -> Vec<Value> {
    timeless(Observer::of(Decoder::new(limits)).steps(steps).documents())
}

/// Cuts each piece at random places, and lets the client run ahead of the server (never the other way).
fn shuffle(exchanges: &[(Vec<u8>, Vec<u8>)], cuts: &[u8], tightly: bool) -> Vec<Step> {
    let mut cuts = cuts.iter().cycle().copied();
    let mut next = move || cuts.next().unwrap_or(0);
    let mut steps = Vec::new();
    let mut waiting: Vec<Step> = Vec::new();
    let mut holds = false;
    for (request, response) in exchanges {
        if tightly
            && std::mem::replace(
                &mut holds,
                request.starts_with(b"CONNECT") || request.starts_with(b"OPT"),
            )
        {
            // More than the limit would have to be held back until the answer.
            steps.append(&mut waiting);
        }
        let mut rest = &request[..];
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(usize::from(next() % 32 + 1).min(rest.len()));
            steps.push(client(piece));
            rest = tail;
            // Answers to earlier requests come in between, or later.
            while next() % 3 == 0 && !waiting.is_empty() {
                steps.push(waiting.remove(0));
            }
        }
        let mut rest = &response[..];
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(usize::from(next() % 32 + 1).min(rest.len()));
            waiting.push(server(piece));
            rest = tail;
        }
    }
    steps.extend(waiting);
    steps
}

fn straight(exchanges: &[(Vec<u8>, Vec<u8>)]) -> Vec<Step> {
    exchanges
        .iter()
        .flat_map(|(request, response)| [client(request), server(response)])
        .collect()
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

fn step() -> impl Strategy<Value = Step> {
    let data = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            (exchange(), any::<bool>()).prop_map(|((request, response), up)| if up {
                request
            } else {
                response
            }),
            prop::collection::vec(prop::sample::select(b"\r\n :0a;".to_vec()), 0..16),
        ]
    };
    prop_oneof![
        8 => (side(), data()).prop_map(|(side, bytes)| Step::Data(side, bytes)),
        1 => (side(), prop::option::of(0..100u64)).prop_map(|(side, missed)| Step::Gap(side, missed)),
        1 => side().prop_map(Step::End),
        1 => prop_oneof![
            Just(Close::Finished), Just(Close::Abandoned),
            side().prop_map(Close::Reset)
        ].prop_map(Step::Close),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_documents(
        exchanges in prop::collection::vec(exchange(), 1..5),
        cuts in prop::collection::vec(any::<u8>(), 1..64),
        tightly in any::<bool>(),
    ) {
        let limits = if tightly { tight() } else { limits() };
        let whole = documents(&straight(&exchanges), &limits);
        prop_assert_eq!(whole.len(), exchanges.len());
        let split = documents(&shuffle(&exchanges, &cuts, tightly), &limits);
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn any_split_gives_the_same_bodies(
        exchanges in prop::collection::vec(exchange(), 1..5),
        cuts in prop::collection::vec(any::<u8>(), 1..64),
        max in prop::sample::select(vec![1, 7, 30, 1000]),
    ) {
        let limits = keeping(max, &["*/*"]);
        let whole = documents(&straight(&exchanges), &limits);
        let content = |document: &Value| document["http"]["request"]["body"]["content"].is_string();
        let sent = |document: &Value| document["http"]["request"]["body"]["bytes"] != 0;
        let encoded = |document: &Value| document["http"]["request"]["headers"].to_string().contains("encoding");
        for document in whole.iter().filter(|document| sent(document) && !encoded(document)) {
            prop_assert!(content(document), "{:#}", document);
        }
        // Of bodies in waiting it matters how many there are.
        let cut = shuffle(&exchanges, &cuts, false);
        let together = exchanges.iter().map(|(request, _)| request.len()).sum::<usize>();
        if together < 8 * usize::try_from(max).unwrap() {
            prop_assert_eq!(documents(&cut, &limits), whole);
        } else {
            documents(&cut, &limits);
        }
        let mut pieces = Vec::new();
        for step in straight(&exchanges) {
            let Step::Data(side, bytes) = step else { continue };
            let size = usize::from(cuts[0]) % 9 + 1;
            pieces.extend(bytes.chunks(size).map(|piece| Step::Data(side, piece.to_vec())));
        }
        prop_assert_eq!(documents(&pieces, &limits), documents(&straight(&exchanges), &limits));
    }

    #[test]
    fn anything_is_survived(steps in prop::collection::vec(step(), 0..40), late in any::<bool>()) {
        let limits = if steps.len() % 2 == 0 { tight() } else { keeping(20, &["*/*"]) };
        let decoder = if late { Decoder::late(&limits) } else { Decoder::new(&limits) };
        let mut seen = Observer::of(decoder).steps(&steps);
        seen.step(&Step::Close(Close::Finished));
        let documents = seen.documents();
        // Each exchange comes out once.
        let ids: std::collections::HashSet<_> = documents.iter().map(|d| d["event"]["id"].to_string()).collect();
        prop_assert_eq!(ids.len(), documents.len());
    }

    #[test]
    fn mutated_conversations_are_survived(
        exchanges in prop::collection::vec(exchange(), 1..4),
        cuts in prop::collection::vec(any::<u8>(), 1..32),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut steps = shuffle(&exchanges, &cuts, false);
        for (step, at, byte) in changes {
            let number = step.index(steps.len());
            if let Step::Data(_, bytes) = &mut steps[number] {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        steps.push(Step::Close(Close::Reset(Side::Server)));
        documents(&steps, &limits());
    }
}
