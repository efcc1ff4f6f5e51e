//! What decoding costs: CPU time of one thread for an exchange, and megabytes of traffic a second of it. Each protocol is
//! measured as bytes to exchanges alone (`decode`), with the documents made of them (`document`), and with these written
//! as JSON (`json`), which is what a data thread does.
//!
//! `cargo bench -p weir-bench --bench decode`, with a part of a name to run those alone: `-- gRPC/json`.
// A measuring tool may fail by panicking.
#![allow(clippy::expect_used, missing_docs)]

mod clock;
// By its path, as the tests have it: its own modules are beside it in both cases.
#[path = "conversations.rs"]
mod conversations;

use clock::ThreadTime;
use conversations::{Conversation, Kind};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, sync::Arc, time::Duration};
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp, write_json};

/// A connection of HTTP/2 has no more streams than these; another one begins after them.
const MOST_STREAMS: u32 = 1 << 29;

/// What is made of an exchange.
#[derive(Clone, Copy)]
enum Stage {
    /// Of a connection that begins with it.
    Connection,
    Decode,
    Document,
    Json,
}

const STAGES: [(Stage, &str); 4] = [
    (Stage::Connection, "connection"),
    (Stage::Decode, "decode"),
    (Stage::Document, "document"),
    (Stage::Json, "json"),
];

/// Takes exchanges and makes of them what the stage says.
struct Sink {
    stage: Stage,
    flow: Flow,
    policy: Policy,
    line: Vec<u8>,
    seen: u64,
}

impl Sink {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            flow: Flow {
                id: DocumentId(1),
                capture: Capture::Relay,
                mode: Some("redirect"),
                direction: Direction::Ingress,
                client: ([198, 18, 0, 2], 40000).into(),
                server: ([198, 18, 0, 1], 80).into(),
                opened: Timestamp(0),
                connect: Some(50_000),
                host: Some("pod".into()),
                wrapping: None,
            },
            policy: Policy::new(&Records::default()),
            line: Vec::new(),
            seen: 0,
        }
    }

    fn take(&mut self, exchange: Exchange) {
        self.seen += 1;
        match self.stage {
            Stage::Connection | Stage::Decode => drop(black_box(exchange)),
            Stage::Document => drop(black_box(exchange.document(&self.flow, &self.policy))),
            Stage::Json => {
                self.line.clear();
                let document = exchange.document(&self.flow, &self.policy);
                write_json(&mut self.line, &document).expect("JSON");
                black_box(&self.line);
            }
        }
    }
}

/// A conversation that goes on and on.
struct Run {
    conversation: Conversation,
    limits: Arc<Limits>,
    decoder: Decoder,
    number: u32,
    clock: u64,
}

impl Run {
    fn new(conversation: Conversation, sink: &mut Sink) -> Self {
        let limits = Arc::new(Limits::default());
        let decoder = Decoder::new(&limits);
        let mut run = Self {
            conversation,
            limits,
            decoder,
            number: 0,
            clock: 0,
        };
        run.begin(sink);
        run
    }

    fn begin(&mut self, sink: &mut Sink) {
        self.number = 0;
        self.decoder = match self.conversation.kind {
            Kind::Datagrams => Decoder::dns_datagrams(&self.limits),
            _ => Decoder::new(&self.limits),
        };
        let [client, server] = &self.conversation.before;
        let seen = sink.seen;
        let mut out = |exchange| sink.take(exchange);
        self.decoder.data(Side::Client, Timestamp(0), client, &mut out);
        self.decoder.data(Side::Server, Timestamp(0), server, &mut out);
        // What comes out before is not what is counted.
        sink.seen = seen;
    }

    /// Each exchange has a connection of its own.
    fn is_short(&self) -> bool {
        self.conversation.kind == Kind::Connection
    }

    fn exchange(&mut self, sink: &mut Sink) {
        if self.is_short() || self.number == MOST_STREAMS {
            self.begin(sink);
        }
        self.conversation.number(self.number);
        self.number += 1;
        self.clock += 1000;
        let [client, server] = &self.conversation.exchange;
        let mut out = |exchange| sink.take(exchange);
        self.decoder
            .data(Side::Client, Timestamp(self.clock), black_box(client), &mut out);
        self.decoder.data(
            Side::Server,
            Timestamp(self.clock + 500),
            black_box(server),
            &mut out,
        );
        if self.is_short() {
            self.decoder
                .close(Timestamp(self.clock + 700), Close::Finished, &mut out);
        }
    }
}

fn measure(criterion: &mut Criterion<ThreadTime>) {
    for conversation in conversations::all() {
        let name = conversation.name;
        let mut group = criterion.benchmark_group(name);
        let size = u64::try_from(conversation.exchange.concat().len()).expect("few bytes");
        group.throughput(Throughput::BytesDecimal(size));
        for (stage, what) in STAGES {
            group.bench_function(what, |bencher| {
                let mut sink = Sink::new(stage);
                let conversation = conversations::all().into_iter().find(|one| one.name == name);
                let mut run = Run::new(conversation.expect("it is one of them"), &mut sink);
                sink.seen = 0;
                let mut rounds = 0;
                bencher.iter(|| {
                    rounds += 1;
                    if matches!(stage, Stage::Connection) && !run.is_short() {
                        run.begin(&mut sink);
                    }
                    run.exchange(&mut sink);
                });
                assert_eq!(sink.seen, rounds, "{name}: not every exchange came out");
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = decoders;
    config = Criterion::default()
        .with_measurement(ThreadTime)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = measure
}
criterion_main!(decoders);
