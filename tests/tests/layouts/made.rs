//! Exchanges of HTTP and Dubbo, and their documents.

use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Decoder, Limits, Side};
use weir_records::{Capture, Direction, Document, DocumentId, Flow, Policy, Timestamp};

/// When the first request is sent, in ms.
pub const START: u64 = 1_700_000_000_000;
/// Of each kind of document.
pub const EACH: u64 = 120;

/// A string in Hessian 2.
fn s(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.chars().count()).unwrap().to_be_bytes();
    [&b"S"[..], &length, text.as_bytes()].concat()
}

/// An argument of each type in turn, so that no two neighbours have the same.
fn arg(number: u64) -> Vec<u8> {
    match number % 8 {
        0 => [&b"L"[..], &(number << 40).to_be_bytes()].concat(),
        1 => s("2024-01-01"),
        2 => b"T".to_vec(),
        3 => [&b"\x79"[..], &s("in a list")].concat(),
        4 => [&b"H"[..], &s(&format!("key{number}")), b"\x91Z"].concat(),
        5 => b"D\x40\x09\x21\xfb\x54\x44\x2d\x18".to_vec(),
        6 => b"N".to_vec(),
        // Longer than a term may be, in one word.
        _ => s(&"endless".repeat(7000)),
    }
}

/// A frame of Dubbo.
pub fn frame(flags: u8, status: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xda, 0xbb, flags, status][..], &id.to_be_bytes(), &length, body].concat()
}

/// A call of Dubbo and its answer.
pub fn call(number: u64) -> [Vec<u8>; 2] {
    let asked = [
        s("2.0.2"),
        s("lab.Demo"),
        s("1.0.0"),
        s(&format!("method{number}")),
        s("Ljava/lang/Object;Ljava/lang/String;"),
        arg(number),
        s(&format!("needle{number} in the hay")),
        [
            &b"H"[..],
            &s("group"),
            &s("blue"),
            &s("password"),
            &s("hunter2"),
            b"Z",
        ]
        .concat(),
    ];
    [
        frame(0xc2, 0, number, &asked.concat()),
        frame(2, 20, number, b"\x92"),
    ]
}

/// A request of HTTP and its answer.
pub fn get(number: u64) -> [Vec<u8>; 2] {
    let asked = format!(
        "GET /items/{number}?page=2 HTTP/1.1\r\nHost: shop{}.test:8080\r\nX-Number-{number}: word{number}\r\n\
         Authorization: Bearer hunter2\r\n\r\n",
        number % 2
    );
    let answered = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    [asked.into_bytes(), answered.as_bytes().to_vec()]
}

/// What is seen on one connection, an exchange a second.
fn decoded(id: u128, exchange: fn(u64) -> [Vec<u8>; 2]) -> Vec<Document> {
    let flow = Flow {
        id: DocumentId(id),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Ingress,
        client: "198.18.0.2:40000".parse().unwrap(),
        server: "198.18.0.1:8080".parse().unwrap(),
        opened: Timestamp(0),
        connect: None,
        host: None,
        wrapping: None,
    };
    let policy = Policy::new(&Records {
        max_value: 100_000,
        ..Records::default()
    });
    let limits = Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: 16,
        ..Limits::default()
    });
    let mut decoder = Decoder::new(&limits);
    let mut documents = Vec::new();
    for number in 0..EACH {
        let at = Timestamp((START + number * 1000) * 1_000_000);
        let out = &mut |exchange: weir_protocols::Exchange| documents.push(exchange.document(&flow, &policy));
        let [asked, answered] = exchange(number);
        decoder.data(Side::Client, at, &asked, out);
        decoder.data(Side::Server, at, &answered, out);
    }
    assert_eq!(documents.len() as u64, EACH);
    documents
}

/// As many requests of HTTP, calls of Dubbo, and documents about something else.
pub fn documents() -> Vec<Document> {
    let http = decoded(1, get);
    let other = http
        .clone()
        .into_iter()
        .enumerate()
        .map(|(number, mut document)| {
            document.event.id = DocumentId::of(&number);
            document.event.dataset = "weir.dns";
            document
        });
    let other: Vec<_> = other.collect();
    [http, decoded(2, call), other].concat()
}
