//! How HTTP/2 is known, and what is not taken for it.

use crate::support::*;
use weir_protocols::{Decoder, Protocol};

#[test]
fn the_preface_tells_however_it_comes() {
    for piece in 1..=PREFACE.len() {
        let mut seen = Observer::of(Decoder::new(&limits(8)));
        for part in PREFACE.chunks(piece) {
            assert_eq!(seen.protocol(), Protocol::Unknown);
            seen.client(part);
        }
        assert_eq!(seen.protocol(), Protocol::Http2);
        seen.client([frame(SETTINGS, 0, 0, &[]), headers(1, true, &get("/"))].concat());
        seen.server(headers(1, true, &[(":status", "200")]));
        assert_eq!(seen.document()["url"]["path"], "/");
    }
}

#[test]
fn a_server_that_speaks_first_tells_too() {
    let mut seen = Observer::of(Decoder::new(&limits(8)));
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    seen.server(&settings[..4]).server(&settings[4..]);
    assert_eq!(seen.protocol(), Protocol::Http2);
    seen.client(PREFACE).client(headers(1, true, &get("/")));
    seen.server(headers(1, true, &[(":status", "200")]));
    assert_eq!(summary(&seen.documents()), ["/ 200 success"]);
}

#[test]
fn other_beginnings_are_something_else() {
    for (bytes, protocol) in [
        // (A server may yet answer it.)
        (&b"PRI * HTTP/2.1\r\n\r\n"[..], Protocol::Unknown),
        (b"PRIVATE hello\r\n", Protocol::Unknown),
        (b"GET / HTTP/1.1\r\n", Protocol::Http1),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", Protocol::Tls),
        (b"PRI * HTTP/1.1\r\n\r\n", Protocol::Http1),
    ] {
        let mut seen = Observer::of(Decoder::new(&limits(8)));
        seen.client(bytes);
        assert_eq!(seen.protocol(), protocol, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_has_no_frames_is_not_found_late() {
    let noise: Vec<u8> = (0..4096_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for bytes in [
        &noise[..],
        &[0; 4096],
        &[0xff; 4096],
        &[0, 0, 0, 5].repeat(500)[..],
        &b"some text ".repeat(99),
    ] {
        let mut seen = Observer::late();
        seen.client(bytes).server(bytes);
        assert_eq!(seen.protocol(), Protocol::Unknown);
    }
}
