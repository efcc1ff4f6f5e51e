//! What becomes of a handshake, as far as that can be told from the outside.

use crate::support::{DATA, HANDSHAKE, Observer, client_hello, extension, message, record, server_hello};
use serde_json::{Value, json};
use weir_protocols::{Close, Side};

const ALERT: u8 = 21;
/// Fatal alerts, and warnings.
const FATAL: u8 = 2;
const WARNING: u8 = 1;

type Sent = (Side, Vec<u8>);

fn c(bytes: Vec<u8>) -> Sent {
    (Side::Client, bytes)
}

fn s(bytes: Vec<u8>) -> Sent {
    (Side::Server, bytes)
}

fn hello() -> Sent {
    c(record(HANDSHAKE, &client_hello("shop.example")))
}

fn change() -> Vec<u8> {
    record(20, &[1])
}

/// The server's part of TLS 1.2 in one record, up to ServerHelloDone.
fn flight_12() -> Sent {
    let messages = [
        server_hello([1; 32], 0xc02f, &[]),
        message(11, &[0; 3000]),
        message(12, &[0; 300]),
        message(13, &[0; 40]),
        message(14, b""),
    ];
    s(record(HANDSHAKE, &messages.concat()))
}

/// The client's part: its certificates, its key, and, encrypted, Finished.
fn finish_12(certificate: usize) -> Vec<u8> {
    [
        record(HANDSHAKE, &message(11, &vec![0; certificate])),
        record(HANDSHAKE, &message(16, &[0; 33])),
        change(),
        record(HANDSHAKE, &[7; 40]),
    ]
    .concat()
}

fn finished_12() -> Vec<u8> {
    [change(), record(HANDSHAKE, &[7; 40])].concat()
}

/// The server's part of TLS 1.3.
fn flight_13(extensions: &[Vec<u8>]) -> Sent {
    let chosen = [&[extension(43, &[3, 4])], extensions].concat();
    s([
        record(HANDSHAKE, &server_hello([1; 32], 0x1301, &chosen)),
        change(),
        record(DATA, &[7; 2800]),
    ]
    .concat())
}

/// The client's, with a record of this size.
fn finish_13(size: usize) -> Sent {
    c([change(), record(DATA, &vec![7; size])].concat())
}

fn run(sent: &[Sent], cut: usize, how: Close) -> Value {
    let mut flow = Observer::new();
    for (side, bytes) in sent {
        for part in bytes.chunks(cut) {
            flow.data(*side, 0, part);
        }
    }
    flow.close(0, how)
}

/// Outcome, `tls.established`, `error.type`, message.
#[track_caller]
fn outcome(sent: &[Sent], how: Close) -> [Value; 4] {
    let [whole, cut] = [usize::MAX, 3].map(|cut| {
        let document = run(sent, cut, how);
        [
            document["event"]["outcome"].clone(),
            document["tls"]["established"].clone(),
            document["error"]["type"].clone(),
            document["error"]["message"].clone(),
        ]
    });
    assert_eq!(whole, cut);
    whole
}

const SUCCESS: fn() -> [Value; 4] = || [json!("success"), json!(true), Value::Null, Value::Null];
const UNKNOWN: fn() -> [Value; 4] = || [json!("unknown"), Value::Null, Value::Null, Value::Null];

fn failure(kind: &str, message: &str) -> [Value; 4] {
    [json!("failure"), json!(false), json!(kind), json!(message)]
}

#[test]
fn before_13_a_handshake_is_complete_when_both_have_finished() {
    let begun = [hello(), flight_12(), c(finish_12(900))];
    let done = [&begun[..], &[s(finished_12())]].concat();
    for how in [Close::Finished, Close::Reset(Side::Client), Close::Abandoned] {
        assert_eq!(outcome(&done, how), SUCCESS());
    }
    let document = run(&done, usize::MAX, Close::Finished);
    assert_eq!(document["tls"]["resumed"], false);
    // One of both is not enough.
    assert_eq!(
        outcome(&begun, Close::Finished),
        failure(
            "incomplete_handshake",
            "the connection ended before the handshake was complete"
        )
    );
    assert_eq!(
        outcome(&begun, Close::Reset(Side::Server)),
        failure(
            "connection_reset",
            "the server reset the connection before the handshake was complete"
        )
    );
    assert_eq!(outcome(&begun, Close::Abandoned), UNKNOWN());
    // What comes behind the handshake changes nothing: an alert that is encrypted may be any.
    let more = [c(record(ALERT, &[9; 26])), s(record(DATA, &[0; 500]))];
    assert_eq!(outcome(&[&done[..], &more].concat(), Close::Finished), SUCCESS());
    // A client may send data with its Finished, before it has seen the server's.
    let early = [&begun[..], &[c(record(DATA, &[0; 100]))]].concat();
    assert_eq!(outcome(&early, Close::Abandoned), UNKNOWN());
}

#[test]
fn an_earlier_session_is_gone_on_with() {
    let hello_12 = server_hello([1; 32], 0xc02f, &[]);
    let ticket = message(4, &[0; 180]);
    for messages in [hello_12.clone(), [hello_12, ticket].concat()] {
        let sent = [
            hello(),
            s([record(HANDSHAKE, &messages), finished_12()].concat()),
            c(finished_12()),
        ];
        assert_eq!(outcome(&sent, Close::Finished), SUCCESS());
        assert_eq!(run(&sent, usize::MAX, Close::Finished)["tls"]["resumed"], true);
        assert_eq!(outcome(&sent[..2], Close::Abandoned), UNKNOWN());
    }
    for (extensions, resumed) in [(vec![], false), (vec![extension(41, &[0, 0])], true)] {
        let document = run(&[hello(), flight_13(&extensions)], usize::MAX, Close::Abandoned);
        assert_eq!(document["tls"]["resumed"], resumed);
    }
    let document = run(&[hello()], usize::MAX, Close::Abandoned);
    assert_eq!(document["tls"]["resumed"], Value::Null);
}

#[test]
fn a_fatal_alert_in_the_open_is_a_failure_after_the_hellos_too() {
    let begun = [hello(), flight_12()];
    // The client does not like the server's certificate.
    for (what, name) in [
        (42, "bad_certificate"),
        (45, "certificate_expired"),
        (48, "unknown_ca"),
    ] {
        let sent = [&begun[..], &[c(record(ALERT, &[FATAL, what]))]].concat();
        let message = format!("the client ended the handshake: {name}");
        assert_eq!(outcome(&sent, Close::Finished), failure("tls_alert", &message));
        assert_eq!(outcome(&sent, Close::Abandoned), failure("tls_alert", &message));
    }
    // The server wants one of the client, which has none.
    let refused = s(record(ALERT, &[FATAL, 40]));
    let sent = [&begun[..], &[c(finish_12(3)), refused]].concat();
    assert_eq!(
        outcome(&sent, Close::Reset(Side::Server)),
        failure("tls_alert", "the server ended the handshake: handshake_failure")
    );
    // A client that can't go on with TLS 1.3 has no keys yet.
    let sent = [hello(), flight_13(&[]), c(record(ALERT, &[FATAL, 47]))];
    assert_eq!(
        outcome(&sent, Close::Finished),
        failure("tls_alert", "the client ended the handshake: illegal_parameter")
    );
}

#[test]
fn a_warning_ends_nothing() {
    // As Java's servers do that do not know the name.
    let warned = [hello(), s(record(ALERT, &[WARNING, 112])), flight_12()];
    let done = [&warned[..], &[c(finish_12(3)), s(finished_12())]].concat();
    assert_eq!(outcome(&done, Close::Finished), SUCCESS());
    assert_eq!(run(&done, 3, Close::Finished)["tls"]["version"], "1.2");
    for (what, how) in [(41, Close::Finished), (100, Close::Finished)] {
        let sent = [
            hello(),
            flight_12(),
            c(record(ALERT, &[WARNING, what])),
            c(finish_12(3)),
            s(finished_12()),
        ];
        assert_eq!(outcome(&sent, how), SUCCESS());
    }
    let closed = [hello(), s(record(ALERT, &[WARNING, 0]))];
    assert_eq!(
        outcome(&closed, Close::Finished),
        failure("no_response", "the connection ended before the server's hello")
    );
}

#[test]
fn of_13_a_handshake_is_complete_when_the_server_goes_on_after_the_client_has_finished() {
    let begun = [hello(), flight_13(&[])];
    let finished = [&begun[..], &[finish_13(53)]].concat();
    for tickets in [record(DATA, &[0; 250]), record(DATA, &[0; 1400])] {
        let done = [&finished[..], &[s(tickets)]].concat();
        assert_eq!(outcome(&done, Close::Finished), SUCCESS());
        assert_eq!(outcome(&done, Close::Abandoned), SUCCESS());
    }
    // Whether the server was content is encrypted.
    assert_eq!(outcome(&finished, Close::Finished), UNKNOWN());
    assert_eq!(outcome(&finished, Close::Reset(Side::Server)), UNKNOWN());
    let alert = [
        &finished[..],
        &[c(record(DATA, &[0; 300])), s(record(DATA, &[0; 19]))],
    ]
    .concat();
    assert_eq!(outcome(&alert, Close::Finished), UNKNOWN());
    // What the server sent before that says nothing.
    let before = [&begun[..], &[s(record(DATA, &[0; 250]))]].concat();
    assert_eq!(outcome(&before, Close::Abandoned), UNKNOWN());
    // A client that has sent nothing but an alert, or nothing, has not finished.
    for last in [vec![], vec![finish_13(19)], vec![c(record(DATA, &[0; 11]))]] {
        let sent = [&begun[..], &last].concat();
        assert_eq!(
            outcome(&sent, Close::Finished),
            failure(
                "incomplete_handshake",
                "the connection ended before the handshake was complete"
            )
        );
        assert_eq!(outcome(&sent, Close::Abandoned), UNKNOWN());
    }
}

#[test]
fn early_data_is_no_end_of_a_handshake() {
    let early = client_hello("shop.example");
    // An extension more, within the lengths of all and of the message.
    let early_data = extension(42, b"");
    let extensions = early.len() - extensions_length(&early);
    let mut hello = [&early[..], &early_data].concat();
    let length = u16::try_from(early.len() - extensions + early_data.len())
        .unwrap()
        .to_be_bytes();
    hello[extensions - 2..extensions].copy_from_slice(&length);
    let length = u32::try_from(hello.len() - 4).unwrap().to_be_bytes();
    hello[1..4].copy_from_slice(&length[1..]);
    let begun = [
        c([record(HANDSHAKE, &hello), change(), record(DATA, &[0; 700])].concat()),
        flight_13(&[extension(41, &[0, 0])]),
        c(record(DATA, &[0; 700])),
        s(record(DATA, &[0; 500])),
    ];
    assert_eq!(outcome(&begun, Close::Finished), UNKNOWN());
    let done = [c(record(DATA, &[0; 53])), s(record(DATA, &[0; 500]))];
    assert_eq!(outcome(&[&begun[..], &done].concat(), Close::Finished), SUCCESS());
}

/// Bytes of the extensions of [`client_hello`].
fn extensions_length(hello: &[u8]) -> usize {
    // Type and length, version, random, session, suites, compression.
    let before = 4 + 2 + 32 + 33 + 10 + 2;
    usize::from(u16::from_be_bytes([hello[before], hello[before + 1]]))
}

#[test]
fn what_was_missed_is_not_judged() {
    for side in [Side::Client, Side::Server] {
        let mut flow = Observer::new();
        for (side, bytes) in [hello(), flight_12()] {
            flow.data(side, 0, &bytes);
        }
        flow.gap(side, 0, Some(500));
        let document = flow.close(0, Close::Finished);
        assert_eq!(document["event"]["outcome"], "unknown");
        assert_eq!(document["tls"]["established"], Value::Null);
    }
    // Within a record that is not read, nothing is missed.
    let mut flow = Observer::new();
    let (_, flight) = flight_13(&[]);
    let (_, finish) = finish_13(53);
    flow.data(Side::Client, 0, &hello().1);
    flow.data(Side::Server, 0, &flight[..flight.len() - 1000]);
    flow.gap(Side::Server, 0, Some(1000));
    flow.data(Side::Client, 0, &finish);
    flow.data(Side::Server, 0, &record(DATA, &[0; 100]));
    let document = flow.close(0, Close::Finished);
    assert_eq!(document["event"]["outcome"], "success");
    assert_eq!(document["weir"]["anomalies"], Value::Null);
}

#[test]
fn a_hello_in_ssl_2s_form_is_one() {
    let suites = [[0, 0, 0x2f], [0, 0, 0x35], [1, 0, 0x80], [0, 0, 0xff]].concat();
    let body = [&[1, 3, 1, 0, 12, 0, 0, 0, 16][..], &suites, &[7; 16]].concat();
    let hello = [&[0x80, u8::try_from(body.len()).unwrap()][..], &body].concat();
    let answer = [
        server_hello([1; 32], 0x002f, &[]),
        message(11, &[0; 900]),
        message(14, b""),
    ];
    let sent = [
        c(hello.clone()),
        s(record(HANDSHAKE, &answer.concat())),
        c(finish_12(3)),
        s(finished_12()),
    ];
    for cut in [usize::MAX, 1] {
        let document = run(&sent, cut, Close::Finished);
        assert_eq!(document["event"]["outcome"], "success");
        assert_eq!(document["source"]["bytes"], hello.len() + finish_12(3).len());
        assert_eq!(
            document["tls"]["client"],
            json!({
                "supported_versions": ["1.0"],
                "supported_ciphers": [
                    "TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_256_CBC_SHA", "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"
                ],
            })
        );
    }
    // Lengths that do not fit make none.
    let mut broken = hello;
    broken[7] = 9;
    let mut flow = Observer::new();
    flow.data(Side::Client, 0, &broken);
    assert!(flow.documents().is_empty());
    assert_eq!(flow.decoder.protocol().name(), None);
}

#[test]
fn a_connection_that_lasts_is_told_of_before_it_ends() {
    let second = 1_000_000_000;
    let mut flow = Observer::new();
    let sent = [hello(), flight_13(&[]), finish_13(53), s(record(DATA, &[0; 300]))];
    for (side, bytes) in &sent {
        flow.data(*side, second, bytes);
    }
    flow.tick(9 * second);
    assert!(flow.exchanges.is_empty() && flow.decoder.waits());
    for at in [12, 30, 60] {
        flow.tick(at * second);
    }
    assert!(!flow.decoder.waits());
    flow.data(Side::Server, 70 * second, &record(DATA, &[0; 995]));
    flow.decoder.close(
        weir_records::Timestamp(80 * second),
        Close::Finished,
        &mut |exchange| {
            flow.exchanges.push(exchange);
        },
    );
    let documents = flow.documents();
    assert_eq!(documents.len(), 2);
    let [early, last] = [&documents[0], &documents[1]];
    assert_eq!(early["weir"]["state"], "open");
    assert_eq!(early["weir"]["final_id"], last["event"]["id"]);
    assert_ne!(early["event"]["id"], last["event"]["id"]);
    assert_eq!(early["event"]["duration"], 11 * second);
    assert_eq!(last["event"]["duration"], 79 * second);
    assert_eq!(last["weir"]["state"], Value::Null);
    for document in [early, last] {
        assert_eq!(document["event"]["outcome"], "success");
        assert_eq!(document["tls"]["client"]["server_name"], "shop.example");
    }
    let sent = |document: &Value| document["destination"]["bytes"].as_u64().unwrap();
    assert_eq!(sent(last), sent(early) + 1000);
}
