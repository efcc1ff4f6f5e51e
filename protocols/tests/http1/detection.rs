//! What a connection speaks is told from the first bytes of both sides, and not before it is certain.

use crate::support::*;
use weir_protocols::{
    Protocol::{Http1, Http2, Tcp, Unknown},
    Side, speaker,
};

#[test]
fn who_sends_something_is_told_by_its_look() {
    for (bytes, side) in [
        (&b"GET /a HTTP/1.1\r\n"[..], Some(Side::Client)),
        (b"HTTP/1.1 200 OK\r\n", Some(Side::Server)),
        (b"the middle of something", None),
        (b"", None),
    ] {
        assert_eq!(speaker(bytes), side, "{}", bytes.escape_ascii());
    }
}

#[test]
fn first_bytes_decide() {
    for (steps, protocol) in [
        (vec![], Unknown),
        (vec![client("GET / HTTP/1.1\r\n")], Http1),
        (vec![client("GET / HTTP/1.1")], Unknown),
        (vec![client("GET"), client(" / HTTP/1"), client(".0\n")], Http1),
        // What a client says in no protocol that is known here may be answered in one.
        (vec![client("GET /\r\n")], Unknown),
        (vec![client("GET /\r\n"), server("<html>")], Tcp),
        (vec![client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")], Http2),
        (vec![client("\x16\x03\x01\x02\x00")], Unknown),
        (vec![client("SET a b\r\n")], Unknown),
        (vec![client("SET a b\r\n"), server("+OK\r\n")], Tcp),
        (vec![client("x".repeat(8192))], Unknown),
        (vec![client("x".repeat(20_000))], Tcp),
        (vec![client("x")], Unknown),
        (vec![server("220 mail.example ESMTP\r\n")], Tcp),
        (vec![server("\x4a\x00\x00\x00\x0a5.7.0")], Tcp),
        (vec![server("HTTP/1.1")], Unknown),
        (vec![server("HTTP/1.1 408 Timeout\r\n")], Http1),
        (vec![client("EHLO"), server("220 mail")], Tcp),
        (
            vec![client("GET / FOO"), server("HTTP/1.1 400 Bad Request\r\n")],
            Http1,
        ),
    ] {
        assert_eq!(Observer::new().steps(&steps).protocol(), protocol, "{steps:?}");
    }
}

#[test]
fn a_first_line_that_does_not_end_is_given_up_at_the_limit() {
    let mut seen = Observer::new();
    seen.step(&client("WEIRD "));
    for _ in 0..16 {
        seen.step(&client("x".repeat(1023)));
    }
    assert_eq!(seen.protocol(), Unknown);
    seen.step(&client("x".repeat(64)));
    assert_eq!(seen.protocol(), Tcp);
    assert!(seen.decoder.is_opaque());
}

#[test]
fn an_opaque_connection_gives_nothing() {
    let seen = Observer::new().steps(&[server("220 hello\r\n"), client(GET), server(OK)]);
    assert!(seen.exchanges.is_empty());
}

#[test]
fn what_came_before_the_decision_is_decoded() {
    let documents = run(&[
        client("GET /a HTT"),
        server("HTTP/1."),
        client("P/1.1\r\n\r\n"),
        server(&OK[7..]),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200"]);
}

#[test]
fn what_was_kept_of_both_sides_is_shown_in_the_order_in_which_it_came() {
    // Nobody can tell yet what these are; the server's word comes before the end of the client's first line.
    let first = [b"G~T a:1 HTTP/1.1+".as_slice(), &[0; 80]].concat();
    let answer = server("est");
    let rest = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let whole = run(&[client(&first), answer.clone(), client(rest)]);
    let mut cut = vec![client(&first), answer];
    cut.extend(rest.bytes().map(|byte| client([byte])));
    assert_eq!(run(&cut), whole);
}
