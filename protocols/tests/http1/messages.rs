//! Messages of every kind, each followed by another exchange: its end was found.

use crate::support::*;
use serde_json::json;
use weir_protocols::{Close, Protocol, Side};

/// One exchange, then `GET /next` → 404 on the same connection; gives the first document.
fn then_next(request: &str, response: &str) -> serde_json::Value {
    let mut documents = run(&[
        client(request),
        server(response),
        client("GET /next HTTP/1.1\r\n\r\n"),
        server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(
        summary(&documents).last().map(String::as_str),
        Some("GET /next 404"),
        "{documents:#?}"
    );
    assert_eq!(documents.len(), 2, "{documents:#?}");
    documents.remove(0)
}

#[test]
fn keep_alive_gives_a_document_an_exchange() {
    let documents = run(&[
        client(GET),
        server(OK),
        client(GET),
        server(OK),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200"; 3]);
    let ids: std::collections::HashSet<_> = documents.iter().map(|d| d["event"]["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn pipelined_responses_are_paired_in_order() {
    let requests: String = (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\n\r\n")).collect();
    let responses: String = (0..5)
        .map(|n| format!("HTTP/1.1 20{n} x\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n)))
        .collect();
    let documents = run(&[client(requests), server(responses)]);
    // 204 has no body: the four bytes behind it are no response.
    assert_eq!(
        summary(&documents),
        [
            "GET /0 200",
            "GET /1 201",
            "GET /2 202",
            "GET /3 203",
            "GET /4 204"
        ]
    );
    assert_eq!(documents[3]["http"]["response"]["body"]["bytes"], 3);
}

#[test]
fn bodies_of_known_length_are_counted() {
    let d = then_next("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", OK);
    assert_eq!(d["http"]["request"]["body"]["bytes"], 5);
    assert_eq!(d["http"]["request"]["bytes"], 43);
    assert_eq!(d["source"]["bytes"], 43);
    assert_eq!(d["http"]["response"]["body"]["bytes"], 2);
    assert_eq!(d["destination"]["bytes"], 40);
}

#[test]
fn chunked_bodies_with_extensions_and_trailers() {
    let d = then_next(
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;foo=abc\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a\r\nok\r\n1\r\n!\r\n0\r\nGrpc-Status: 0\r\n\r\n",
    );
    assert_eq!(d["http"]["request"]["body"]["bytes"], 5);
    assert_eq!(d["http"]["response"]["body"]["bytes"], 3);
    assert_eq!(d["http"]["request"]["headers"]["x-sum"], json!(["1"]));
    assert_eq!(d["http"]["response"]["headers"]["grpc-status"], json!(["0"]));
    assert_eq!(anomalies(&d), Vec::<&str>::new());
}

#[test]
fn responses_without_a_body() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    assert_eq!(
        then_next("HEAD / HTTP/1.1\r\n\r\n", announced)["http"]["response"]["body"]["bytes"],
        0
    );
    then_next(GET, "HTTP/1.1 204 No Content\r\n\r\n");
    then_next(GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n");
    then_next(
        "HEAD / HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
}

#[test]
fn informational_responses_are_not_the_response() {
    let d = then_next(
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        &format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"),
    );
    assert_eq!(d["http"]["response"]["status_code"], 200);
    assert_eq!(d["http"]["response"]["bytes"], 40);
    assert_eq!(d["destination"]["bytes"], 40 + 25 + 40);
}

#[test]
fn any_token_is_a_method() {
    for method in ["PROPFIND", "M-SEARCH", "get", "X!"] {
        let d = then_next(&format!("{method} / HTTP/1.1\r\n\r\n"), OK);
        assert_eq!(d["http"]["request"]["method"], method);
    }
}

#[test]
fn lines_may_end_in_lf_alone() {
    let d = then_next(
        "GET / HTTP/1.1\nHost: a\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    );
    assert_eq!(d["http"]["request"]["headers"]["host"], json!(["a"]));
    assert_eq!(anomalies(&d), ["bare_lf"]);
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let d = then_next("\r\nGET / HTTP/1.1\r\n\r\n", OK);
    assert_eq!(d["http"]["request"]["bytes"], 18);
    let documents = run(&[
        client(format!("{GET}\r\n\r\n")),
        server(OK),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200"; 2]);
}

#[test]
fn folded_headers_are_one_value() {
    let d = then_next(
        "GET / HTTP/1.1\r\nX-Long: a\r\n\t b\r\n  c\r\nHost: a\r\n\r\n",
        OK,
    );
    assert_eq!(d["http"]["request"]["headers"]["x-long"], json!(["a b c"]));
    assert_eq!(anomalies(&d), ["obs_fold"]);
}

#[test]
fn http_1_0_with_and_without_keep_alive() {
    let d = then_next(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
    );
    assert_eq!(d["http"]["version"], "1.0");
    let d = one(&[
        client("GET / HTTP/1.0\r\n\r\n"),
        server("HTTP/1.0 200 OK\r\n\r\nabc"),
        server("def"),
        Step::End(Side::Server),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(d["http"]["response"]["body"]["bytes"], 6);
    assert_eq!(
        (&d["event"]["outcome"], &d["error"]),
        (&json!("success"), &json!(null))
    );
}

#[test]
fn connect_opens_a_tunnel_and_a_refused_one_does_not() {
    let mut seen = Observer::new().steps(&[
        client("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        client("\x16\x03\x01"),
        server("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
    ]);
    assert_eq!(summary(&seen.documents()), ["CONNECT a:443 200"]);
    // What is within begins like TLS on one side, and like HTTP on the other: that side has understood it so.
    seen.step(&server("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"));
    seen.step(&Step::Close(Close::Finished));
    assert_eq!(summary(&seen.documents()), ["CONNECT a:443 200", "- - 400"]);
    assert_eq!(anomalies(&seen.documents()[1]), ["not_a_request"]);

    then_next(
        "CONNECT a:443 HTTP/1.1\r\n\r\n",
        "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
    );
    let documents = run(&[
        client(format!("CONNECT a:1 HTTP/1.1\r\n\r\n{GET}")),
        server("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["CONNECT a:1 403", "GET /a 200"]);
}

#[test]
fn an_upgrade_ends_decoding_and_a_declined_one_does_not() {
    let request = "GET /ws HTTP/1.1\r\nUpgrade: private\r\nConnection: Upgrade\r\n\r\n";
    let seen = Observer::new().steps(&[
        client(request),
        server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: private\r\n\r\n\x01\x02"),
        client("\x01\x02"),
        Step::Close(Close::Finished),
    ]);
    let documents = seen.documents();
    assert_eq!(summary(&documents), ["GET /ws 101"]);
    assert_eq!(documents[0]["event"]["outcome"], "success");
    assert_eq!(seen.protocol(), Protocol::Tcp);
    then_next(request, OK);
    then_next(
        &request
            .replace("GET", "POST")
            .replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
        OK,
    );
}

#[test]
fn a_response_without_a_request_is_shown() {
    let documents = run(&[
        client(GET),
        server(OK),
        server("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200", "- - 408"]);
    assert_eq!(anomalies(&documents[1]), ["response_without_request"]);
    assert_eq!(documents[1]["event"]["duration"], json!(null));
    let d = one(&[
        server("HTTP/1.1 408 Request Timeout\r\n\r\n"),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(d["http"]["response"]["status_code"], 408);
}

#[test]
fn an_early_response_waits_for_the_end_of_the_request() {
    let documents = run(&[
        client("POST /early HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"),
        server(OK),
        client("cd"),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["POST /early 200", "GET /a 200"]);
    assert_eq!(documents[0]["http"]["request"]["body"]["bytes"], 4);
    // From the first byte of the request, since the answer did not wait for its last.
    assert_eq!(documents[0]["weir"]["timing"]["ttfb"], 1_000_000);
}

#[test]
fn a_response_within_the_head_of_its_request_waits_too() {
    let documents = run(&[
        client("HEAD /slow HTTP/1.1\r\nHo"),
        server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        client("st: a\r\n\r\n"),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["HEAD /slow 200", "GET /a 200"]);
    let d = one(&[
        client("GET /slow HTTP/1.1\r\nHo"),
        server("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(
        (&d["url"]["path"], &d["http"]["response"]["status_code"]),
        (&json!("/slow"), &json!(408))
    );
}

#[test]
fn behind_an_unanswered_expectation_the_next_request_is_found() {
    let documents = run(&[
        client("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
        server("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["PUT / 417", "GET /a 200"]);
    assert_eq!(anomalies(&documents[0]), ["expectation_unanswered"]);
    assert_eq!(anomalies(&documents[1]), Vec::<&str>::new());
}
