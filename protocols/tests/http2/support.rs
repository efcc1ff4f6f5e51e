//! Frames made by hand, and a connection that they are seen on.

use serde_json::Value;
use std::sync::Arc;
use weir_config::{Bodies, Bytes, Records};
use weir_protocols::{Close, Decoder, Exchange, Limits, Protocol, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITY: u8 = 0x20;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literals that are not inserted.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| literal(0, name, value))
        .collect()
}

/// A literal: 0 is not inserted, 0x40 is.
pub fn literal(kind: u8, name: &str, value: &str) -> Vec<u8> {
    let string = |text: &str| {
        let mut coded = Vec::new();
        match text.len() {
            length @ 0..127 => coded.push(u8::try_from(length).unwrap()),
            length => {
                coded.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    coded.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                coded.push(u8::try_from(rest).unwrap());
            }
        }
        coded.extend(text.as_bytes());
        coded
    };
    [vec![kind], string(name), string(value)].concat()
}

pub fn headers(stream: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(end), stream, &block(fields))
}

pub fn data(stream: u32, end: bool, content: &[u8]) -> Vec<u8> {
    frame(DATA, u8::from(end), stream, content)
}

/// The fields of a GET.
pub fn get(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "Shop.test:8080"),
        (":path", path),
        ("user-agent", "test/1"),
    ]
}

/// The fields of a call of gRPC.
pub fn call(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "rpc.test"),
        ("content-type", "application/grpc+proto"),
        ("te", "trailers"),
    ]
}

/// A message of gRPC.
pub fn message(compressed: bool, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[u8::from(compressed)], &length[..], content].concat()
}

/// A connection under observation.
pub struct Observer {
    pub decoder: Decoder,
    pub exchanges: Vec<Exchange>,
    pub now: u64,
}

pub fn limits(max_pending: usize) -> Arc<Limits> {
    Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending,
        ..Limits::default()
    })
}

/// So much of each body is kept, whatever its type.
pub fn keeping(max: u64) -> Arc<Limits> {
    Arc::new(Limits {
        max_pending: 64,
        bodies: Bodies {
            max_bytes: Bytes(max),
            content_types: vec!["*/*".parse().unwrap()],
        },
        ..Limits::default()
    })
}

impl Observer {
    /// Of a connection on which preface and settings have been exchanged.
    pub fn new() -> Self {
        let mut seen = Self::of(Decoder::new(&limits(64)));
        seen.client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        seen.server(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
        seen
    }

    pub fn late() -> Self {
        Self::of(Decoder::late(&limits(64)))
    }

    pub fn of(decoder: Decoder) -> Self {
        Self {
            decoder,
            exchanges: Vec::new(),
            now: 0,
        }
    }

    fn step(&mut self, step: impl FnOnce(&mut Decoder, Timestamp, &mut dyn FnMut(Exchange))) -> &mut Self {
        self.now += 1_000_000;
        let at = Timestamp(self.now);
        step(&mut self.decoder, at, &mut |exchange| {
            self.exchanges.push(exchange)
        });
        self
    }

    pub fn data(&mut self, side: Side, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.step(|decoder, at, out| decoder.data(side, at, bytes.as_ref(), out))
    }

    pub fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.data(Side::Client, bytes)
    }

    pub fn server(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.data(Side::Server, bytes)
    }

    pub fn gap(&mut self, side: Side, missed: Option<u64>) -> &mut Self {
        self.step(|decoder, at, out| decoder.gap(side, at, missed, out))
    }

    pub fn end(&mut self, side: Side) -> &mut Self {
        self.step(|decoder, at, out| decoder.end(side, at, out))
    }

    pub fn close(&mut self, how: Close) -> &mut Self {
        self.step(|decoder, at, out| decoder.close(at, how, out))
    }

    pub fn protocol(&self) -> Protocol {
        self.decoder.protocol()
    }

    pub fn documents(&self) -> Vec<Value> {
        self.documents_under(&Records::default())
    }

    pub fn documents_under(&self, records: &Records) -> Vec<Value> {
        let policy = Policy::new(records);
        let documents = self
            .exchanges
            .iter()
            .map(|exchange| exchange.document(&flow(), &policy));
        documents
            .map(|document| serde_json::to_value(&document).unwrap())
            .collect()
    }

    /// The only document.
    pub fn document(&self) -> Value {
        let mut documents = self.documents();
        assert_eq!(documents.len(), 1, "{documents:#?}");
        documents.remove(0)
    }
}

pub fn flow() -> Flow {
    Flow {
        id: DocumentId(7),
        capture: Capture::Relay,
        mode: Some("redirect"),
        direction: Direction::Ingress,
        client: "198.18.0.2:40000".parse().unwrap(),
        server: "198.18.0.1:8080".parse().unwrap(),
        opened: Timestamp(0),
        connect: Some(50_000),
        host: Some("pod".into()),
        wrapping: None,
    }
}

/// The anomalies of a document.
pub fn anomalies(document: &Value) -> Vec<&str> {
    let list = document["weir"]["anomalies"].as_array();
    list.map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// `path status outcome` of each document.
pub fn summary(documents: &[Value]) -> Vec<String> {
    let summary = |document: &Value| {
        let path = document["url"]["path"].as_str().unwrap_or("-");
        let status = &document["http"]["response"]["status_code"];
        let outcome = document["event"]["outcome"].as_str().unwrap();
        format!("{path} {status} {outcome}")
    };
    documents.iter().map(summary).collect()
}
