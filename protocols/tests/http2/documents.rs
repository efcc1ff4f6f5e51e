//! What documents say of exchanges that are seen whole.

use crate::support::*;
use serde_json::{Value, json};
use weir_config::Records;

#[test]
fn a_request_and_its_response() {
    let mut seen = Observer::new();
    let request = headers(1, true, &get("/a?b=c&token=s3cret"));
    let response = headers(1, false, &[(":status", "200"), ("content-type", "text/plain")]);
    let body = data(1, true, b"hello");
    seen.client(&request).server(&response).server(&body);
    let document = seen.document();
    let expected = json!({
        "@timestamp": "1970-01-01T00:00:00.003000000Z",
        "event": {
            "id": document["event"]["id"], "dataset": "weir.http", "category": ["network", "web"],
            "type": ["connection", "protocol", "access"], "outcome": "success", "duration": 2_000_000,
        },
        "network": {"transport": "tcp", "type": "ipv4", "protocol": "http", "direction": "ingress"},
        "source": {"ip": "198.18.0.2", "port": 40000, "bytes": request.len()},
        "destination": {
            "ip": "198.18.0.1", "port": 8080, "bytes": response.len() + body.len(), "domain": "shop.test",
        },
        "host": {"name": "pod"},
        "url": {
            "original": "/a?b=c&token=<redacted>", "path": "/a", "query": "b=c&token=<redacted>",
            "domain": "shop.test", "port": 8080, "scheme": "http",
        },
        "http": {
            "version": "2",
            "request": {
                "method": "GET", "bytes": request.len(), "body": {"bytes": 0}, "headers": {"user-agent": ["test/1"]},
            },
            "response": {
                "status_code": 200, "bytes": response.len() + body.len(), "body": {"bytes": 5},
                "headers": {"content-type": ["text/plain"]},
            },
        },
        "user_agent": {"original": "test/1"},
        "weir": {
            "capture": "relay", "mode": "redirect", "flow_id": document["weir"]["flow_id"],
            "http2": {"stream_id": 1},
            "timing": {"connect": 50_000, "request": 0, "ttfb": 1_000_000, "response": 1_000_000},
        },
    });
    assert_eq!(document, expected);
}

#[test]
fn streams_are_told_apart() {
    let mut seen = Observer::new();
    seen.client([headers(1, false, &get("/1")), headers(3, true, &get("/3"))].concat());
    seen.server(headers(3, false, &[(":status", "404")]));
    seen.client(data(1, false, b"ab"));
    seen.server(headers(1, false, &[(":status", "200")]));
    seen.server(data(3, true, b"no"));
    seen.client(data(1, true, b"cde"));
    seen.server(
        [
            data(1, false, b"1"),
            frame(PING, 0, 0, &[0; 8]),
            data(1, true, b"2"),
        ]
        .concat(),
    );
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["/3 404 failure", "/1 200 success"]);
    assert_eq!(documents[1]["http"]["request"]["body"]["bytes"], 5);
    assert_eq!(documents[1]["http"]["response"]["body"]["bytes"], 2);
    assert_ne!(documents[0]["event"]["id"], documents[1]["event"]["id"]);
}

#[test]
fn padding_priorities_and_continuations_change_nothing() {
    let fields = block(&get("/x"));
    let (begin, end) = fields.split_at(11);
    let padded = [&[3, 0, 0, 0, 0, 7][..], begin, &[0; 3]].concat();
    let mut seen = Observer::new();
    seen.client(frame(HEADERS, PADDED | PRIORITY, 1, &padded));
    seen.client(frame(CONTINUATION, 0, 1, b""));
    seen.client(frame(CONTINUATION, END_HEADERS, 1, end));
    seen.client(frame(DATA, PADDED | END_STREAM, 1, b"\x04body\0\0\0\0"));
    seen.server(headers(1, true, &[(":status", "204")]));
    let document = seen.document();
    assert_eq!(document["url"]["path"], "/x");
    assert_eq!(document["http"]["request"]["body"]["bytes"], 4);
    let wire = 9 + padded.len() + 9 + 9 + end.len() + 9 + 9;
    assert_eq!(document["source"]["bytes"], wire);
    assert_eq!(anomalies(&document), [""; 0]);
}

#[test]
fn trailers_follow_headers_and_1xx_is_no_response() {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &get("/t")));
    let early = headers(1, false, &[(":status", "103"), ("link", "</a>")]);
    seen.server(&early);
    let response = [
        headers(1, false, &[(":status", "200"), ("a", "1"), ("a", "2")]),
        data(1, false, b"x"),
        headers(1, true, &[("a", "3"), ("sum", "4")]),
    ]
    .concat();
    seen.server(&response);
    seen.client(headers(1, true, &[("t", "1")]));
    let document = seen.document();
    let http = &document["http"];
    assert_eq!(
        http["response"]["headers"],
        json!({"a": ["1", "2", "3"], "sum": ["4"]})
    );
    assert_eq!(http["request"]["headers"]["t"], json!(["1"]));
    // Which of them are trailers is told beside them.
    assert_eq!(http["response"]["trailer_names"], json!(["a", "sum"]));
    assert_eq!(http["request"]["trailer_names"], json!(["t"]));
    assert_eq!(http["response"]["bytes"], response.len());
    assert_eq!(document["destination"]["bytes"], early.len() + response.len());
}

#[test]
fn a_push_is_an_exchange_of_its_own() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &get("/")));
    let promise = [&2_u32.to_be_bytes()[..], &block(&get("/style.css"))].concat();
    seen.server(frame(PUSH_PROMISE, END_HEADERS, 1, &promise));
    seen.server(headers(2, false, &[(":status", "200")]));
    seen.server(headers(1, true, &[(":status", "200")]));
    seen.server(data(2, true, b"a{}"));
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["/ 200 success", "/style.css 200 success"]);
    assert_eq!(
        documents[1]["weir"]["http2"],
        json!({"stream_id": 2, "pushed": true})
    );
    assert_eq!(documents[1]["source"]["bytes"], Value::Null);
    assert_eq!(documents[0]["weir"]["http2"], json!({"stream_id": 1}));
}

#[test]
fn secrets_stay_inside() {
    let mut fields = get("/?password=hunter2");
    fields.extend([
        ("authorization", "Bearer hunter2"),
        ("cookie", "a=hunter2"),
        ("x-api-key", "hunter2"),
    ]);
    let mut seen = Observer::new();
    seen.client(headers(1, true, &fields));
    seen.server(headers(
        1,
        true,
        &[(":status", "200"), ("set-cookie", "a=hunter2")],
    ));
    let text = seen.document().to_string();
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.matches("<redacted>").count(), 6, "{text}");
    let open = Records {
        redact: false,
        ..Records::default()
    };
    assert!(seen.documents_under(&open)[0].to_string().contains("hunter2"));
}

#[test]
fn a_tunnel_has_a_host_and_no_path() {
    let mut seen = Observer::new();
    seen.client(headers(
        1,
        false,
        &[(":method", "CONNECT"), (":authority", "db.test:5432")],
    ));
    seen.server(headers(1, false, &[(":status", "200")]));
    seen.client(data(1, true, b"up")).server(data(1, true, b"down"));
    let document = seen.document();
    assert_eq!(
        document["url"],
        json!({"original": "db.test:5432", "domain": "db.test", "port": 5432})
    );
    assert_eq!(document["http"]["response"]["body"]["bytes"], 4);
}

#[test]
fn a_websocket_has_both() {
    let mut fields = get("/chat");
    fields[0].1 = "CONNECT";
    fields.push((":protocol", "websocket"));
    let mut seen = Observer::new();
    seen.client(headers(1, true, &fields));
    seen.server(headers(1, true, &[(":status", "200")]));
    let document = seen.document();
    assert_eq!(document["url"]["path"], "/chat");
    assert_eq!(document["url"]["domain"], "shop.test");
}
