//! Bounds: what exceeds them is cut and marked, and memory stays within them.

use crate::support::*;
use serde_json::json;
use std::sync::Arc;
use weir_config::Records;
use weir_protocols::{Decoder, Limits, Protocol};

const BIG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";

fn small() -> Observer {
    Observer::of(Decoder::new(&Arc::new(Limits {
        max_head: 1024,
        max_headers: 4,
        max_pending: 3,
        ..Limits::default()
    })))
}

#[test]
fn a_head_past_the_limit_is_cut_and_its_body_still_found() {
    let head = format!(
        "POST /long HTTP/1.1\r\nHost: a\r\nX-Big: {}\r\nContent-Length: 5\r\n\r\n",
        "x".repeat(5000)
    );
    let seen = small().steps(&[client(format!("{head}hello{GET}")), server(OK), server(OK)]);
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["POST /long 200", "GET /a 200"]);
    let d = &documents[0];
    assert_eq!(d["weir"]["truncated"], true);
    assert_eq!(d["weir"]["original_sizes"]["http.request.head"], head.len());
    assert_eq!(d["http"]["request"]["bytes"], head.len() + 5);
    assert_eq!(d["http"]["request"]["headers"]["host"], json!(["a"]));
    assert_eq!(d["http"]["request"]["headers"]["content-length"], json!(null));
    assert_eq!(documents[1]["weir"]["truncated"], json!(null));
}

#[test]
fn a_request_line_past_the_limit() {
    let line = format!("GET /{} HTTP/1.0\r\nHost: a\r\n\r\n", "x".repeat(3000));
    for size in [1, 100, 1500, line.len()] {
        let mut seen = small();
        for piece in line.as_bytes().chunks(size) {
            seen.step(&client(piece));
        }
        seen.step(&server("HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\n\r\n"));
        let documents = seen.documents();
        assert_eq!(documents.len(), 1, "{size}");
        assert_eq!(documents[0]["http"]["response"]["status_code"], 414);
        assert_eq!(documents[0]["http"]["request"]["method"], "GET");
        assert_eq!(
            documents[0]["weir"]["original_sizes"]["http.request.head"],
            line.len()
        );
        assert_eq!(documents[0]["http"]["version"], "1.0");
    }
}

#[test]
fn headers_past_the_limit_are_counted_and_left_out() {
    let fields: String = (0..9).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let seen = small().steps(&[client(format!("GET / HTTP/1.1\r\n{fields}\r\n")), server(OK)]);
    let d = &seen.documents()[0];
    assert_eq!(d["http"]["request"]["headers"].as_object().unwrap().len(), 4);
    assert_eq!(anomalies(d), ["too_many_headers: 9"]);
    assert_eq!(d["weir"]["truncated"], true);
    assert_eq!(
        d["weir"]["original_sizes"]["http.request.head"],
        18 + fields.len()
    );
}

#[test]
fn of_too_many_requests_in_waiting_the_oldest_step_aside() {
    let mut seen = small().steps(&[client("HEAD /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")]);
    seen.step(&client(GET.repeat(3)));
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["HEAD /1 -", "GET /2 -"]);
    for document in &documents {
        assert_eq!(anomalies(document), ["too_many_pending: 3"]);
        assert_eq!(document["event"]["outcome"], "unknown");
    }
    // Their answers are told from those of the others: that to HEAD has no body.
    seen.step(&server(BIG));
    for _ in 0..5 {
        seen.step(&server(OK));
    }
    let documents = seen.documents();
    assert_eq!(
        summary(&documents[2..]),
        [
            "- - 200",
            "- - 200",
            "GET /a 200",
            "GET /a 200",
            "GET /a 200",
            "- - 200"
        ]
    );
    for document in &documents[2..4] {
        assert_eq!(
            anomalies(document),
            ["response_without_request: its request stepped aside"]
        );
    }
    assert_eq!(anomalies(&documents[4]), Vec::<&str>::new());
}

#[test]
fn a_response_under_way_goes_on_while_its_request_steps_aside() {
    let mut seen = small().steps(&[client(GET), server(&OK[..OK.len() - 1])]);
    seen.step(&client("GET /b HTTP/1.1\r\n\r\n".repeat(4)));
    seen.step(&server("k"));
    for _ in 0..4 {
        seen.step(&server(OK));
    }
    let documents = seen.documents();
    assert_eq!(
        summary(&documents),
        [
            "GET /b -",
            "GET /a 200",
            "- - 200",
            "GET /b 200",
            "GET /b 200",
            "GET /b 200"
        ]
    );
    assert_eq!(documents[1]["http"]["response"]["body"]["bytes"], 2);
    assert_eq!(anomalies(&documents[1]), Vec::<&str>::new());
}

#[test]
fn no_number_of_requests_without_answers_takes_more_than_its_bound() {
    let mut seen = small();
    for _ in 0..40_000 {
        seen.step(&client(GET));
        assert!(seen.decoder.held() < 64 << 10, "{}", seen.decoder.held());
        seen.exchanges.truncate(1);
    }
    for _ in 0..10 {
        seen.step(&server(OK));
    }
    assert!(seen.exchanges.len() > 10);
}

#[test]
fn data_behind_an_upgrade_request_is_held_up_to_the_limit() {
    let upgrade = "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n";
    let seen = small().steps(&[client(upgrade), client("x".repeat(1025)), server(OK)]);
    let documents = seen.documents();
    assert_eq!(anomalies(&documents[0]), ["data_before_the_answer"]);
    assert_eq!(
        (summary(&documents)[0].as_str(), seen.protocol()),
        ("GET / 200", Protocol::Http1)
    );
    // It was HTTP after all, and goes on as such.
    let seen = seen.steps(&[client(GET), server(OK)]);
    assert_eq!(summary(&seen.documents()), ["GET / 200", "GET /a 200"]);
    assert_eq!(
        anomalies(&seen.documents()[1]),
        [
            "resynchronised: 1025 bytes of the client were passed over",
            "pairing_uncertain"
        ]
    );
}

#[test]
fn records_have_caps_of_their_own() {
    let request = format!(
        "GET /{}?q={} HTTP/1.1\r\nA: {}\r\nB: b\r\nC: c\r\nUser-Agent: {}\r\n\r\n",
        "p".repeat(100),
        "q".repeat(50),
        "a".repeat(30),
        "u".repeat(30),
    );
    let seen = Observer::new().steps(&[client(request), server(OK)]);
    let records = Records {
        max_header_value: 10,
        max_headers: 2,
        max_url: 20,
        ..Records::default()
    };
    let d = &seen.documents_under(&records)[0];
    assert_eq!(
        d["http"]["request"]["headers"],
        json!({"a": ["aaaaaaaaaa"], "b": ["b"]})
    );
    assert_eq!(d["url"]["path"], format!("/{}", "p".repeat(19)));
    assert_eq!(d["user_agent"]["original"], "u".repeat(10));
    assert_eq!(
        d["weir"]["original_sizes"],
        json!({
            "http.request.header_count": 4, "http.request.headers.a": 30, "url.original": 154, "url.path": 101,
            "url.query": 52, "user_agent.original": 30
        })
    );
    let none = Records {
        headers: false,
        ..Records::default()
    };
    assert_eq!(
        seen.documents_under(&none)[0]["http"]["request"]["headers"],
        json!(null)
    );
}
