//! What a handshake says, and how it may end.

use crate::support::{DATA, HANDSHAKE, Observer, client_hello, extension, long, record, server_hello, short};
use serde_json::json;
use weir_protocols::{Close, Protocol, Side};

const ALERT: u8 = 21;
const CHANGE_CIPHER_SPEC: u8 = 20;
/// RFC 8446, 4.1.3.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

fn hello() -> Vec<u8> {
    record(HANDSHAKE, &client_hello("shop.example"))
}

fn chosen_13() -> Vec<u8> {
    server_hello([1; 32], 0x1301, &[extension(43, &[3, 4])])
}

#[test]
fn both_hellos_are_told_and_the_rest_is_counted() {
    let mut flow = Observer::new();
    flow.data(Side::Client, 1_000, &hello());
    let answer = [
        record(HANDSHAKE, &chosen_13()),
        record(CHANGE_CIPHER_SPEC, &[1]),
        record(DATA, &[0; 900]),
    ]
    .concat();
    flow.data(Side::Server, 3_000, &answer);
    flow.data(Side::Client, 4_000, &record(DATA, b"GET / HTTP/1.1\r\n\r\n"));
    flow.data(Side::Server, 5_000, &record(DATA, &[0; 95]));
    assert_eq!(flow.decoder.protocol(), Protocol::Tls);
    let document = flow.close(9_000, Close::Finished);
    assert_eq!(
        document["tls"],
        json!({
            "version": "1.3", "version_protocol": "tls", "established": true, "resumed": false, "cipher": "TLS_AES_128_GCM_SHA256",
            "client": {
                "server_name": "shop.example",
                "ja4": document["tls"]["client"]["ja4"],
                "supported_ciphers": ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "0x5600"],
                "supported_versions": ["1.3", "1.2"],
                "alpn": ["h2", "http/1.1"],
            },
        })
    );
    assert!(
        document["tls"]["client"]["ja4"]
            .as_str()
            .unwrap()
            .starts_with("t13d0304h2_")
    );
    assert_eq!(document["destination"]["domain"], "shop.example");
    assert_eq!(document["source"]["bytes"], hello().len() + 5 + 18);
    assert_eq!(document["destination"]["bytes"], answer.len() + 100);
    assert_eq!(document["event"]["outcome"], "success");
    assert_eq!(document["event"]["duration"], 8_000);
    assert_eq!(document["weir"]["timing"]["ttfb"], 2_000);
    assert_eq!(document["event"]["dataset"], "weir.tls");
}

#[test]
fn before_version_13_the_chosen_protocol_is_in_the_open() {
    let mut flow = Observer::new();
    flow.data(Side::Client, 0, &hello());
    let answer = server_hello([1; 32], 0xc02f, &[extension(16, &long(&short(b"h2")))]);
    flow.data(Side::Server, 0, &record(HANDSHAKE, &answer));
    let document = flow.close(0, Close::Finished);
    assert_eq!(document["tls"]["version"], "1.2");
    assert_eq!(document["tls"]["next_protocol"], "h2");
    assert_eq!(document["tls"]["cipher"], "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
}

#[test]
fn a_server_that_asks_for_another_hello_is_waited_for() {
    let mut flow = Observer::new();
    flow.data(Side::Client, 0, &hello());
    flow.data(
        Side::Server,
        0,
        &record(HANDSHAKE, &server_hello(RETRY, 0x1302, &[extension(43, &[3, 4])])),
    );
    flow.data(
        Side::Client,
        0,
        &[record(CHANGE_CIPHER_SPEC, &[1]), hello()].concat(),
    );
    let answer = [record(HANDSHAKE, &chosen_13()), record(DATA, &[0; 900])].concat();
    flow.data(Side::Server, 0, &answer);
    flow.data(Side::Client, 0, &record(DATA, &[0; 53]));
    flow.data(Side::Server, 0, &record(DATA, &[0; 100]));
    let document = flow.close(0, Close::Finished);
    assert_eq!(document["tls"]["cipher"], "TLS_AES_128_GCM_SHA256");
    assert_eq!(document["event"]["outcome"], "success");
}

#[test]
fn an_alert_in_the_open_is_a_failure_with_its_name() {
    for (side, who) in [(Side::Server, "server"), (Side::Client, "client")] {
        let mut flow = Observer::new();
        flow.data(Side::Client, 0, &hello());
        flow.data(side, 0, &record(ALERT, &[2, 40]));
        let document = flow.close(0, Close::Finished);
        assert_eq!(document["event"]["outcome"], "failure");
        assert_eq!(document["error"]["type"], "tls_alert");
        assert_eq!(
            document["error"]["message"],
            format!("the {who} ended the handshake: handshake_failure")
        );
    }
}

#[test]
fn endings_before_the_servers_hello_are_failures_and_giving_up_is_unknown() {
    for (how, kind) in [
        (Close::Finished, json!("no_response")),
        (Close::Reset(Side::Server), json!("connection_reset")),
        (Close::Abandoned, json!(null)),
    ] {
        let mut flow = Observer::new();
        flow.data(Side::Client, 0, &hello());
        let document = flow.close(0, how);
        assert_eq!(document["error"]["type"], kind, "{how:?}");
        let outcome = if kind.is_null() { "unknown" } else { "failure" };
        assert_eq!(document["event"]["outcome"], outcome);
    }
}

#[test]
fn what_is_missed_is_said_and_counted() {
    let mut flow = Observer::new();
    flow.data(Side::Client, 0, &hello());
    flow.gap(Side::Server, 0, Some(1_000));
    flow.data(Side::Server, 0, &record(DATA, &[0; 10]));
    let document = flow.close(0, Close::Finished);
    assert_eq!(document["destination"]["bytes"], 1_015);
    assert_eq!(
        document["weir"]["anomalies"],
        json!(["bytes of the handshake were missed"])
    );
    assert_eq!(document["event"]["outcome"], "unknown");
    // Later on nothing is lost with it.
    let mut flow = Observer::new();
    flow.data(Side::Client, 0, &hello());
    let answer = [record(HANDSHAKE, &chosen_13()), record(DATA, &[0; 900])].concat();
    flow.data(Side::Server, 0, &answer);
    flow.data(Side::Client, 0, &record(DATA, &[0; 53]));
    flow.data(Side::Server, 0, &record(DATA, &[0; 100]));
    flow.gap(Side::Server, 0, Some(1_000));
    let document = flow.close(0, Close::Finished);
    assert_eq!(document["weir"]["anomalies"], json!(null));
    assert_eq!(document["event"]["outcome"], "success");
}

#[test]
fn a_hello_of_great_length_is_not_kept() {
    let mut flow = Observer::new();
    let mut message = client_hello("shop.example");
    message[1..4].copy_from_slice(&[0, 0xff, 0xff]);
    flow.data(Side::Client, 0, &record(HANDSHAKE, &message));
    for _ in 0..100 {
        flow.data(Side::Client, 0, &record(HANDSHAKE, &[0; 16_000]));
    }
    // Whatever it was: one document, with its bytes.
    let document = flow.close(0, Close::Finished);
    assert!(document["source"]["bytes"].as_u64().unwrap() > 1_600_000);
}

#[test]
fn other_first_bytes_are_no_tls() {
    for first in [
        &b"\x16\x03\x01\x00\x05\x02"[..],
        b"\x16\x04\x01",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x01\xff",
    ] {
        let mut flow = Observer::new();
        flow.data(Side::Client, 0, first);
        flow.data(Side::Client, 0, &[0; 64]);
        assert_ne!(flow.decoder.protocol(), Protocol::Tls, "{first:?}");
    }
}
