//! Resolvers that do not answer, datagrams that are no DNS, a sidecar that ends or is not there.

use crate::{
    MODES,
    stage::{Stage, ask, asker, hear, in_every_mode, query},
};
use nix::sys::signal::Signal;
use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};
use weir_lab::skip_unless_root;
use weir_tests::peer::again;
use weir_tests::weir::{LIMIT, wait_for};

const A: u16 = 1;

#[test]
fn a_query_that_nobody_answers_has_a_document_and_a_late_answer_still_arrives() {
    in_every_mode(
        "a_query_that_nobody_answers_has_a_document_and_a_late_answer_still_arrives",
        |stage| {
            let waiting = stage.silent().map(|ip| {
                let (server, client) = (stage.silent_socket(ip), asker(&stage.pod, ip));
                client.send(&query(7, "late.weir.test", A)).unwrap();
                (ip, server, client)
            });
            let documents = stage.documents(2);
            for (ip, ..) in &waiting {
                let document = documents
                    .iter()
                    .find(|document| document["destination"]["ip"] == ip.to_string())
                    .unwrap();
                assert_eq!(document["weir"]["dns"]["rcode"], -1);
                assert_eq!(document["error"]["type"], "timeout");
                assert_eq!(document["event"]["outcome"], "failure");
                assert_eq!(document["dns"]["question"]["name"], "late.weir.test");
                assert_eq!(document["dns"].get("response_code"), None);
            }
            assert_eq!(stage.sidecar().metric("weir_dns_timeouts_total", &[]), 2);
            for (_, server, client) in &waiting {
                let mut buffer = [0; 512];
                let (length, from) = again(|| server.recv_from(&mut buffer)).unwrap();
                assert_eq!(buffer[..length], query(7, "late.weir.test", A));
                buffer[2] |= 0x80;
                server.send_to(&buffer[..length], from).unwrap();
                assert_eq!(hear(client), buffer[..length]);
            }
            // Its query has its document already.
            assert_eq!(stage.documents(2).len(), 2);
        },
    );
}

#[test]
fn a_resolver_that_nobody_listens_at_is_named_as_such() {
    in_every_mode("a_resolver_that_nobody_listens_at_is_named_as_such", |stage| {
        for (turn, ip) in stage.silent().into_iter().enumerate() {
            let client = asker(&stage.pod, ip);
            client.send(&query(7, "refused.weir.test", A)).unwrap();
            let documents = stage.documents(turn + 1);
            assert_eq!(documents[turn]["error"]["type"], "port_unreachable");
            assert_eq!(documents[turn]["weir"]["dns"]["rcode"], -1);
            // The same socket asks again once somebody does.
            let server = stage.silent_socket(ip);
            client.send(b"again").unwrap();
            let mut buffer = [0; 512];
            let (length, from) = again(|| server.recv_from(&mut buffer)).unwrap();
            assert_eq!(&buffer[..length], b"again");
            server.send_to(b"here", from).unwrap();
            assert_eq!(hear(&client), b"here");
        }
    });
}

#[test]
fn datagrams_that_are_no_dns_go_both_ways_as_they_are() {
    in_every_mode("datagrams_that_are_no_dns_go_both_ways_as_they_are", |stage| {
        for ip in stage.silent() {
            let (server, client) = (stage.silent_socket(ip), asker(&stage.pod, ip));
            let large = [7; 8000];
            for (there, back) in [
                (&b""[..], &b"x"[..]),
                (b"\0", b""),
                (b"GET / HTTP/1.1\r\n\r\n", &large),
                (&large, b"y"),
            ] {
                client.send(there).unwrap();
                let mut buffer = [0; 9000];
                let (length, from) = again(|| server.recv_from(&mut buffer)).unwrap();
                assert_eq!(&buffer[..length], there);
                server.send_to(back, from).unwrap();
                assert_eq!(hear(&client), back);
            }
        }
        assert_eq!(stage.sidecar().metric("weir_decoder_panics_total", &[]), 0);
    });
}

#[test]
fn a_sidecar_that_ends_waits_for_the_answers_that_it_owes() {
    if skip_unless_root("a_sidecar_that_ends_waits_for_the_answers_that_it_owes") {
        return;
    }
    for mode in MODES {
        let mut stage = Stage::new(mode);
        stage.install();
        stage.start_sidecar(&["--drain", "60s"]);
        let ip = stage.silent()[0];
        let (server, client) = (stage.silent_socket(ip), asker(&stage.pod, ip));
        client.send(&query(7, "drained.weir.test", A)).unwrap();
        let mut buffer = [0; 512];
        let (length, from) = again(|| server.recv_from(&mut buffer)).unwrap();
        let mut sidecar = stage.sidecar.take().unwrap();
        sidecar.process.signal(Signal::SIGTERM).unwrap();
        wait_for("the drain", || sidecar.process.output().contains("draining"));
        buffer[2] |= 0x80;
        server.send_to(&buffer[..length], from).unwrap();
        assert_eq!(hear(&client), buffer[..length]);
        let status = sidecar.process.wait(LIMIT).unwrap();
        assert!(status.success(), "{}", sidecar.process.output());
        let documents = sidecar.documents();
        assert_eq!(documents.len(), 1);
        assert_eq!(documents[0]["event"]["outcome"], "success");
    }
}

#[test]
fn without_a_sidecar_a_redirected_query_has_no_answer_and_with_one_it_has() {
    if skip_unless_root("without_a_sidecar_a_redirected_query_has_no_answer_and_with_one_it_has") {
        return;
    }
    // (Mode ebpf finds that nobody listens and leaves the query alone.)
    for mode in MODES.iter().filter(|mode| **mode != "ebpf") {
        let mut stage = Stage::new(mode);
        stage.install();
        let question = query(7, "both.weir.test", A);
        for server in stage.first() {
            let client = asker(&stage.pod, server);
            client.send(&question).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            again(|| client.recv(&mut [0; 512])).unwrap_err();
        }
        stage.start_sidecar(&[]);
        for server in stage.first() {
            assert_eq!(ask(&stage.pod, server, &question)[3] & 15, 0);
        }
    }
}

#[test]
fn a_dead_resolver_does_not_crowd_out_queries_to_a_live_one() {
    /// More than there is room for.
    const QUERIES: u16 = 9000;
    if skip_unless_root("a_dead_resolver_does_not_crowd_out_queries_to_a_live_one") {
        return;
    }
    let mut stage = Stage::new("redirect");
    stage.install();
    stage.start_sidecar(&[]);
    let (dead, live) = (stage.silent()[0], stage.first()[0]);
    let _never_answers = stage.silent_socket(dead);
    for first in (0..QUERIES).step_by(1000) {
        let asks = || {
            for turn in first..first + 1000 {
                // A port of its own, so that each is another flow.
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 20000 + turn)).unwrap();
                socket
                    .send_to(&query(turn, "dead.weir.test", A), (dead, 53))
                    .unwrap();
            }
        };
        stage.pod.enter(asks).unwrap();
        let answer = ask(&stage.pod, live, &query(first, "first.weir.test", A));
        assert_eq!(answer[..2], first.to_be_bytes());
    }
    // Queries may still wait in the socket's buffer.
    let evicted = || stage.sidecar().metric("weir_dns_dropped_total", &["evicted"]);
    wait_for("a full table", || evicted() > 0);
    let answer = ask(&stage.pod, live, &query(QUERIES, "first.weir.test", A));
    assert_eq!(answer[..2], QUERIES.to_be_bytes());
}
