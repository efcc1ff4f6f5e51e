//! What is Dubbo and what is not.

use crate::support::*;
use weir_protocols::Protocol;

#[test]
fn either_side_s_first_frame_tells() {
    for piece in [1, 5, 1000] {
        let mut seen = Observer::new();
        for bytes in request(1, "a").chunks(piece) {
            seen.client(bytes);
        }
        assert_eq!(seen.protocol(), Protocol::Dubbo);
        let mut seen = Observer::new();
        seen.server(heartbeat(1));
        assert_eq!(seen.protocol(), Protocol::Dubbo);
    }
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for bytes in [
        &b"\xda\xba\xc2\0"[..],
        b"\xda\xbb\xc2\x05",
        b"\xda\xbb\x05\x14",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"*1\r\n$4\r\nPING\r\n",
        b"ls\r\n",
    ] {
        let mut seen = Observer::new();
        seen.client(bytes);
        assert_ne!(seen.protocol(), Protocol::Dubbo, "{bytes:x?}");
    }
    let mut seen = Observer::new();
    seen.client("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(seen.protocol(), Protocol::Http1);
}

#[test]
fn the_beginning_is_waited_for() {
    for end in 1..16 {
        let mut seen = Observer::new();
        seen.client(&request(1, "a")[..end]);
        assert_eq!(seen.protocol(), Protocol::Unknown, "{end}");
    }
}
