//! Hellos made by hand, and a connection that they are seen on.

use serde_json::Value;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Close, Decoder, Exchange, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

pub const CLIENT_HELLO: u8 = 1;
pub const SERVER_HELLO: u8 = 2;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// With its length in one byte, or in two, before it.
pub fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&words(&[u16::try_from(bytes.len()).unwrap()])[..], bytes].concat()
}

pub fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [words(&[kind]), long(content)].concat()
}

pub fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], &long(payload)[..]].concat()
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

/// The message of a client that speaks 1.2 and 1.3 and asks for this name.
pub fn client_hello(name: &str) -> Vec<u8> {
    let names = long(&[&[0], &long(name.as_bytes())[..]].concat());
    let protocols = long(&[short(b"h2"), short(b"http/1.1")].concat());
    let extensions = [
        extension(0x1a1a, b""),
        extension(0, &names),
        extension(16, &protocols),
        extension(43, &short(&words(&[0x7a7a, 0x0304, 0x0303]))),
        extension(13, &long(&words(&[0x0403, 0x0804]))),
    ]
    .concat();
    let body = [
        words(&[0x0303]),
        vec![7; 32],
        short(&[9; 32]),
        long(&words(&[0x2a2a, 0x1301, 0xc02f, 0x5600])),
        short(&[0]),
        long(&extensions),
    ]
    .concat();
    message(CLIENT_HELLO, &body)
}

/// The message of a server that chooses, with these extensions.
pub fn server_hello(random: [u8; 32], cipher: u16, extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        words(&[0x0303]),
        random.to_vec(),
        short(&[]),
        words(&[cipher]),
        vec![0],
        long(&extensions.concat()),
    ]
    .concat();
    message(SERVER_HELLO, &body)
}

/// A connection under observation.
pub struct Observer {
    pub decoder: Decoder,
    pub exchanges: Vec<Exchange>,
}

impl Observer {
    pub fn new() -> Self {
        let limits = Limits {
            max_head: 1024,
            max_headers: 10,
            max_pending: 4,
            ..Limits::default()
        };
        Self {
            decoder: Decoder::new(&Arc::new(limits)),
            exchanges: Vec::new(),
        }
    }

    pub fn data(&mut self, side: Side, at: u64, bytes: &[u8]) {
        self.decoder.data(side, Timestamp(at), bytes, &mut |exchange| {
            self.exchanges.push(exchange)
        });
    }

    pub fn gap(&mut self, side: Side, at: u64, missed: Option<u64>) {
        self.decoder.gap(side, Timestamp(at), missed, &mut |exchange| {
            self.exchanges.push(exchange)
        });
    }

    pub fn tick(&mut self, at: u64) {
        self.decoder
            .tick(Timestamp(at), &mut |exchange| self.exchanges.push(exchange));
    }

    /// Its one document.
    pub fn close(mut self, at: u64, how: Close) -> Value {
        self.decoder
            .close(Timestamp(at), how, &mut |exchange| self.exchanges.push(exchange));
        let documents = self.documents();
        assert_eq!(documents.len(), 1, "{documents:?}");
        documents.into_iter().next().unwrap()
    }

    pub fn documents(&self) -> Vec<Value> {
        let flow = Flow {
            id: DocumentId(1),
            capture: Capture::Relay,
            mode: None,
            direction: Direction::Egress,
            client: ([198, 18, 0, 2], 40000).into(),
            server: ([198, 18, 0, 1], 443).into(),
            opened: Timestamp(0),
            connect: None,
            host: None,
            wrapping: None,
        };
        let policy = Policy::new(&Records::default());
        let document = |exchange: &Exchange| serde_json::to_value(exchange.document(&flow, &policy)).unwrap();
        self.exchanges.iter().map(document).collect()
    }
}
