//! Frames made by hand, and a connection that they are seen on.

use serde_json::Value;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Protocol, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

pub const REQUEST: u8 = 0x80;
pub const TWO_WAY: u8 = 0x40;
pub const EVENT: u8 = 0x20;
pub const HESSIAN2: u8 = 2;

/// A frame.
pub fn frame(flags: u8, status: u8, id: i64, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xda, 0xbb, flags, status];
    frame.extend(id.to_be_bytes());
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body);
    frame
}

/// A string in Hessian 2.
pub fn s(text: &str) -> Vec<u8> {
    let units = u16::try_from(text.encode_utf16().count()).unwrap();
    [&b"S"[..], &units.to_be_bytes(), text.as_bytes()].concat()
}

/// An untyped map of strings in Hessian 2.
pub fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pairs = pairs.iter().flat_map(|(key, value)| [s(key), s(value)].concat());
    [b"H".to_vec(), pairs.collect(), b"Z".to_vec()].concat()
}

/// A request's body: parameter types, then arguments as they are.
pub fn body(method: &str, descriptor: &str, args: &[u8], attachments: &[(&str, &str)]) -> Vec<u8> {
    [
        s("2.0.2"),
        s("lab.Demo"),
        s("1.0.0"),
        s(method),
        s(descriptor),
        args.to_vec(),
        map(attachments),
    ]
    .concat()
}

/// `echo(String)`, two-way.
pub fn request(id: i64, text: &str) -> Vec<u8> {
    frame(
        REQUEST | TWO_WAY | HESSIAN2,
        0,
        id,
        &body("echo", "Ljava/lang/String;", &s(text), &[("group", "blue")]),
    )
}

/// Its response.
pub fn response(id: i64, text: &str) -> Vec<u8> {
    frame(
        HESSIAN2,
        20,
        id,
        &[&b"\x94"[..], &s(text), &map(&[("dubbo", "2.0.2")])].concat(),
    )
}

pub fn heartbeat(id: i64) -> Vec<u8> {
    frame(REQUEST | TWO_WAY | EVENT | HESSIAN2, 0, id, b"N")
}

pub fn heartbeat_answer(id: i64) -> Vec<u8> {
    frame(EVENT | HESSIAN2, 20, id, b"N")
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

impl Observer {
    pub fn new() -> Self {
        Self::of(Decoder::new(&limits(64)))
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

    pub fn tick_after(&mut self, seconds: u64) -> &mut Self {
        self.now += seconds * 1_000_000_000;
        self.step(|decoder, at, out| decoder.tick(at, out))
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
            .map(|document| {
                let text = serde_json::to_string(&document).unwrap();
                serde_json::from_str(&text).unwrap()
            })
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
        server: "198.18.0.1:20880".parse().unwrap(),
        opened: Timestamp(0),
        connect: Some(50_000),
        host: Some("pod".into()),
        wrapping: None,
    }
}

/// `method(args) id status` of each document.
pub fn summary(documents: &[Value]) -> Vec<String> {
    let summary = |document: &Value| {
        let dubbo = &document["dubbo"];
        let method = dubbo["method"].as_str().unwrap_or("-");
        let args = dubbo.get("args").map(ToString::to_string).unwrap_or_default();
        let status = dubbo.get("status").map_or("-".into(), ToString::to_string);
        format!("{method}{args} {} {status}", dubbo["request_id"])
    };
    documents.iter().map(summary).collect()
}

/// The anomalies of a document.
pub fn anomalies(document: &Value) -> Vec<&str> {
    let list = document["weir"]["anomalies"].as_array();
    list.map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}
