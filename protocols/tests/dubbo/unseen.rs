//! What is said of calls whose answer may have come unseen, and of answers that came too late.

use crate::support::*;
use serde_json::{Value, json};
use weir_protocols::{Close, Side};

/// How a connection ends, and the error that its call has then.
type Ending = (fn(&mut Observer), &'static str);

const GAP: &str = "gap: bytes of the server were missed, the response may be among them";
const UNREADABLE: &str = "unreadable: bytes of the server could not be read, the response may be among them";

fn outcome(document: &Value) -> (&str, &str) {
    (
        document["event"]["outcome"].as_str().unwrap(),
        document["error"]["type"].as_str().unwrap_or_default(),
    )
}

#[test]
fn a_call_whose_answer_may_be_in_a_gap_is_unknown() {
    let endings: [Ending; 5] = [
        (
            |seen| {
                seen.close(Close::Finished);
            },
            "",
        ),
        (
            |seen| {
                seen.end(Side::Server);
            },
            "",
        ),
        (
            |seen| {
                seen.tick_after(601);
            },
            "",
        ),
        (
            |seen| {
                seen.close(Close::Reset(Side::Server));
            },
            "connection_reset",
        ),
        (
            |seen| {
                seen.close(Close::Reset(Side::Client));
            },
            "connection_reset",
        ),
    ];
    for missed in [None, Some(40), Some(1 << 20)] {
        for (end, error) in endings {
            // The answer as a whole; its beginning; its end and more.
            for before in [&b""[..], &response(1, "a")[..7], b"\x01junk"] {
                let mut seen = Observer::new();
                seen.client(request(1, "a"))
                    .server(before)
                    .gap(Side::Server, missed);
                end(&mut seen);
                let document = seen.document();
                assert_eq!(outcome(&document), ("unknown", error), "{missed:?}");
                assert_eq!(anomalies(&document), [GAP]);
            }
        }
    }
}

#[test]
fn only_what_was_asked_before_the_gap_can_be_answered_in_it() {
    let mut seen = Observer::new();
    seen.client([request(1, "a"), request(2, "b")].concat())
        .gap(Side::Server, None)
        .server(response(2, "b"))
        .client(request(3, "c"))
        .close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(
        summary(&documents),
        ["echo[\"b\"] 2 20", "echo[\"a\"] 1 -", "echo[\"c\"] 3 -"]
    );
    assert_eq!(outcome(&documents[0]), ("success", ""));
    assert_eq!(outcome(&documents[1]), ("unknown", ""));
    assert_eq!(outcome(&documents[2]), ("failure", "no_response"));
    assert_eq!(anomalies(&documents[1]), [GAP]);
    assert_eq!(
        anomalies(&documents[2]),
        ["gap: bytes of the server before this were missed"]
    );
    // Nor is it of the client's own bytes that an answer could be missing, or of those within another answer.
    let mut seen = Observer::new();
    let long = response(9, &"x".repeat(100));
    seen.client([request(1, "a"), request(9, "i")].concat())
        .gap(Side::Client, None)
        .server(&long[..40])
        .gap(Side::Server, Some(50))
        .server(&long[90..])
        .close(Close::Finished);
    assert_eq!(outcome(&seen.documents()[1]), ("failure", "no_response"));
}

#[test]
fn a_request_in_a_gap_has_an_answer_that_says_so() {
    let mut seen = Observer::new();
    seen.client(request(1, "a"))
        .server(response(1, "a"))
        .gap(Side::Client, Some(88))
        .server(response(2, "b"))
        .client(request(3, "c"))
        .server(response(3, "c"));
    let documents = seen.documents();
    assert_eq!(
        anomalies(&documents[1]),
        [
            "unmatched_response: 2",
            "gap: bytes of the client were missed, the request may be among them"
        ]
    );
    assert_eq!(outcome(&documents[2]), ("success", ""));
}

#[test]
fn a_call_whose_answer_may_be_what_could_not_be_read_is_unknown() {
    let mut seen = Observer::new();
    seen.client(request(1, "a"))
        .server(b"\xda\xbc\x02\x14\0\0\0\0\0\0\0\x01\0\0\0\0")
        .client(request(2, "b"))
        .close(Close::Finished);
    let documents = seen.documents();
    assert_eq!(outcome(&documents[0]), ("unknown", ""));
    assert_eq!(anomalies(&documents[0]), [UNREADABLE]);
    assert_eq!(outcome(&documents[1]), ("failure", "no_response"));
    // What an operator reads there is no answer.
    let mut seen = Observer::new();
    seen.client(request(1, "a"))
        .server("dubbo>")
        .close(Close::Finished);
    assert_eq!(outcome(&seen.document()), ("failure", "no_response"));
}

#[test]
fn an_answer_after_the_calls_own_timeout_is_told() {
    let with = |attachments: &[(&str, &str)]| {
        frame(
            REQUEST | TWO_WAY | HESSIAN2,
            0,
            1,
            &body("echo", "Ljava/lang/String;", &s("a"), attachments),
        )
    };
    let number = [
        s("2.0.2"),
        s("lab.Demo"),
        s("1.0.0"),
        s("echo"),
        s(""),
        b"H".to_vec(),
        s("timeout"),
        b"I\x00\x00\x03\xe8Z".to_vec(),
    ]
    .concat();
    // dubbo2.js counts seconds.
    let seconds = [&number[..number.len() - 6], b"\x95Z"].concat();
    let late = "answered_after_timeout: after 3001 ms, the call's timeout is 1000 ms";
    for (call, expected) in [
        (with(&[("timeout", "1000")]), Some(late)),
        (with(&[("_TO", "1000")]), Some(late)),
        (frame(REQUEST | TWO_WAY | HESSIAN2, 0, 1, &number), Some(late)),
        (frame(REQUEST | TWO_WAY | HESSIAN2, 0, 1, &seconds), None),
        (with(&[("timeout", "3001")]), None),
        (with(&[("timeout", "0")]), None),
        (with(&[("timeout", "-1")]), None),
        (with(&[("timeout", "soon")]), None),
        (with(&[]), None),
    ] {
        let mut seen = Observer::new();
        seen.client(call);
        seen.now += 3_000_000_000;
        let document = seen.server(response(1, "a")).document();
        assert_eq!(outcome(&document), ("success", ""));
        assert_eq!(anomalies(&document), expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn calls_to_a_provider_that_shuts_down_are_marked() {
    let read_only = || frame(REQUEST | EVENT | HESSIAN2, 0, 5, b"\x01R");
    let mut seen = Observer::new();
    seen.client(request(1, "a"))
        .server(response(1, "a"))
        .client([request(2, "b"), request(3, "c")].concat())
        .server(response(2, "b"))
        .server(read_only())
        .server(response(3, "c"))
        .client(request(4, "d"))
        .server(request(1, "callback"))
        .client(response(1, "callback"));
    assert_eq!(seen.decoder.take_events(), 1);
    seen.close(Close::Finished);
    let documents = seen.documents();
    let marks: Vec<_> = documents
        .iter()
        .map(|document| {
            (
                document["weir"]["dubbo"]["read_only"] == true,
                anomalies(document),
            )
        })
        .collect();
    let none = || Vec::<&str>::new();
    assert_eq!(
        marks,
        [
            (false, none()),
            (false, none()),
            (true, none()),
            (false, none()),
            (
                true,
                vec!["request_after_read_only: the server had announced that it takes no more requests"]
            ),
        ]
    );
    // A heartbeat announces nothing, and what was announced can be taken back.
    for event in [heartbeat(9), frame(REQUEST | EVENT | HESSIAN2, 0, 5, b"\x01W")] {
        let mut seen = Observer::new();
        if event != heartbeat(9) {
            seen.server(read_only());
        }
        seen.server(event)
            .client(request(1, "a"))
            .server(response(1, "a"));
        assert_eq!(seen.document()["weir"]["dubbo"].get("read_only"), None);
    }
}

#[test]
fn cut_messages_of_errors_say_so() {
    let long = "w\u{f6}rd ".repeat(2000);
    let status = |body: &[u8]| {
        let mut seen = Observer::new();
        seen.client(request(1, "a"))
            .server(frame(HESSIAN2, 70, 1, body))
            .document()
    };
    let document = status(&s(&long));
    assert_eq!(document["error"]["type"], "SERVICE_ERROR");
    assert_eq!(document["error"]["message"].as_str().unwrap().len(), 1024);
    assert_eq!(document["weir"]["truncated"], true);
    assert_eq!(
        document["weir"]["original_sizes"],
        json!({"error.message": long.len()})
    );
    let short = status(&s("short"));
    assert_eq!(short["error"]["message"], "short");
    assert_eq!(short["weir"].get("truncated"), None);
    // One that is longer than what is kept of a body.
    let piece = [&b"R\xff\xff"[..], &[b'x'; 0xffff]].concat();
    let endless = [&piece.repeat(5)[..], b"\x01x"].concat();
    let document = status(&endless);
    assert_eq!(document["error"]["message"], "x".repeat(1024));
    assert_eq!(
        document["weir"]["original_sizes"],
        json!({"error.message": endless.len()})
    );
    // What a method threw: its message is cut twice.
    let thrown = [
        &b"\x93C"[..],
        &s("lab.Broken"),
        b"\x92",
        &s("detailMessage"),
        &s("cause"),
        b"\x60",
        &s(&long),
        b"NH",
        b"Z",
    ]
    .concat();
    let mut seen = Observer::new();
    let document = seen
        .client(request(1, "a"))
        .server(frame(HESSIAN2, 20, 1, &thrown))
        .document();
    assert_eq!(document["error"]["type"], "lab.Broken");
    assert_eq!(document["error"]["message"].as_str().unwrap().len(), 1024);
    assert!(document["dubbo"]["exception"]["message"].as_str().unwrap().len() <= 4096);
    assert_eq!(
        document["weir"]["original_sizes"],
        json!({"error.message": long.len(), "dubbo.exception.message": long.len()})
    );
}

#[test]
fn native_hessian_is_read_as_hessian_2() {
    let mut seen = Observer::new();
    let native = |frame: Vec<u8>| {
        let mut frame = frame;
        frame[2] = frame[2] & 0xe0 | 10;
        frame
    };
    seen.client(native(request(1, "a")))
        .server(native(response(1, "b")));
    let document = seen.document();
    assert_eq!(document["dubbo"]["serialization"], "native-hessian");
    assert_eq!(document["dubbo"]["args"], json!(["a"]));
    assert_eq!(document["dubbo"]["result"], "b");
    assert_eq!(outcome(&document), ("success", ""));
}

#[test]
fn what_could_not_be_read_raises_the_same_doubt_in_any_pieces() {
    let bytes = [&b"\x01\x02\x03"[..], &response(2, "b")].concat();
    for piece in [1, 3, 5, 1000] {
        let mut seen = Observer::new();
        seen.client([request(1, "a"), request(2, "b")].concat());
        for bytes in bytes.chunks(piece) {
            seen.server(bytes);
        }
        seen.close(Close::Finished);
        let documents = seen.documents();
        assert_eq!(outcome(&documents[0]), ("success", ""));
        assert_eq!(outcome(&documents[1]), ("unknown", ""), "in pieces of {piece}");
        assert_eq!(anomalies(&documents[1]), [UNREADABLE]);
    }
}
