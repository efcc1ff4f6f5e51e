//! How connections end, and what is missed of them.

use crate::{frames::*, support::*};
use serde_json::json;
use weir_protocols::{Close, Side};

const END: Step = Step::Close(Close::Finished);

#[test]
fn who_closed_with_what() {
    for (code, outcome, message) in [
        (1000, "success", None),
        (1001, "success", None),
        (
            1002,
            "failure",
            Some("the server closed with 1002 (protocol error): why"),
        ),
        (
            1011,
            "failure",
            Some("the server closed with 1011 (internal error): why"),
        ),
        (4001, "unknown", None),
    ] {
        let d = of(&[
            down(FIN | CLOSE, closing(code, "why")),
            up(FIN | CLOSE, closing(1000, "")),
            END,
        ]);
        assert_eq!(
            d["websocket"]["close"],
            json!({"by": "server", "code": code, "reason": "why"})
        );
        assert_eq!(d["event"]["outcome"], outcome, "{code}");
        assert_eq!(d["error"]["message"], json!(message));
    }
    let d = of(&[up(FIN | CLOSE, ""), END]);
    assert_eq!(d["websocket"]["close"], json!({"by": "client"}));
    assert_eq!(d["event"]["outcome"], "success");
}

#[test]
fn endings_without_a_close_frame() {
    for (how, outcome, error) in [
        (Close::Finished, "failure", json!("no_close_frame")),
        (Close::Reset(Side::Client), "failure", json!("connection_reset")),
        (Close::Abandoned, "unknown", json!(null)),
    ] {
        let d = of(&[up(FIN | TEXT, "x"), Step::Close(how)]);
        assert_eq!(d["event"]["outcome"], outcome);
        assert_eq!(d["error"]["type"], error);
        assert_eq!(d["websocket"]["close"], json!(null));
    }
    let d = of(&[up(TEXT, "ab"), Step::Close(Close::Reset(Side::Server))]);
    assert_eq!(
        anomalies(&d),
        ["client_message_incomplete: 2 bytes of it were seen"]
    );
    assert_eq!(d["websocket"]["client"]["messages"], 0);
}

#[test]
fn a_gap_within_a_payload_costs_nothing_and_another_the_frames() {
    let whole = frame(Side::Server, FIN | BINARY, &[0; 1000]);
    let within = of(&[
        server(&whole[..100]),
        Step::Gap(Side::Server, Some(500)),
        server(&whole[600..]),
        down(FIN | TEXT, "next"),
        down(FIN | CLOSE, ""),
        END,
    ]);
    assert_eq!(within["websocket"]["server"]["messages"], 2);
    assert_eq!(within["websocket"]["server"]["bytes"], 1004);
    assert_eq!(within["destination"]["bytes"], whole.len() + 6 + 2);
    assert_eq!(anomalies(&within), ["gap: 500 bytes of the server were missed"]);
    assert_eq!(within["event"]["outcome"], "success");
    for missed in [Some(2000), None] {
        let beyond = of(&[
            down(FIN | TEXT, "before"),
            server(&whole[..100]),
            Step::Gap(Side::Server, missed),
            down(FIN | TEXT, "behind"),
            up(FIN | TEXT, "the other side goes on"),
            END,
        ]);
        assert_eq!(beyond["websocket"]["server"]["messages"], 1);
        assert_eq!(beyond["websocket"]["client"]["messages"], 1);
        let bytes = 8 + 100 + missed.unwrap_or(0) + 8;
        assert_eq!(beyond["destination"]["bytes"], bytes);
        let anomalies = anomalies(&beyond);
        assert!(
            anomalies[1].starts_with("framing_lost: what the server sent"),
            "{anomalies:?}"
        );
        assert_eq!(beyond["event"]["outcome"], "unknown");
    }
}
