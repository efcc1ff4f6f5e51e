//! HTTP/2, and calls of gRPC and Triple on it. The fields of all headers are in the tables of both sides after what goes
//! before, as they are on a connection that has been used.

use super::dubbo;

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The newest field of the dynamic table, indexed; the one before it has the next number.
const NEWEST: u8 = 0xbe;

/// What goes before, and an exchange: each of client and server.
type Exchange = ([Vec<u8>; 2], [Vec<u8>; 2]);

/// A text with its length before it.
fn short(text: &str) -> Vec<u8> {
    [
        &[u8::try_from(text.len()).expect("a short text")],
        text.as_bytes(),
    ]
    .concat()
}

/// A frame on stream 1.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// Puts frames onto another stream.
pub fn renumber(frames: &mut [u8], stream: u32) {
    let mut rest = frames;
    while let Some((header, tail)) = rest.split_first_chunk_mut::<9>() {
        header[5..].copy_from_slice(&stream.to_be_bytes());
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        rest = &mut tail[length as usize..];
    }
}

/// Fields that are inserted into the table, and how they are named afterwards.
fn table(fields: &[(&str, &str)]) -> [Vec<u8>; 2] {
    let inserted = |(name, value): &(&str, &str)| [&b"\x40"[..], &short(name), &short(value)].concat();
    let newest = NEWEST..NEWEST + u8::try_from(fields.len()).expect("few fields");
    [fields.iter().flat_map(inserted).collect(), newest.rev().collect()]
}

/// A GET, and 1 KiB.
pub fn get() -> Exchange {
    let [asked, again] = table(&[
        (":path", "/api/items?page=2&sort=price"),
        (":authority", "shop.example:8080"),
        ("user-agent", "curl/8.5.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("cookie", "session=0123456789abcdef"),
        ("x-request-id", "7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1"),
    ]);
    let [answered, answered_again] = table(&[
        ("server", "nginx/1.22.1"),
        ("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("etag", "\"65929e80-400\""),
    ]);
    let body = frame(DATA, END_STREAM, &[b'x'; 1024]);
    let request = |fields: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, &[b"\x82\x86", fields].concat());
    let response = |fields: &[u8]| {
        let head = frame(HEADERS, END_HEADERS, &[b"\x88", fields].concat());
        [head, body.clone()].concat()
    };
    (
        [preface(&request(&asked)), response(&answered)],
        [request(&again), response(&answered_again)],
    )
}

fn preface(frames: &[u8]) -> Vec<u8> {
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], frames].concat()
}

/// A call of gRPC with messages of 256 bytes.
pub fn grpc() -> Exchange {
    let fields = [
        (":path", "/shop.v1.OrderService/Place"),
        (":authority", "shop.example:8080"),
        ("content-type", "application/grpc+proto"),
        ("user-agent", "grpc-java-netty/1.60.0"),
        ("grpc-timeout", "5S"),
        ("te", "trailers"),
    ];
    call(&fields, &[b'x'; 256], &[b'x'; 256])
}

/// A call of Triple whose arguments are wrapped: an order and a word.
pub fn triple() -> Exchange {
    let fields = [
        (":path", "/shop.api.OrderService/place"),
        (":authority", "shop.example:8080"),
        ("content-type", "application/grpc+proto"),
        ("te", "trailers"),
        ("tri-service-version", "1.0.0"),
        ("tri-consumer-appname", "shop-web"),
    ];
    let request = [
        field(1, b"hessian4"),
        field(2, &dubbo::order()),
        field(2, &dubbo::word()),
        field(3, b"shop.api.Order"),
        field(3, b"java.lang.String"),
    ];
    let response = [
        field(1, b"hessian4"),
        field(2, &dubbo::order()),
        field(3, b"shop.api.Order"),
    ];
    call(&fields, &request.concat(), &response.concat())
}

/// A field of protobuf that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let low = u8::try_from(bytes.len() % 128).expect("below 128");
    let high = u8::try_from(bytes.len() / 128).expect("a short field");
    let length = match high {
        0 => vec![low],
        _ => vec![low | 128, high],
    };
    [&[number << 3 | 2], &length[..], bytes].concat()
}

/// A unary call with these fields and messages.
fn call(fields: &[(&str, &str)], request: &[u8], response: &[u8]) -> Exchange {
    let message = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("a short message").to_be_bytes();
        [&[0], &length[..], bytes].concat()
    };
    let (request, response) = (message(request), message(response));
    let [asked, again] = table(fields);
    let ask = |fields: &[u8]| {
        let head = frame(HEADERS, END_HEADERS, &[b"\x83\x86", fields].concat());
        [head, frame(DATA, END_STREAM, &request)].concat()
    };
    let [kind, _] = table(&[("content-type", "application/grpc")]);
    let [status, _] = table(&[("grpc-status", "0")]);
    let answer = |kind: &[u8], status: &[u8]| {
        [
            frame(HEADERS, END_HEADERS, &[b"\x88", kind].concat()),
            frame(DATA, 0, &response),
            frame(HEADERS, END_STREAM | END_HEADERS, status),
        ]
        .concat()
    };
    (
        [preface(&ask(&asked)), answer(&kind, &status)],
        [ask(&again), answer(&[NEWEST + 1], &[NEWEST])],
    )
}
