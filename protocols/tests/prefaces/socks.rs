//! SOCKS: what a proxy is asked for, and what passes through the connection that it makes.

use crate::{support::*, tls, wire::*};
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Protocol, Side};

const OFFER: &[u8] = &[5, 2, 0, 2];
const NO_AUTHENTICATION: &[u8] = &[5, 0];
const CONNECTED: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0x9c, 0x40];

/// Version 5's request for a name.
fn ask(command: u8, name: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [
        &[5, command, 0, 3, length][..],
        name.as_bytes(),
        &port.to_be_bytes(),
    ]
    .concat()
}

fn opened() -> Vec<Step> {
    vec![
        client(OFFER),
        server(NO_AUTHENTICATION),
        client(ask(1, "shop.example", 443)),
        server(CONNECTED),
    ]
}

#[test]
fn a_connection_that_was_asked_for_is_told_and_looked_into() {
    let hello = tls::record(tls::HANDSHAKE, &tls::client_hello("shop.example"));
    let mut seen = Observer::new().steps(&opened());
    assert_eq!(seen.protocol(), Protocol::Socks);
    assert_eq!(seen.exchanges.len(), 1);
    seen.step(&client(&hello));
    seen.step(&Step::Close(Close::Finished));
    let documents = seen.documents();
    let [socks, within] = &documents[..] else {
        panic!("{documents:#?}")
    };
    assert_eq!(socks["event"]["dataset"], "weir.socks");
    assert_eq!(socks["network"]["protocol"], "socks");
    assert_eq!(socks["event"]["outcome"], "success");
    assert_eq!(
        socks["url"],
        json!({"original": "shop.example:443", "domain": "shop.example", "port": 443})
    );
    assert_eq!(
        socks["weir"]["socks"],
        json!({"version": "5", "command": "connect", "authentication": "none", "reply_code": 0})
    );
    assert_eq!(socks["source"]["bytes"], 4 + 19);
    assert_eq!(socks["destination"]["bytes"], 2 + 10);
    assert_eq!(within["event"]["dataset"], "weir.tls");
    assert_eq!(within["tls"]["client"]["server_name"], "shop.example");
    assert_eq!(within["weir"]["tunnel"], "shop.example:443");
    assert_eq!(within["weir"]["preface"], json!(["socks5"]));
    assert_eq!(within["weir"]["flow_id"], socks["weir"]["flow_id"]);
    assert_ne!(within["event"]["id"], socks["event"]["id"]);
    assert_eq!(within["source"]["bytes"], hello.len());
}

#[test]
fn every_kind_of_address_is_told() {
    let four = [&[5, 1, 0, 1][..], &[203, 0, 113, 9], &[0, 80]].concat();
    let six = [
        &[5, 1, 0, 4][..],
        &[0x20, 1, 0x0d, 0xb8],
        &[0; 11],
        &[1],
        &[0, 80],
    ]
    .concat();
    for (request, target) in [(four, "203.0.113.9:80"), (six, "[2001:db8::1]:80")] {
        let documents = run(&[
            client(OFFER),
            server(NO_AUTHENTICATION),
            client(request),
            server(CONNECTED),
            client(GET),
            server(OK),
        ]);
        assert_eq!(documents[0]["url"]["original"], target);
        assert_eq!(documents[1]["weir"]["tunnel"], target);
        assert_eq!(summary(&documents[1..]), ["GET /a 200"]);
    }
    let granted = [0, 0x5a, 0, 0, 0, 0, 0, 0];
    for (request, target, version) in [
        (&b"\x04\x01\0\x50\xcb\0\x71\x09user\0"[..], "203.0.113.9:80", "4"),
        (
            b"\x04\x01\0\x50\0\0\0\x01\0shop.example\0",
            "shop.example:80",
            "4a",
        ),
    ] {
        let documents = run(&[client(request), server(granted), client(GET), server(OK)]);
        assert_eq!(documents[0]["url"]["original"], target);
        assert_eq!(
            documents[0]["weir"]["socks"],
            json!({"version": version, "command": "connect", "reply_code": 90})
        );
        assert_eq!(
            documents[1]["weir"]["preface"],
            json!([format!("socks{version}")])
        );
        assert_eq!(summary(&documents[1..]), ["GET /a 200"]);
    }
}

#[test]
fn names_and_passwords_are_passed_over() {
    let documents = run(&[
        client(OFFER),
        server([5, 2]),
        client(b"\x01\x05alice\x06secret"),
        server([1, 0]),
        client(ask(1, "shop.example", 80)),
        server(CONNECTED),
        client(GET),
        server(OK),
    ]);
    assert_eq!(documents[0]["weir"]["socks"]["authentication"], "password");
    assert_eq!(documents[0]["event"]["outcome"], "success");
    assert_eq!(documents.len(), 2);
    let all = format!("{documents:?}");
    assert!(!all.contains("alice") && !all.contains("secret"), "{all}");
}

#[test]
fn a_client_may_send_before_its_turn() {
    let all = [OFFER, &ask(1, "shop.example", 80), GET.as_bytes()].concat();
    let documents = run(&[
        client(all),
        server(NO_AUTHENTICATION),
        server(CONNECTED),
        server(OK),
    ]);
    assert_eq!(documents[0]["url"]["original"], "shop.example:80");
    assert_eq!(summary(&documents[1..]), ["GET /a 200"]);
    let documents = run(&[
        client(b"\x04\x01\0\x50\xcb\0\x71\x09\0"),
        client(GET),
        server([&[0, 0x5a, 0, 0, 0, 0, 0, 0], OK.as_bytes()].concat()),
    ]);
    assert_eq!(summary(&documents[1..]), ["GET /a 200"]);
}

#[test]
fn a_wish_that_fails_says_why() {
    let asked = [
        client(OFFER),
        server(NO_AUTHENTICATION),
        client(ask(1, "shop.example", 80)),
    ];
    let refused = server([5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    let four = client(b"\x04\x01\0\x50\xcb\0\x71\x09\0");
    for (steps, kind, message) in [
        (
            [&asked[..], &[refused]].concat(),
            "socks_reply",
            "connection refused",
        ),
        (
            vec![four.clone(), server([0, 0x5b, 0, 0, 0, 0, 0, 0])],
            "socks_reply",
            "rejected or failed",
        ),
        (
            vec![client(OFFER), server([5, 0xff])],
            "socks_no_method",
            "the proxy wants another authentication than the client offers",
        ),
        (
            vec![
                client(OFFER),
                server([5, 2]),
                client(b"\x01\x01a\x01b"),
                server([1, 1]),
            ],
            "socks_authentication",
            "the proxy did not accept name and password",
        ),
        (
            [&asked[..], &[Step::Close(Close::Finished)]].concat(),
            "no_response",
            "the connection ended before the proxy's answer",
        ),
        (
            vec![four, Step::Close(Close::Reset(Side::Server))],
            "connection_reset",
            "the server reset the connection before the proxy's answer",
        ),
    ] {
        let document = one(&steps);
        assert_eq!(document["event"]["outcome"], "failure", "{message}");
        assert_eq!(document["error"], json!({"type": kind, "message": message}));
    }
    let given_up = one(&[&asked[..], &[Step::Close(Close::Abandoned)]].concat());
    assert_eq!(given_up["event"]["outcome"], "unknown");
    assert_eq!(given_up["error"], Value::Null);
}

#[test]
fn what_is_not_looked_into_is_named() {
    for (number, command) in [(2, "bind"), (3, "udp_associate")] {
        let seen = Observer::new().steps(&[
            client(OFFER),
            server(NO_AUTHENTICATION),
            client(ask(number, "shop.example", 80)),
            server(CONNECTED),
            client(GET),
            server(OK),
        ]);
        assert!(seen.decoder.is_opaque());
        assert_eq!(seen.documents().len(), 1);
        assert_eq!(seen.documents()[0]["weir"]["socks"]["command"], command);
        assert_eq!(seen.documents()[0]["event"]["outcome"], "success");
    }
    let document = one(&[
        client([5, 2, 0, 1]),
        server([5, 1]),
        client(b"\x01\x01\0\x04abcd"),
    ]);
    assert_eq!(
        document["weir"]["socks"],
        json!({"version": "5", "authentication": "gssapi"})
    );
    assert_eq!(document["event"]["outcome"], "unknown");
}

#[test]
fn what_only_begins_like_it_is_none() {
    for steps in [
        vec![client(OFFER), server("SSH-2.0-OpenSSH_9.9\r\n")],
        // A method that the client does not offer.
        vec![client(OFFER), server([5, 3])],
        vec![client([5, 1, 0]), client([0xff; 20_000])],
        vec![client([5, 0])],
        vec![client([5, 1, 9])],
        vec![client([4, 3, 0, 80, 1, 2, 3, 4, 0])],
        vec![client(b"\x04\x01\0\x50\xcb\0\x71\x09\x01\x02\0")],
        vec![client(b"\x04\x01\0\x50\0\0\0\x01\0\0")],
        vec![client(b"\x04\x01\0\x50\xcb\0\x71\x09\0"), server("nothing\r\n")],
    ] {
        let mut seen = Observer::new().steps(&steps);
        assert_ne!(seen.protocol(), Protocol::Socks, "{steps:?}");
        seen.step(&Step::Close(Close::Finished));
        assert!(seen.exchanges.is_empty(), "{steps:?}");
    }
    // A few bytes alone say nothing.
    let seen = Observer::new().steps(&[client(OFFER), Step::Close(Close::Finished)]);
    assert!(seen.exchanges.is_empty());
    // A query that is as long as the first bytes of an offer say.
    let mut long = query(0, 0, b"");
    long[..2].copy_from_slice(&[5, 1]);
    long.resize(2 + 0x501, 0);
    let (first, rest) = long.split_at(3);
    let seen = Observer::new().steps(&[client(first), client(rest), server(no_such_name(0))]);
    assert_eq!(seen.protocol(), Protocol::Dns);
}

#[test]
fn proxies_behind_proxies_have_a_bound() {
    let mut seen = Observer::new();
    for _ in 0..5000 {
        opened().iter().for_each(|step| seen.step(step));
    }
    assert!(seen.decoder.is_opaque());
    assert_eq!(seen.exchanges.len(), 4);
}

proptest! {
    #[test]
    fn it_may_be_cut_anywhere(cut in 1..30usize, early: bool) {
        let mut steps = opened();
        if early {
            steps = vec![client([OFFER, &ask(1, "shop.example", 443)].concat()), server([NO_AUTHENTICATION, CONNECTED].concat())];
        }
        steps.extend([client(GET), server(OK)]);
        let mut seen = Observer::new();
        for step in &steps {
            if let Step::Data(side, bytes) = step {
                bytes.chunks(cut).for_each(|part| seen.step(&Step::Data(*side, part.to_vec())));
            }
        }
        let documents = seen.documents();
        prop_assert_eq!(documents.len(), 2);
        prop_assert_eq!(&documents[0]["source"]["bytes"], 4 + 19);
        prop_assert_eq!(summary(&documents[1..]), ["GET /a 200"]);
    }

    #[test]
    fn changed_bytes_are_survived(step in 0..6usize, at in 0..40usize, byte: u8, cut in 1..30usize) {
        let mut steps = opened();
        steps.extend([client(GET), server(OK)]);
        if let Step::Data(_, bytes) = &mut steps[step] {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let mut seen = Observer::new();
        for step in &steps {
            if let Step::Data(side, bytes) = step {
                bytes.chunks(cut).for_each(|part| seen.step(&Step::Data(*side, part.to_vec())));
            }
        }
        seen.step(&Step::Close(Close::Finished));
        seen.documents();
    }
}
