//! What opens a WebSocket connection, and what its document repeats of that.

use crate::{frames::*, support::*};
use serde_json::json;
use weir_protocols::{Close, Side};

const END: Step = Step::Close(Close::Finished);

#[test]
fn the_document_can_be_found_by_its_url() {
    let seen = opened(&format!("{ACCEPT}Sec-WebSocket-Protocol: chat.v2\r\n")).steps(&[END]);
    let d = document(&seen);
    assert_eq!(d["url"]["path"], "/chat");
    assert_eq!(d["url"]["query"], "room=1");
    assert_eq!(
        (&d["url"]["domain"], &d["url"]["port"]),
        (&json!("chat.example"), &json!(81))
    );
    assert_eq!(d["destination"]["domain"], "chat.example");
    assert_eq!(d["websocket"]["subprotocol"], "chat.v2");
    assert_eq!(d["weir"]["flow_id"], seen.documents()[0]["weir"]["flow_id"]);
    assert_eq!(d["weir"]["anomalies"], json!(null));
}

#[test]
fn secrets_of_its_url_are_not_told() {
    let request = REQUEST.replace("room=1", "access_token=c2VjcmV0");
    let seen = Observer::new().steps(&[client(request), server(switch(ACCEPT)), END]);
    assert!(!document(&seen).to_string().contains("c2VjcmV0"));
}

#[test]
fn either_side_may_send_with_its_handshake() {
    let mut request = REQUEST.as_bytes().to_vec();
    request.extend(frame(Side::Client, FIN | TEXT, b"early"));
    let mut response = switch(ACCEPT).into_bytes();
    response.extend(frame(Side::Server, FIN | TEXT, b"at once"));
    let seen = Observer::new().steps(&[client(request), server(response), END]);
    let d = document(&seen);
    assert_eq!(d["websocket"]["client"]["bytes"], 5);
    assert_eq!(d["websocket"]["server"]["bytes"], 7);
}

#[test]
fn an_answer_to_another_key_is_flagged() {
    for fields in ["", "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"] {
        let seen = opened(fields).steps(&[up(FIN | TEXT, "x"), END]);
        let d = document(&seen);
        assert_eq!(
            anomalies(&d),
            ["websocket_accept_invalid: the response does not answer the request's key"]
        );
        assert_eq!(d["websocket"]["client"]["messages"], 1);
    }
}

#[test]
fn what_is_refused_or_another_protocol_is_no_websocket() {
    let refused = run(&[client(REQUEST), server(OK), client(GET), server(OK)]);
    assert_eq!(summary(&refused), ["GET /chat?room=1 200", "GET /a 200"]);
    let other = switch(ACCEPT).replace("websocket", "private");
    let seen = Observer::new().steps(&[client(REQUEST), server(other)]);
    assert!(seen.decoder.is_opaque());
    // Nobody asked for one.
    let seen = Observer::new().steps(&[client(GET), server(switch(ACCEPT)), END]);
    let documents = seen.documents();
    assert_eq!(documents.len(), 1);
    assert_eq!(anomalies(&documents[0]), ["upgrade_not_requested"]);
}

#[test]
fn of_a_late_join_the_servers_side_is_known() {
    let mut seen = Observer::late();
    for step in [
        server(switch(ACCEPT)),
        up(FIN | TEXT, "where this begins is not known"),
        down(FIN | TEXT, "this is"),
        END,
    ] {
        seen.step(&step);
    }
    let documents = seen.documents();
    let d = &documents[1];
    assert_eq!(d["event"]["dataset"], "weir.websocket");
    assert_eq!(d["weir"]["late_join"], true);
    assert_eq!(d["websocket"]["server"]["messages"], 1);
    assert_eq!(d["websocket"]["client"]["messages"], 0);
    assert_eq!(d["source"]["bytes"], 36);
    assert_eq!(d["url"], json!(null));
    assert_eq!(
        anomalies(d),
        ["framing_lost: the client's first frame was not found"]
    );
    // With its handshake it is as any other.
    let mut seen = Observer::late();
    for step in [client(REQUEST), server(switch(ACCEPT)), up(FIN | TEXT, "x"), END] {
        seen.step(&step);
    }
    assert_eq!(document(&seen)["websocket"]["client"]["messages"], 1);
}
