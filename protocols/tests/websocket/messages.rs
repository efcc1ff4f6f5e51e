//! Messages are counted by side and kind, however they are framed.

use crate::{frames::*, support::*};
use serde_json::json;
use weir_protocols::{Close, Side};

const END: Step = Step::Close(Close::Finished);

#[test]
fn messages_are_counted_by_side_and_kind() {
    let d = of(&[
        up(FIN | TEXT, "hello"),
        down(FIN | BINARY, [0; 300]),
        down(FIN | TEXT, ""),
        up(FIN | PING, "x"),
        down(FIN | PONG, "x"),
        up(FIN | BINARY, vec![1; 70_000]),
        up(FIN | CLOSE, closing(1000, "done")),
        down(FIN | CLOSE, closing(1000, "done")),
        END,
    ]);
    assert_eq!(
        d["websocket"],
        json!({
            "client": {
                "messages": 2, "text_messages": 1, "binary_messages": 1, "bytes": 70_005, "largest_message": 70_000,
                "pings": 1,
                "first_message": "1970-01-01T00:00:00.003000000Z", "last_message": "1970-01-01T00:00:00.008000000Z",
            },
            "server": {
                "messages": 2, "text_messages": 1, "binary_messages": 1, "bytes": 300, "largest_message": 300, "pongs": 1,
                "first_message": "1970-01-01T00:00:00.004000000Z", "last_message": "1970-01-01T00:00:00.005000000Z",
            },
            "close": {"by": "client", "code": 1000, "reason": "done"},
        })
    );
    // Headers: 6 and 14 bytes, 7 of the ping, 12 of the close frame.
    assert_eq!(d["source"]["bytes"], 6 + 5 + 14 + 70_000 + 7 + 12);
    assert_eq!(d["destination"]["bytes"], 4 + 300 + 2 + 3 + 8);
    assert_eq!(d["event"]["outcome"], "success");
    assert_eq!(d["@timestamp"], "1970-01-01T00:00:00.002000000Z");
    assert_eq!(d["event"]["duration"], 9_000_000);
    assert_eq!(d["network"]["protocol"], "websocket");
    assert_eq!(d["weir"]["anomalies"], json!(null));
}

#[test]
fn fragments_make_one_message_and_control_frames_may_come_between() {
    let d = of(&[
        up(TEXT, "ab"),
        up(FIN | PING, ""),
        up(CONTINUATION, ""),
        up(FIN | PONG, "y"),
        up(FIN | CONTINUATION, "cde"),
        up(FIN | BINARY, "f"),
        END,
    ]);
    let sent = &d["websocket"]["client"];
    assert_eq!(
        (&sent["messages"], &sent["bytes"], &sent["largest_message"]),
        (&json!(2), &json!(6), &json!(5))
    );
    assert_eq!((&sent["pings"], &sent["pongs"]), (&json!(1), &json!(1)));
    assert_eq!(sent["first_message"], "1970-01-01T00:00:00.003000000Z");
    assert_eq!(sent["last_message"], "1970-01-01T00:00:00.008000000Z");
}

#[test]
fn compressed_messages_are_counted_as_they_were_sent() {
    let deflate =
        format!("{ACCEPT}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n");
    let seen = opened(&deflate).steps(&[
        up(FIN | RSV1 | TEXT, "12345"),
        up(RSV1 | TEXT, "6"),
        up(FIN | CONTINUATION, "7"),
        up(FIN | TEXT, "plain"),
        END,
    ]);
    let d = document(&seen);
    assert_eq!(d["websocket"]["client"]["messages"], 3);
    assert_eq!(d["websocket"]["client"]["compressed_messages"], 2);
    assert_eq!(d["websocket"]["client"]["bytes"], 12);
    assert_eq!(
        d["websocket"]["extensions"],
        json!(["permessage-deflate; client_max_window_bits=12"])
    );
    assert_eq!(d["weir"]["anomalies"], json!(null));
}

#[test]
fn a_frame_that_may_not_be_ends_the_counting_of_its_side() {
    for (bytes, kind) in [
        (frame(Side::Server, FIN | TEXT, b"x"), "not masked"),
        (
            frame(Side::Client, FIN | RSV1 | TEXT, b"x"),
            "a reserved bit is set",
        ),
        (
            frame(Side::Client, FIN | CONTINUATION, b"x"),
            "it goes on with no message",
        ),
        (frame(Side::Client, PING, b"x"), "a control frame in fragments"),
        (
            frame(Side::Client, FIN | PING, &[0; 126]),
            "a control frame that is too long",
        ),
        (frame(Side::Client, FIN | 3, b"x"), "of an unknown kind"),
    ] {
        let d = of(&[
            up(FIN | TEXT, "ok"),
            client(&bytes),
            up(FIN | TEXT, "not counted"),
            down(FIN | TEXT, "counted"),
            END,
        ]);
        assert_eq!(d["websocket"]["client"]["messages"], 1, "{kind}");
        assert_eq!(d["websocket"]["server"]["messages"], 1, "{kind}");
        assert_eq!(d["source"]["bytes"], 8 + bytes.len() + 17, "{kind}");
        let said = format!("client_frame_invalid: {kind}; what follows is only counted in bytes");
        assert_eq!(anomalies(&d), [said]);
        assert_eq!(d["event"]["outcome"], "unknown");
    }
    let d = of(&[server(frame(Side::Client, FIN | TEXT, b"x")), END]);
    assert_eq!(
        anomalies(&d),
        ["server_frame_invalid: masked; what follows is only counted in bytes"]
    );
}

#[test]
fn a_frame_of_any_length_takes_no_memory() {
    let mut header = vec![FIN | BINARY, 127];
    header.extend((1_u64 << 62).to_be_bytes());
    let mut seen = opened(ACCEPT);
    seen.step(&server(&header));
    for _ in 0..100 {
        seen.step(&server(vec![0; 100_000]));
    }
    seen.step(&END);
    let d = document(&seen);
    assert_eq!(d["destination"]["bytes"], 10_000_010);
    assert_eq!(
        anomalies(&d),
        ["server_message_incomplete: 10000000 bytes of it were seen"]
    );
}

#[test]
fn sizes_beyond_counting_are_survived() {
    let mut steps = vec![];
    for first in [BINARY, CONTINUATION, CONTINUATION] {
        let mut header = vec![first, 127];
        header.extend((u64::MAX >> 1).to_be_bytes());
        steps.extend([server(&header), Step::Gap(Side::Server, Some(u64::MAX >> 1))]);
    }
    steps.extend([down(FIN | CONTINUATION, "x"), END]);
    let d = of(&steps);
    assert_eq!(d["websocket"]["server"]["bytes"], u64::MAX);
}
