//! Missed bytes and missed beginnings.

use crate::support::*;
use serde_json::json;
use weir_protocols::{Close, Protocol, Side};

const BIG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";

#[test]
fn a_gap_in_a_body_of_known_length_is_bridged() {
    let documents = run(&[
        client(GET),
        server(format!("{BIG}{}", "x".repeat(20))),
        Step::Gap(Side::Server, Some(50)),
        server(format!("{}{OK}", "x".repeat(30))),
        client(GET),
    ]);
    // The second response came before its request was seen: it answers nothing that is known.
    assert_eq!(summary(&documents), ["GET /a 200", "- - 200"]);
    assert_eq!(documents[0]["http"]["response"]["body"]["bytes"], 100);
    assert_eq!(anomalies(&documents[0]), ["gap: 50 bytes of the response"]);
    assert_eq!(documents[0]["event"]["outcome"], "success");
}

#[test]
fn a_gap_up_to_the_end_of_a_body_leaves_the_next_response_in_its_place() {
    let documents = run(&[
        client(format!("{GET}GET /b HTTP/1.1\r\n\r\n")),
        server(BIG),
        Step::Gap(Side::Server, Some(100)),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200", "GET /b 200"]);
}

#[test]
fn a_gap_of_unknown_length_ends_the_response_and_the_next_is_found() {
    let documents = run(&[
        client(GET),
        server(format!("{BIG}xx")),
        Step::Gap(Side::Server, None),
        server("xxxHTTP/1.1 200 not at the beginning of a segment"),
        client("GET /b HTTP/1.1\r\n\r\n"),
        server("HTTP/1.1 20"),
        server("1 OK\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200", "GET /b 201"]);
    assert_eq!(documents[0]["event"]["outcome"], "unknown");
    assert_eq!(anomalies(&documents[0]), ["gap: response"]);
}

#[test]
fn a_gap_between_requests_marks_the_next() {
    let documents = run(&[
        client(GET),
        server(OK),
        Step::Gap(Side::Client, None),
        client("rest of something"),
        client("GET /b HT"),
        client("TP/1.1\r\n\r\n"),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200", "GET /b 200"]);
    assert_eq!(anomalies(&documents[1]), ["gap: bytes before this were missed"]);
}

#[test]
fn a_gap_in_a_request_marks_it_and_its_answer_is_taken() {
    let documents = run(&[
        client("POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        Step::Gap(Side::Client, Some(100)),
        server(OK),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["POST /p 200", "GET /a 200"]);
    assert_eq!(anomalies(&documents[0]), ["gap: 100 bytes of the request"]);
}

#[test]
fn answers_lost_among_several_are_not_guessed() {
    let documents = run(&[
        client("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"),
        Step::Gap(Side::Server, None),
        server(OK),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(summary(&documents), ["GET /1 -", "GET /2 -", "- - 200"]);
}

#[test]
fn a_late_join_finds_the_next_exchange_and_says_so() {
    let seen = Observer::late().steps(&[
        server("rest of a body"),
        client("rest of an upload GET /no HTTP/1.1\r\n\r\n"),
        server("rest of a body"),
        client(GET),
        server(OK),
        client(GET),
        server(OK),
    ]);
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["GET /a 200"; 2]);
    assert!(documents.iter().all(|d| d["weir"]["late_join"] == json!(true)));
}

#[test]
fn a_late_join_between_request_and_response() {
    // Was it a HEAD? Then the next response comes where the body would be.
    let seen = Observer::late().steps(&[server(BIG), client(GET), server(OK)]);
    assert_eq!(summary(&seen.documents()), ["- - 200", "GET /a 200"]);
    let seen = Observer::late().steps(&[server(BIG), server("x".repeat(100)), client(GET), server(OK)]);
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["- - 200", "GET /a 200"]);
    assert_eq!(documents[0]["http"]["response"]["body"]["bytes"], 100);
    assert_eq!(anomalies(&documents[0]), ["response_without_request"]);
}

#[test]
fn a_late_join_to_something_else_is_given_up() {
    let mut seen = Observer::late();
    let noise = vec![0x55; 1 << 20];
    for _ in 0..16 {
        seen.step(&server(&noise));
    }
    assert_eq!(seen.protocol(), Protocol::Unknown);
    seen.step(&server(&noise));
    assert_eq!(seen.protocol(), Protocol::Tcp);
}

#[test]
fn a_request_that_was_cut_is_known_by_its_beginning() {
    for (begin, target) in [
        ("GET /long/pa", "/long/pa"),
        ("GET /long/path HTTP/1.1", "/long/path"),
        ("GET /long/path HTTP/1.1\r\nHost: a\r\nAcc", "/long/path"),
    ] {
        let documents = run(&[
            client(begin),
            Step::Gap(Side::Client, Some(100)),
            server(OK),
            client(GET),
            server(OK),
        ]);
        assert_eq!(summary(&documents), [&format!("GET {target} 200"), "GET /a 200"]);
        assert_eq!(documents[0]["weir"]["truncated"], true, "{begin}");
        assert_eq!(anomalies(&documents[0]), ["gap: 100 bytes of the request"]);
        let host = json!(["a"]);
        let seen = &documents[0]["http"]["request"]["headers"]["host"];
        assert_eq!(*seen == host, begin.contains("Host"));
        for document in &documents {
            assert_eq!(document["weir"]["late_join"], json!(null));
        }
        assert_eq!(documents[1]["weir"]["truncated"], json!(null));
    }
}

#[test]
fn an_answer_that_was_cut_is_known_by_its_beginning() {
    let documents = run(&[
        client(GET),
        server("HTTP/1.1 404 Not Found\r\nServer: a\r\nCont"),
        Step::Gap(Side::Server, Some(100)),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a 404", "GET /a 200"]);
    assert_eq!(documents[0]["weir"]["truncated"], true);
    assert_eq!(
        documents[0]["http"]["response"]["headers"]["server"],
        json!(["a"])
    );
    assert_eq!(documents[1]["weir"]["late_join"], json!(null));
}

#[test]
fn after_a_gap_in_something_unknown_the_next_request_is_found() {
    let seen = Observer::new().steps(&[
        client("G"),
        Step::Gap(Side::Client, None),
        client(GET),
        server(OK),
    ]);
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["GET /a 200"]);
    // The beginning of the connection was seen.
    assert_eq!(documents[0]["weir"]["late_join"], json!(null));
    assert_eq!(anomalies(&documents[0]), ["gap: bytes before this were missed"]);
}

#[test]
fn of_an_answer_that_was_missed_nothing_is_said() {
    for end in [
        Step::Close(Close::Finished),
        Step::End(Side::Server),
        Step::Close(Close::Reset(Side::Server)),
    ] {
        let d = one(&[client(GET), Step::Gap(Side::Server, Some(49)), end]);
        assert_eq!(d["event"]["outcome"], "unknown");
        assert_eq!(d["error"], json!(null));
        assert_eq!(anomalies(&d), ["gap: 49 bytes of the response"]);
    }
}
