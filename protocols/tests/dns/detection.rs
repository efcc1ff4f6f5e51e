//! What is DNS over TCP, and what is not.

use crate::support::{A, Observer, framed, query, response};
use weir_protocols::Protocol;

#[test]
fn a_question_is_enough_and_each_byte_of_it_is_needed() {
    let bytes = framed(&query(1, "shop.example", A));
    for cut in 1..bytes.len() {
        let mut flow = Observer::tcp();
        flow.client(0, &bytes[..cut]);
        assert_eq!(flow.decoder.protocol(), Protocol::Unknown, "{cut} bytes");
        flow.client(1, &bytes[cut..]);
        assert_eq!(flow.decoder.protocol(), Protocol::Dns, "{cut} bytes");
    }
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    let dubbo: &[u8] = &[0xda, 0xbb, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9];
    let kafka: &[u8] = &[0, 0, 0, 35, 0, 18, 0, 3, 0, 0, 0, 1, 0, 10];
    let tls: &[u8] = &[22, 3, 1, 0, 250, 1, 0, 0, 246, 3, 3, 0, 0, 0];
    let postgres: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
    let postgres_startup: &[u8] = b"\x00\x00\x00\x29\x00\x03\x00\x00user\x00a\x00";
    let mongo: &[u8] = &[0x3a, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xd4, 7, 0, 0];
    let mqtt: &[u8] = b"\x10\x1c\x00\x04MQTT\x04\x02\x00\x3c\x00\x10client12";
    let redis: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    let h2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for first in [
        dubbo,
        kafka,
        tls,
        postgres,
        postgres_startup,
        mongo,
        mqtt,
        redis,
        h2,
    ] {
        let mut flow = Observer::tcp();
        flow.client(0, first);
        assert_ne!(flow.decoder.protocol(), Protocol::Dns, "{first:?}");
        flow.client(1, [0; 64]);
        assert_ne!(flow.decoder.protocol(), Protocol::Dns, "{first:?} and zeros");
    }
    let mut flow = Observer::tcp();
    flow.client(0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(flow.decoder.protocol(), Protocol::Http1);
}

#[test]
fn what_is_too_short_to_be_a_message_ends_nothing() {
    let mut flow = Observer::tcp();
    flow.client(0, framed(&query(1, "a", A)))
        .client(1, framed(b"short"))
        .server(2, framed(&response(1, 0, "a", A, &[])));
    assert_eq!(flow.document()["dns"]["response_code"], "NOERROR");
}
