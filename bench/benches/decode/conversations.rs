//! What is said in the benchmark of the decoders: one ordinary exchange of each protocol, byte by byte. The test that relay
//! and captures tell the same says it too.

mod dubbo;
mod http2;

/// What repeats in a conversation, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The same bytes again, on the same connection.
    Stream,
    /// The same frames of HTTP/2, on another stream.
    Http2,
    /// The same datagrams.
    Datagrams,
    /// Another connection.
    Connection,
}

/// Bytes of client and server.
pub struct Conversation {
    /// The protocol's name.
    pub name: &'static str,
    /// How it goes on.
    pub kind: Kind,
    /// What both say once, at the beginning.
    pub before: [Vec<u8>; 2],
    /// What they say for each exchange.
    pub exchange: [Vec<u8>; 2],
}

impl Conversation {
    /// Makes it the exchange of this number, from 0 on.
    pub fn number(&mut self, number: u32) {
        if self.kind == Kind::Http2 {
            let stream = number * 2 + 3;
            self.exchange
                .iter_mut()
                .for_each(|frames| http2::renumber(frames, stream));
        }
    }
}

/// One conversation of each protocol.
pub fn all() -> Vec<Conversation> {
    let plain = |name, kind, exchange| Conversation {
        name,
        kind,
        before: [Vec::new(), Vec::new()],
        exchange,
    };
    let over_http2 = |name, (before, exchange)| Conversation {
        name,
        kind: Kind::Http2,
        before,
        exchange,
    };
    vec![
        plain("HTTP-1", Kind::Stream, http1()),
        over_http2("HTTP-2", http2::get()),
        over_http2("gRPC", http2::grpc()),
        over_http2("Triple", http2::triple()),
        plain("Dubbo", Kind::Stream, dubbo::call()),
        plain("DNS", Kind::Datagrams, dns()),
        plain("TLS", Kind::Connection, tls()),
    ]
}

/// A request and a response of 1 KiB.
fn http1() -> [Vec<u8>; 2] {
    const REQUEST: &[u8] =
        b"GET /api/items?page=2&sort=price HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: curl/8.5.0\r\n\
Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef\r\n\
X-Request-Id: 7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1\r\nConnection: keep-alive\r\n\r\n";
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\nETag: \"65929e80-400\"\r\n\r\n";
    [REQUEST.to_vec(), [HEAD, &[b'x'; 1024]].concat()]
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// With its length in one byte before it.
fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).expect("few bytes")], bytes].concat()
}

/// With its length in two bytes before it.
fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("few bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// A query with EDNS for an address, and its answer: another name, and two addresses of that.
fn dns() -> [Vec<u8>; 2] {
    let question = [&b"\x03api\x04shop\x07example\0"[..], &words(&[1, 1])].concat();
    let options = [&[0], &words(&[41, 1232, 0, 0, 0])[..]].concat();
    let header = |flags, answers| words(&[0x4711, flags, 1, answers, 0, 1]);
    let record =
        |name: u16, kind: u16, data: &[u8]| [&words(&[name, kind, 1, 0, 60])[..], &long(data)].concat();
    // The names point at that of the question, and at that of the first record.
    let alias = record(0xc00c, 5, b"\x05front\xc0\x10");
    let first = record(0xc02e, 1, &[198, 18, 0, 1]);
    let second = record(0xc02e, 1, &[198, 18, 0, 2]);
    [
        [&header(0x0100, 0)[..], &question, &options].concat(),
        [
            &header(0x8180, 3)[..],
            &question,
            &alias,
            &first,
            &second,
            &options,
        ]
        .concat(),
    ]
}

/// Both hellos of TLS 1.3, and some of what follows.
fn tls() -> [Vec<u8>; 2] {
    let record = |kind: u8, payload: &[u8]| [&[kind, 3, 3], &long(payload)[..]].concat();
    let hello = |kind: u8, body: &[u8]| record(22, &[&[kind, 0], &long(body)[..]].concat());
    let extension = |kind: u16, content: &[u8]| [words(&[kind]), long(content)].concat();
    let name = long(&[&[0], &long(b"api.shop.example")[..]].concat());
    let asked = [
        extension(0, &name),
        extension(11, &short(&[0, 1, 2])),
        extension(10, &long(&words(&[0x001d, 0x0017, 0x001e, 0x0019, 0x0018]))),
        extension(35, b""),
        extension(16, &long(&[short(b"h2"), short(b"http/1.1")].concat())),
        extension(22, b""),
        extension(23, b""),
        extension(
            13,
            &long(&words(&[0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0401])),
        ),
        extension(43, &short(&words(&[0x0304, 0x0303]))),
        extension(45, &short(&[1])),
        extension(51, &long(&[words(&[0x001d]), long(&[5; 32])].concat())),
    ];
    let ciphers = words(&[
        0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0x009f, 0xcca9, 0xcca8, 0xccaa, 0xc02b, 0xc02f, 0x009e,
        0xc024, 0xc028, 0x006b, 0xc023, 0xc027, 0x0067, 0x00ff,
    ]);
    let body = [
        words(&[0x0303]),
        vec![7; 32],
        short(&[9; 32]),
        long(&ciphers),
        short(&[0]),
        long(&asked.concat()),
    ];
    let chosen = [
        extension(43, &words(&[0x0304])),
        extension(51, &[words(&[0x001d]), long(&[6; 32])].concat()),
    ];
    let answer = [
        words(&[0x0303]),
        vec![8; 32],
        short(&[9; 32]),
        words(&[0x1302]),
        vec![0],
        long(&chosen.concat()),
    ];
    let follows = [record(20, &[1]), record(23, &[0xa5; 1024])].concat();
    [
        [hello(1, &body.concat()), follows.clone()].concat(),
        [hello(2, &answer.concat()), follows].concat(),
    ]
}
