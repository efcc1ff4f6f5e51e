//! Protocols that begin in the open and go over to TLS.

use crate::{support::*, tls};
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Decoder, Protocol, Side};

fn hello() -> Vec<u8> {
    tls::record(tls::HANDSHAKE, &tls::client_hello("mail.example"))
}

fn answer() -> Vec<u8> {
    let hello = tls::server_hello([1; 32], 0x1301, &[tls::extension(43, &[3, 4])]);
    [
        tls::record(tls::HANDSHAKE, &hello),
        tls::record(tls::DATA, &[7; 600]),
    ]
    .concat()
}

/// A packet of MySQL with this number.
fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

/// MySQL's beginning of a login with these flags.
fn login(flags: u32) -> Vec<u8> {
    [&flags.to_le_bytes()[..], &[0, 0, 0, 1, 255], &[0; 23]].concat()
}

fn greeting() -> Vec<u8> {
    packet(0, b"\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xc7\x15\0\0\0\0\0\0\0\0\0\0abcdefghijkl\0caching_sha2_password\0")
}

/// A packet of TDS.
fn tds(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    [&[kind, 1], &length[..], &[0, 0, 1, 0], payload].concat()
}

fn prelogin(encryption: u8) -> Vec<u8> {
    [
        &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff][..],
        &[16, 0, 0, 0, 0, 0],
        &[encryption],
    ]
    .concat()
}

const POSTGRESQL_SSL: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const POSTGRESQL_GSS: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
const LDAP_ASK: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const LDAP_YES: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0";
const RDP_ASK: &[u8] = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0";
const RDP_YES: &[u8] = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\0\x08\0\x01\0\0\0";

/// What is said up to the last word before TLS.
fn talks() -> Vec<(&'static str, Vec<Step>)> {
    let cookie = "Cookie: mstshash=user\r\n";
    let rdp = [
        &[3, 0, 0, 42, 37, 0xe0, 0, 0, 0, 0, 0],
        cookie.as_bytes(),
        &RDP_ASK[11..],
    ]
    .concat();
    vec![
        (
            "smtp",
            vec![
                server("220-mail.example ESMTP\r\n220 ready\r\n"),
                client("EHLO a\r\n"),
                server("250-mail.example\r\n250-STARTTLS\r\n250 8BITMIME\r\n"),
                client("STARTTLS\r\n"),
                server("220 2.0.0 Ready to start TLS\r\n"),
            ],
        ),
        (
            "smtp",
            vec![
                server("220 mail.example\r\n"),
                client("ehlo a\r\nstarttls\r\n"),
                server("250-mail.example\r\n250 STARTTLS\r\n"),
                server("220 go\r\n"),
            ],
        ),
        (
            "imap",
            vec![
                server("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
                client("a0 CAPABILITY\r\n"),
                server("* CAPABILITY IMAP4rev1 STARTTLS\r\na0 OK done\r\n"),
                client("a1 STARTTLS\r\n"),
                server("* 1 EXISTS\r\na1 OK begin\r\n"),
            ],
        ),
        (
            "pop3",
            vec![
                server("+OK ready <1@a>\r\n"),
                client("CAPA\r\n"),
                server("+OK\r\nSTLS\r\n.\r\n"),
                client("STLS\r\n"),
                server("+OK begin\r\n"),
            ],
        ),
        (
            "ftp",
            vec![
                server("220 (vsFTPd 3.0.5)\r\n"),
                client("FEAT\r\n"),
                server("211-Features:\r\n AUTH TLS\r\n211 End\r\n"),
                client("AUTH TLS\r\n"),
                server("234 Proceed with negotiation.\r\n"),
            ],
        ),
        (
            "nntp",
            vec![
                server("200 news.example ready\r\n"),
                client("CAPABILITIES\r\n"),
                server("101 list\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n"),
                client("STARTTLS\r\n"),
                server("382 Continue\r\n"),
            ],
        ),
        (
            "sieve",
            vec![
                server("\"IMPLEMENTATION\" \"Dovecot\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n"),
                client("STARTTLS\r\n"),
                server("OK \"begin\"\r\n"),
            ],
        ),
        (
            "xmpp",
            vec![
                client("<?xml version='1.0'?><stream:stream to='a' xmlns='jabber:client'>"),
                server(
                    "<?xml version='1.0'?><stream:stream id='1'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>",
                ),
                client("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
                server("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            ],
        ),
        (
            "xmpp",
            vec![
                client("<stream:stream to='a'>"),
                client("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'></starttls>"),
                server("<stream:stream id='1'>\n<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'></proceed>"),
            ],
        ),
        ("ldap", vec![client(LDAP_ASK), server(LDAP_YES)]),
        (
            "ldap",
            vec![
                client(b"\x30\x84\0\0\0\x07\x02\x01\x01\x63\x02\0\0"),
                server(b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\0\x04\0\x04\0"),
                client(b"\x30\x84\0\0\0\x1d\x02\x01\x02\x77\x18\x80\x161.3.6.1.4.1.1466.20037"),
                server(LDAP_YES),
                server(b"\x30\x84\0\0\0\x0c\x02\x01\x02\x78\x07\x0a\x01\0\x04\0\x04\0"),
            ],
        ),
        ("postgresql", vec![client(POSTGRESQL_SSL), server("S")]),
        (
            "postgresql",
            vec![
                client(POSTGRESQL_GSS),
                server("N"),
                client(POSTGRESQL_SSL),
                server("S"),
            ],
        ),
        (
            "mysql",
            vec![server(greeting()), client(packet(1, &login(0x0a0f_aa85 | 0x800)))],
        ),
        ("rdp", vec![client(RDP_ASK), server(RDP_YES)]),
        ("rdp", vec![client(rdp), server(RDP_YES)]),
    ]
}

/// The document of TLS behind this.
#[track_caller]
fn tls_behind(name: &str, seen: &Observer) {
    let documents = seen.documents();
    assert_eq!(documents.len(), 1, "{name}: {documents:#?}");
    let document = &documents[0];
    assert_eq!(document["event"]["dataset"], "weir.tls", "{name}");
    assert_eq!(document["weir"]["preface"], json!([format!("starttls-{name}")]));
    assert_eq!(document["tls"]["client"]["server_name"], "mail.example");
    assert_eq!(document["tls"]["version"], "1.3", "{name}");
    assert_eq!(document["source"]["bytes"], hello().len());
    assert_eq!(document["destination"]["bytes"], answer().len());
}

#[test]
fn tls_is_found_behind_each() {
    for (name, talk) in talks() {
        let mut seen = Observer::new().steps(&talk);
        assert!(seen.exchanges.is_empty());
        assert_eq!(seen.protocol().name(), None);
        for step in [client(hello()), server(answer())] {
            seen.step(&step);
        }
        assert_eq!(seen.protocol(), Protocol::Tls, "{name}");
        seen.step(&Step::Close(Close::Finished));
        tls_behind(name, &seen);
    }
}

#[test]
fn a_client_may_not_wait_for_the_answer() {
    for (name, mut talk) in talks() {
        let before_the_answer = match name {
            "mysql" => talk.len(),
            _ => talk.len() - 1,
        };
        talk.insert(before_the_answer, client(hello()));
        talk.extend([server(answer()), Step::Close(Close::Finished)]);
        tls_behind(name, &Observer::new().steps(&talk));
    }
}

#[test]
fn behind_a_proxy_header_it_is_the_same() {
    let mut talk = talks().remove(0).1;
    talk.insert(0, client("PROXY TCP4 203.0.113.9 198.18.0.9 1000 25\r\n"));
    talk.extend([client(hello()), server(answer()), Step::Close(Close::Finished)]);
    let document = one(&talk);
    assert_eq!(document["weir"]["preface"], json!(["proxy-v1", "starttls-smtp"]));
    assert_eq!(document["client"]["ip"], "203.0.113.9");
    assert_eq!(document["tls"]["client"]["server_name"], "mail.example");
}

/// Nothing comes of these, and the connection is left alone.
#[track_caller]
fn left_alone(steps: &[Step]) {
    let seen = Observer::new().steps(steps);
    assert!(seen.decoder.is_opaque(), "{steps:?}");
    assert_eq!(
        (seen.protocol(), seen.exchanges.len()),
        (Protocol::Tcp, 0),
        "{steps:?}"
    );
}

#[test]
fn a_connection_that_stays_in_the_open_is_left_alone() {
    let smtp = server("220 mail.example ESMTP\r\n");
    let (ehlo, extensions) = (
        client("EHLO a\r\n"),
        server("250-mail.example\r\n250 STARTTLS\r\n"),
    );
    let begin = [smtp.clone(), ehlo, extensions];
    for rest in [
        vec![client("MAIL FROM:<a@b>\r\n")],
        vec![client("AUTH PLAIN AGEAYg==\r\n")],
        // The server refuses, and the client goes on without.
        vec![
            client("STARTTLS\r\n"),
            server("454 TLS not available\r\n"),
            client("MAIL FROM:<a@b>\r\n"),
        ],
        vec![client("x".repeat(9000))],
        vec![server("250 again\r\n".repeat(3000))],
        vec![server("y".repeat(9000))],
        vec![client("STARTTLS\r\n"), client("z".repeat(9000))],
        vec![Step::Gap(Side::Server, Some(5))],
    ] {
        left_alone(&[&begin[..], &rest].concat());
    }
    left_alone(&[server("* OK ready\r\n"), client("a1 LOGIN user secret\r\n")]);
    left_alone(&[server("+OK ready\r\n"), client("USER user\r\n")]);
    left_alone(&[
        server(greeting()),
        client(packet(1, &login(0x0a0f_aa85 & !0x800))),
    ]);
    let login_in_the_open = [&login(0x0a0f_aa85 | 0x800)[..], b"user\0"].concat();
    left_alone(&[server(greeting()), client(packet(1, &login_in_the_open))]);
    let startup = client(b"\0\0\0\x0f\0\x03\0\0user\0a\0\0");
    left_alone(&[client(POSTGRESQL_SSL), server("N"), startup]);
    left_alone(&[client(POSTGRESQL_SSL), server("E")]);
    left_alone(&[client(POSTGRESQL_GSS), server("G")]);
    // (What a client says alone, a server of HTTP might answer.)
    left_alone(&[
        client(b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0"),
        server(b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0"),
    ]);
    left_alone(&[
        client("<?xml version='1.0'?><order>"),
        server("<?xml version='1.0'?>"),
    ]);
    let standard = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\0\x08\0\0\0\0\0";
    left_alone(&[client(RDP_ASK), server(standard)]);
    left_alone(&[client(tds(0x12, &prelogin(0))), server(tds(4, &prelogin(2)))]);
}

#[test]
fn a_refused_client_may_ask_again() {
    let mut talk = talks().remove(0).1;
    talk.splice(3..3, [client("STARTTLS\r\n"), server("454 not now\r\n")]);
    talk.extend([client(hello()), server(answer()), Step::Close(Close::Finished)]);
    tls_behind("smtp", &Observer::new().steps(&talk));
}

#[test]
fn sql_server_has_the_handshake_in_packets() {
    for encryption in [0, 1, 3] {
        let mut seen = Observer::new().steps(&[
            client(tds(0x12, &prelogin(encryption))),
            server(tds(4, &prelogin(encryption))),
        ]);
        let hello = hello();
        let (one, other) = hello.split_at(40);
        let both = [tds(0x12, one), tds(0x12, other)].concat();
        let answer = answer();
        let (wrapped, bare) = answer.split_at(answer.len() - 605);
        for step in [client(both), server([&tds(0x12, wrapped)[..], bare].concat())] {
            seen.step(&step);
        }
        seen.step(&Step::Close(Close::Finished));
        tls_behind("mssql", &seen);
    }
}

#[test]
fn http_goes_over_to_tls_too() {
    let ask = "OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n";
    let agree =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n";
    let seen = Observer::new().steps(&[
        client(ask),
        server(agree),
        client(hello()),
        server(answer()),
        Step::Close(Close::Finished),
    ]);
    let documents = seen.documents();
    assert_eq!(summary(&documents[..1]), ["OPTIONS * 101"]);
    assert_eq!(documents[1]["weir"]["preface"], json!(["starttls-http"]));
    assert_eq!(documents[1]["tls"]["client"]["server_name"], "mail.example");
}

#[test]
fn what_was_said_before_is_not_told() {
    let seen = Observer::new().steps(&[
        server("220 secret.example\r\n"),
        client("EHLO secret\r\n"),
        server("250 secret\r\n"),
        client("STARTTLS\r\n"),
        server("220 secret\r\n"),
        client(hello()),
        Step::Close(Close::Finished),
    ]);
    let document = &seen.documents()[0];
    assert!(!document.to_string().contains("secret"), "{document:#}");
}

#[test]
fn a_connection_that_is_watched_takes_little_memory() {
    let mut seen = Observer::new();
    seen.step(&server("220 mail.example\r\n"));
    for _ in 0..400 {
        seen.step(&client("NOOP\r\n"));
        seen.step(&server("250 ok\r\n"));
        assert!(seen.decoder.held() < 2 << 10, "{}", seen.decoder.held());
    }
    assert!(!seen.decoder.is_opaque());
}

fn documents(steps: &[Step], cut: usize) -> Vec<Value> {
    let mut seen = Observer::of(Decoder::new(&limits()));
    for step in steps {
        match step {
            Step::Data(side, bytes) => bytes
                .chunks(cut)
                .for_each(|part| seen.step(&Step::Data(*side, part.to_vec()))),
            step => seen.step(step),
        }
    }
    seen.step(&Step::Close(Close::Finished));
    let mut documents = seen.documents();
    for document in &mut documents {
        document.as_object_mut().unwrap().remove("@timestamp");
        document["event"].as_object_mut().unwrap().remove("duration");
        document["weir"].as_object_mut().unwrap().remove("timing");
    }
    documents
}

proptest! {
    #[test]
    fn it_may_be_cut_anywhere(which in 0..talks().len(), cut in 1..40usize) {
        let mut talk = talks().remove(which).1;
        talk.extend([client(hello()), server(answer())]);
        let whole = documents(&talk, usize::MAX);
        prop_assert_eq!(whole.len(), 1);
        prop_assert_eq!(documents(&talk, cut), whole);
    }

    #[test]
    fn changed_bytes_are_survived(
        which in 0..talks().len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in 1..40usize,
    ) {
        let mut talk = talks().remove(which).1;
        talk.extend([client(hello()), server(answer()), client(GET)]);
        for (step, at, byte) in changes {
            let step = step.index(talk.len());
            if let Step::Data(_, bytes) = &mut talk[step] {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        documents(&talk, cut);
    }
}
