//! A port that is pinned to a protocol is decoded as that and as nothing else.

use crate::{support::*, wire::*};
use weir_config::{Config, Decoding};
use weir_protocols::{Close, Decoder, Decoders, Protocol, Side};
use weir_records::Timestamp;

fn decoders(pins: &str) -> Decoders {
    Decoders::from(&Config {
        decoding: Decoding {
            protocols: pins.parse().unwrap(),
            ..Decoding::default()
        },
        ..Config::default()
    })
}

fn pinned(pins: &str, port: u16) -> Decoder {
    decoders(pins).connection(port, false)
}

#[test]
fn it_is_decoded_from_the_first_byte() {
    for (name, protocol) in [
        ("http1", Protocol::Http1),
        ("http", Protocol::Http1),
        ("http2", Protocol::Http2),
        ("grpc", Protocol::Http2),
        ("triple", Protocol::Http2),
        ("dns", Protocol::Dns),
        ("tls", Protocol::Tls),
        ("dubbo", Protocol::Dubbo),
        ("tcp", Protocol::Tcp),
    ] {
        let pins = format!("9000-9010:{name}");
        assert_eq!(pinned(&pins, 9005).protocol(), protocol);
        assert_eq!(decoders(&pins).connection(9005, true).protocol(), protocol);
        assert_eq!(pinned(&pins, 9005).is_opaque(), protocol == Protocol::Tcp);
        assert_eq!(pinned(&pins, 9011).protocol(), Protocol::Unknown);
    }
    let seen = Observer::of(pinned("80:http1", 80)).steps(&[client(GET), server(OK)]);
    assert_eq!(summary(&seen.documents()), ["GET /a 200"]);
    let seen = Observer::of(pinned("80:tcp", 80)).steps(&[client(GET), server(OK)]);
    assert!(seen.exchanges.is_empty());
}

#[test]
fn nothing_else_is_tried() {
    let seen =
        Observer::of(pinned("80:dubbo", 80)).steps(&[client(GET), server(OK), Step::Close(Close::Finished)]);
    assert!(seen.exchanges.is_empty());
    let seen = Observer::of(pinned("80:http1", 80)).steps(&[
        client(call(1, true)),
        server(reply(1)),
        Step::Close(Close::Finished),
    ]);
    let documents = seen.documents();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["event"]["dataset"], "weir.http");
    assert!(anomalies(&documents[0]).contains(&"not_a_request"));
    let seen = Observer::of(pinned("80:tls", 80)).steps(&[client(GET), Step::Close(Close::Finished)]);
    let documents = seen.documents();
    assert_eq!(
        anomalies(&documents[0]),
        ["not_a_hello: the client began with something else"]
    );
    assert_eq!(documents[0]["event"]["outcome"], "unknown");
}

#[test]
fn a_guess_that_nobody_could_make_is_made() {
    // Nothing of what these begin with would be recognised.
    let seen = Observer::of(pinned("80:dubbo", 80))
        .steps(&[client([b"ls\r\n", &call(1, true)[..]].concat()), server(reply(1))]);
    assert_eq!(seen.documents()[0]["dubbo"]["method"], "echo");
    let mut late = Observer::of(decoders("80:http1").connection(80, true));
    for step in [client("rest of a body"), client(GET), server(OK)] {
        late.step(&step);
    }
    let documents = late.documents();
    assert_eq!(summary(&documents), ["GET /a 200"]);
    assert_eq!(documents[0]["weir"]["late_join"], true);
}

#[test]
fn datagrams_are_dns_where_they_are_pinned_to_it() {
    let decoders = decoders("5300:dns,8053:tcp");
    assert!(decoders.is_dns(53) && decoders.is_dns(5300));
    assert!(!decoders.is_dns(8053) && !decoders.is_dns(54));
    assert!(decoders.datagrams(8053, false).is_none());
    let mut decoder = decoders.datagrams(5300, false).unwrap();
    let mut count = 0;
    for (side, message) in [(Side::Client, query(1, 0, b"")), (Side::Server, no_such_name(1))] {
        decoder.data(side, Timestamp(0), &message[2..], &mut |_| count += 1);
    }
    assert_eq!(count, 1);
    assert!(self::decoders("53:tcp").datagrams(53, false).is_none());
}

#[test]
fn the_pinned_port_is_the_servers() {
    let decoders = decoders("20880:dubbo,9000:http1");
    assert_eq!(decoders.sender(20880, 1000), Some(Side::Server));
    assert_eq!(decoders.sender(1000, 20880), Some(Side::Client));
    assert_eq!(decoders.sender(9000, 20880), None);
    assert_eq!(decoders.sender(1, 2), None);
}
