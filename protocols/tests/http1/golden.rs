//! Whole conversations as they are met in practice, with the documents written out.
//! `WEIR_BLESS=1 cargo test -p weir-protocols golden` rewrites the files after an intended change: read the diff.

use crate::support::*;
use std::{fs, path::Path};
use weir_protocols::{Close, Side};

fn check(name: &str, steps: &[Step]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"));
    let mut documents = run(steps);
    for document in &mut documents {
        // The same within one build only.
        document["event"].as_object_mut().unwrap().remove("id").unwrap();
    }
    let seen = serde_json::to_string_pretty(&documents).unwrap() + "\n";
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(&file, &seen).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    assert_eq!(seen, expected, "{}", file.display());
}

#[test]
fn browser() {
    check(
        "browser",
        &[
            client(
                "GET /shop/list?sort=price&page=2 HTTP/1.1\r\nHost: shop.example:8080\r\n\
                 User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
                 Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\n\
                 Referer: http://shop.example:8080/login?token=c2VjcmV0\r\nCookie: session=c2VjcmV0; theme=dark\r\n\
                 Connection: keep-alive\r\n\r\n",
            ),
            server(
                "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nContent-Type: text/html; charset=utf-8\r\n\
                 Set-Cookie: session=c2VjcmV0; HttpOnly\r\nSet-Cookie: theme=dark\r\n\
                 Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n4\r\nabcd\r\n",
            ),
            server("6\r\nefghij\r\n0\r\n\r\n"),
            client(
                "GET /favicon.ico HTTP/1.1\r\nHost: shop.example:8080\r\nIf-None-Match: \"a1\"\r\n\
                 Cookie: session=c2VjcmV0\r\n\r\n",
            ),
            server("HTTP/1.1 304 Not Modified\r\nETag: \"a1\"\r\nContent-Length: 5430\r\n\r\n"),
            Step::End(Side::Client),
            Step::End(Side::Server),
            Step::Close(Close::Finished),
        ],
    );
}

#[test]
fn upload() {
    check(
        "upload",
        &[
            client(
                "PUT /files/report.pdf HTTP/1.1\r\nHost: store\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
                 Authorization: Bearer c2VjcmV0\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n",
            ),
            server("HTTP/1.1 100 Continue\r\n\r\n"),
            client("hello "),
            client("world"),
            server(
                "HTTP/1.1 201 Created\r\nLocation: /files/report.pdf?signature=c2VjcmV0\r\nContent-Length: 0\r\n\r\n",
            ),
            client("DELETE /files/report.pdf HTTP/1.1\r\nHost: store\r\n\r\n"),
            Step::Close(Close::Reset(Side::Server)),
        ],
    );
}

#[test]
fn websocket() {
    check(
        "websocket",
        &[
            client(
                "GET /chat HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            ),
            server(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            ),
            server(b"\x81\x05hello"),
            Step::Close(Close::Finished),
        ],
    );
}

#[test]
fn forward_proxy() {
    check(
        "forward_proxy",
        &[
            client(
                "GET http://user:c2VjcmV0@Example.org/index.html HTTP/1.0\r\n\
                 Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: Keep-Alive\r\n\r\n",
            ),
            server("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"),
            client("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"),
            server("HTTP/1.1 200 Connection established\r\n\r\n"),
            client(b"\x16\x03\x01\x02\x00"),
        ],
    );
}

#[test]
fn smuggling() {
    check(
        "smuggling",
        &[
            client(
                "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n",
            ),
            client("Transfer-Encoding: chunked\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n"),
            server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            server("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nbad"),
            Step::Close(Close::Finished),
        ],
    );
}
