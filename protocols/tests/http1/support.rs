//! A conversation as a list of steps, and what comes out of it.

use serde_json::Value;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Protocol, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

/// One thing that happens, a millisecond after the one before.
#[derive(Clone, Debug)]
pub enum Step {
    Data(Side, Vec<u8>),
    Gap(Side, Option<u64>),
    End(Side),
    Close(Close),
}

pub fn client(bytes: impl AsRef<[u8]>) -> Step {
    Step::Data(Side::Client, bytes.as_ref().to_vec())
}

pub fn server(bytes: impl AsRef<[u8]>) -> Step {
    Step::Data(Side::Server, bytes.as_ref().to_vec())
}

/// A connection under observation.
pub struct Observer {
    pub decoder: Decoder,
    pub exchanges: Vec<Exchange>,
    pub now: u64,
}

pub fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: 1024,
        ..Limits::default()
    })
}

impl Observer {
    pub fn new() -> Self {
        Self::of(Decoder::new(&limits()))
    }

    pub fn late() -> Self {
        Self::of(Decoder::late(&limits()))
    }

    pub fn of(decoder: Decoder) -> Self {
        Self {
            decoder,
            exchanges: Vec::new(),
            now: 0,
        }
    }

    pub fn step(&mut self, step: &Step) {
        self.now += 1_000_000;
        let at = Timestamp(self.now);
        let out = &mut |exchange| self.exchanges.push(exchange);
        match step {
            Step::Data(side, bytes) => self.decoder.data(*side, at, bytes, out),
            Step::Gap(side, missed) => self.decoder.gap(*side, at, *missed, out),
            Step::End(side) => self.decoder.end(*side, at, out),
            Step::Close(how) => self.decoder.close(at, *how, out),
        }
    }

    pub fn steps(mut self, steps: &[Step]) -> Self {
        steps.iter().for_each(|step| self.step(step));
        self
    }

    pub fn documents(&self) -> Vec<Value> {
        self.documents_under(&Records::default())
    }

    pub fn documents_under(&self, records: &Records) -> Vec<Value> {
        let policy = Policy::new(records);
        self.exchanges
            .iter()
            .map(|e| serde_json::to_value(e.document(&flow(), &policy)).unwrap())
            .collect()
    }

    pub fn protocol(&self) -> Protocol {
        self.decoder.protocol()
    }
}

pub fn flow() -> Flow {
    Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: Some("redirect"),
        direction: Direction::Ingress,
        client: "198.18.0.2:40000".parse().unwrap(),
        server: "198.18.0.1:80".parse().unwrap(),
        opened: Timestamp(0),
        connect: Some(50_000),
        host: Some("pod".into()),
        wrapping: None,
    }
}

/// The documents of a connection seen from its beginning.
pub fn run(steps: &[Step]) -> Vec<Value> {
    Observer::new().steps(steps).documents()
}

/// The only document.
pub fn one(steps: &[Step]) -> Value {
    let mut documents = run(steps);
    assert_eq!(documents.len(), 1, "{documents:#?}");
    documents.remove(0)
}

/// `method path → status` of each document, `-` for what it lacks.
pub fn summary(documents: &[Value]) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    documents
        .iter()
        .map(|d| {
            let request = &d["http"]["request"]["method"];
            let status = &d["http"]["response"]["status_code"];
            format!(
                "{} {} {}",
                text(request),
                text(&d["url"]["original"]),
                text(status)
            )
        })
        .collect()
}

/// The anomalies of a document.
pub fn anomalies(document: &Value) -> Vec<&str> {
    let list = document["weir"]["anomalies"].as_array();
    list.map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

pub const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
