//! What decoding costs: nanoseconds of CPU time for a request and its response, from bytes to the JSON line, on one thread,
//! and megabytes of traffic a second of it.
//! `cargo run --release -p weir-protocols --example decode_cost`
// A measuring tool may fail by panicking.
#![allow(clippy::expect_used)]

use std::{hint::black_box, sync::Arc};
use weir_config::Records;
use weir_protocols::{Decoder, Limits, Side};
use weir_records::{Capture, Direction, DocumentId, Flow, Policy, Timestamp};

const REQUEST: &[u8] =
    b"GET /api/items?page=2&sort=price HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: curl/8.5.0\r\n\
Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef\r\n\
X-Request-Id: 7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1\r\nConnection: keep-alive\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\nETag: \"65929e80-400\"\r\n\r\n";

/// Nanoseconds that this thread has run; other load on the machine does not count.
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts CPU time");
    stat.split(' ')
        .next()
        .and_then(|ns| ns.parse().ok())
        .expect("nanoseconds come first")
}

/// A string in Hessian 2.
fn s(text: &str) -> Vec<u8> {
    [
        &[u8::try_from(text.len()).expect("a short text")],
        text.as_bytes(),
    ]
    .concat()
}

fn frame(flags: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short body").to_be_bytes();
    [
        &[0xda, 0xbb, flags, status, 0, 0, 0, 0, 0, 0, 0, 7],
        &length[..],
        body,
    ]
    .concat()
}

/// An order: an object of 6 fields, with a list of three objects of 3 fields.
fn order() -> Vec<u8> {
    let fields = ["id", "customer", "express", "total", "lines", "note"];
    let line = ["sku", "amount", "price"];
    let class = |name: &str, fields: &[&str]| {
        let count = 0x90 + u8::try_from(fields.len()).expect("few fields");
        let fields: Vec<u8> = fields.iter().flat_map(|field| s(field)).collect();
        [&b"C"[..], &s(name), &[count], &fields].concat()
    };
    let lines: Vec<u8> = (0..3)
        .flat_map(|_| {
            [
                &b"\x61"[..],
                &s("SKU-0001-BLUE"),
                b"\x93",
                b"\x5f\x00\x00\x4d\xf7",
            ]
            .concat()
        })
        .collect();
    let object = [
        &b"\x60L\x00\x00\x01\x8f\x00\x00\x12\x34"[..],
        &s("customer-4711"),
        b"TD\x40\x4d\xf7\x0a\x3d\x70\xa3\xd7",
        &class("shop.api.OrderLine", &line),
        b"\x7b",
        &lines,
        b"N",
    ];
    [class("shop.api.Order", &fields), object.concat()].concat()
}

/// A call of `place(Order, String)` with the attachments that Java sends, and its answer.
fn dubbo() -> (Vec<u8>, Vec<u8>) {
    let pairs = [
        ("path", "shop.api.OrderService"),
        ("remote.application", "shop-web"),
        ("interface", "shop.api.OrderService"),
        ("version", "1.0.0"),
        ("timeout", "5000"),
    ];
    let pairs: Vec<u8> = pairs
        .iter()
        .flat_map(|(key, value)| [s(key), s(value)].concat())
        .collect();
    let descriptor = "Lshop/api/Order;Ljava/lang/String;";
    let asked = [
        s("2.0.2"),
        s("shop.api.OrderService"),
        s("1.0.0"),
        s("place"),
        [&b"\x30"[..], &s(descriptor)].concat(),
        order(),
        s("web"),
        [&b"H"[..], &pairs, b"Z"].concat(),
    ];
    let answered = [&b"\x94"[..], &order(), b"H", &s("dubbo"), &s("2.0.2"), b"Z"].concat();
    (frame(0xc2, 0, &asked.concat()), frame(2, 20, &answered))
}

/// A literal of HPACK, inserted into the table.
fn inserted(name: &str, value: &str) -> Vec<u8> {
    [&b"\x40"[..], &s(name), &s(value)].concat()
}

/// A frame of HTTP/2, on stream 1.
fn frame2(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// What goes before, on each side; then a call of gRPC whose headers are all in the tables, and its answer.
fn grpc() -> ([Vec<u8>; 2], [Vec<u8>; 2]) {
    let asked = [
        inserted(":path", "/shop.v1.OrderService/Place"),
        inserted(":authority", "shop.example:8080"),
        inserted("content-type", "application/grpc+proto"),
        inserted("user-agent", "grpc-java-netty/1.60.0"),
        inserted("grpc-timeout", "5S"),
        inserted("te", "trailers"),
    ];
    let answered = [
        inserted("content-type", "application/grpc"),
        inserted("grpc-status", "0"),
    ];
    let before = [
        [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame2(1, 5, &asked.concat()),
        ]
        .concat(),
        frame2(1, 5, &answered.concat()),
    ];
    let message = [&b"\0\0\0\x01\0"[..], &[b'x'; 256]].concat();
    let request = [
        frame2(1, 4, b"\x83\x86\xbe\xbf\xc0\xc1\xc2\xc3"),
        frame2(0, 1, &message),
    ];
    let response = [
        frame2(1, 4, b"\x88\xbf"),
        frame2(0, 0, &message),
        frame2(1, 5, b"\xbe"),
    ];
    (before, [request.concat(), response.concat()])
}

/// Puts frames of HTTP/2 onto another stream.
fn renumber(frames: &mut [u8], stream: u32) {
    let mut rest = frames;
    while let Some((header, tail)) = rest.split_first_chunk_mut::<9>() {
        header[5..].copy_from_slice(&stream.to_be_bytes());
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        rest = &mut tail[length as usize..];
    }
}

fn main() {
    let nothing = [Vec::new(), Vec::new()];
    let response = [HEAD, &[b'x'; 1024][..]].concat();
    measure("HTTP/1", &nothing, [REQUEST.to_vec(), response], |_, _| ());
    let (request, response) = dubbo();
    measure("Dubbo", &nothing, [request, response], |_, _| ());
    let (before, call) = grpc();
    measure("gRPC", &before, call, renumber);
}

fn measure(
    protocol: &str,
    before: &[Vec<u8>; 2],
    [mut request, mut response]: [Vec<u8>; 2],
    renumber: impl Fn(&mut [u8], u32),
) {
    let rounds: u64 = 500_000;
    let limits = Arc::new(Limits {
        max_head: 64 << 10,
        max_headers: 128,
        max_pending: 1024,
    });
    let policy = Policy::new(&Records::default());
    let flow = Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: Some("redirect"),
        direction: Direction::Ingress,
        client: ([198, 18, 0, 2], 40000).into(),
        server: ([198, 18, 0, 1], 80).into(),
        opened: Timestamp(0),
        connect: Some(50_000),
        host: Some("pod".into()),
    };
    let mut line = Vec::new();
    for stage in [
        "decode",
        "connection + decode",
        "decode + document",
        "decode + document + JSON",
    ] {
        let mut decoder = Decoder::new(&limits);
        decoder.data(Side::Client, Timestamp(0), &before[0], &mut drop);
        decoder.data(Side::Server, Timestamp(0), &before[1], &mut drop);
        let start = cpu_time();
        for round in 0..rounds {
            let stream = u32::try_from(round * 2 + 3).expect("few rounds");
            renumber(&mut request, stream);
            renumber(&mut response, stream);
            if stage == "connection + decode" {
                decoder = Decoder::new(&limits);
                decoder.data(Side::Client, Timestamp(0), &before[0], &mut drop);
                decoder.data(Side::Server, Timestamp(0), &before[1], &mut drop);
            }
            let mut out = |exchange: weir_protocols::Exchange| match stage {
                "decode" | "connection + decode" => drop(black_box(exchange)),
                "decode + document" => drop(black_box(exchange.document(&flow, &policy))),
                _ => {
                    line.clear();
                    serde_json::to_writer(&mut line, &exchange.document(&flow, &policy)).expect("JSON");
                    black_box(&line);
                }
            };
            decoder.data(
                Side::Client,
                Timestamp(round * 1000),
                black_box(&request),
                &mut out,
            );
            decoder.data(
                Side::Server,
                Timestamp(round * 1000 + 500),
                black_box(&response),
                &mut out,
            );
        }
        let each = (cpu_time() - start) / rounds;
        let size = (request.len() + response.len()) as u64;
        let speed = size * 1000 / each.max(1);
        println!("{protocol:6} {stage:26} {each:6} ns a request, {speed:6} MB/s");
    }
    println!(
        "{protocol:6} {} + {} bytes of traffic, {} of JSON",
        request.len(),
        response.len(),
        line.len()
    );
}
