//! Messages made by hand, and a flow that they are seen on.

use serde_json::Value;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

pub const MS: u64 = 1_000_000;
pub const A: u16 = 1;
pub const AAAA: u16 = 28;

/// A name on the wire.
pub fn name(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A header, and one question.
pub fn message(id: u16, flags: u16, counts: [u16; 3], asked: &str, kind: u16) -> Vec<u8> {
    [
        words(&[id, flags, 1, counts[0], counts[1], counts[2]]),
        name(asked),
        words(&[kind, 1]),
    ]
    .concat()
}

/// A query with the flag RD.
pub fn query(id: u16, asked: &str, kind: u16) -> Vec<u8> {
    message(id, 0x0100, [0; 3], asked, kind)
}

/// Its response with this code and these records, whose names point at the question.
pub fn response(id: u16, code: u16, asked: &str, kind: u16, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap();
    let mut bytes = message(id, 0x8180 | code, [count, 0, 0], asked, kind);
    for (kind, ttl, data) in records {
        bytes.extend(words(&[0xc00c, *kind, 1]));
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(words(&[u16::try_from(data.len()).unwrap()]));
        bytes.extend(*data);
    }
    bytes
}

/// The OPT record: payload size, the code's high bits, DO.
pub fn opt(high_code: u8, dnssec: bool) -> Vec<u8> {
    let mut record = vec![0, 0, 41, 0x04, 0xd0, high_code, 0];
    record.extend(if dnssec { [0x80, 0] } else { [0, 0] });
    record.extend([0, 0]);
    record
}

/// With its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&words(&[u16::try_from(message.len()).unwrap()])[..], message].concat()
}

/// A flow under observation.
pub struct Observer {
    pub decoder: Decoder,
    pub exchanges: Vec<Exchange>,
}

impl Observer {
    pub fn udp() -> Self {
        Self::of(Decoder::dns_datagrams(&limits()))
    }

    pub fn tcp() -> Self {
        Self::of(Decoder::new(&limits()))
    }

    fn of(decoder: Decoder) -> Self {
        Self {
            decoder,
            exchanges: Vec::new(),
        }
    }

    pub fn client(&mut self, ms: u64, bytes: impl AsRef<[u8]>) -> &mut Self {
        let out = &mut |exchange| self.exchanges.push(exchange);
        self.decoder
            .data(Side::Client, Timestamp(ms * MS), bytes.as_ref(), out);
        self
    }

    pub fn server(&mut self, ms: u64, bytes: impl AsRef<[u8]>) -> &mut Self {
        let out = &mut |exchange| self.exchanges.push(exchange);
        self.decoder
            .data(Side::Server, Timestamp(ms * MS), bytes.as_ref(), out);
        self
    }

    pub fn tick(&mut self, ms: u64) -> &mut Self {
        let out = &mut |exchange| self.exchanges.push(exchange);
        self.decoder.tick(Timestamp(ms * MS), out);
        self
    }

    pub fn close(&mut self, ms: u64, how: Close) -> &mut Self {
        let out = &mut |exchange| self.exchanges.push(exchange);
        self.decoder.close(Timestamp(ms * MS), how, out);
        self
    }

    pub fn documents(&self) -> Vec<Value> {
        let policy = Policy::new(&Records::default());
        self.exchanges
            .iter()
            .map(|exchange| serde_json::to_value(exchange.document(&flow(), &policy)).unwrap())
            .collect()
    }

    /// The only document.
    pub fn document(&self) -> Value {
        let documents = self.documents();
        assert_eq!(documents.len(), 1, "{documents:#?}");
        documents[0].clone()
    }
}

pub fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: 16,
        ..Limits::default()
    })
}

pub fn flow() -> Flow {
    Flow {
        id: DocumentId(7),
        capture: Capture::Relay,
        mode: Some("redirect"),
        direction: Direction::Egress,
        client: "198.18.0.2:40000".parse().unwrap(),
        server: "198.18.0.1:53".parse().unwrap(),
        opened: Timestamp(0),
        connect: None,
        host: None,
        wrapping: None,
    }
}
