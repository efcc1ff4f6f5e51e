//! Framing that two readers may see differently is noted with what was seen, and what follows is looked for.

use crate::support::*;
use serde_json::json;
use weir_protocols::Close;

/// A request whose body's end is in doubt is flagged, and what some reader may find in its body is shown.
#[track_caller]
fn doubtful(fields: &str, anomaly: &str) {
    doubtful_twice(fields, &[anomaly]);
}

#[track_caller]
fn doubtful_twice(fields: &str, expected: &[&str]) {
    let seen = Observer::new().steps(&[
        client(format!(
            "POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        )),
        server(OK),
        client(GET),
        server(OK),
        Step::Close(Close::Finished),
    ]);
    let documents = seen.documents();
    assert_eq!(
        summary(&documents),
        ["POST /x 200", "GET /smuggled -", "GET /a 200"],
        "{fields}"
    );
    assert_eq!(
        anomalies(&documents[1]),
        [
            "resynchronised: 5 bytes of the client were passed over",
            "pairing_uncertain"
        ],
        "{fields}"
    );
    assert_eq!(documents[1]["event"]["outcome"], "unknown");
    assert_eq!(anomalies(&documents[2]), ["pairing_uncertain"], "{fields}");
    assert_eq!(
        anomalies(&documents[0]),
        [expected, &["request_body_end_unknown"]].concat(),
        "{fields}"
    );
    assert_eq!(documents[0]["event"]["outcome"], "success");
}

/// A request with an oddity that leaves its end certain: flagged, and the next is decoded.
#[track_caller]
fn odd(head: &str, anomaly: &[&str]) {
    let documents = run(&[client(head), server(OK), client(GET), server(OK)]);
    assert_eq!(summary(&documents).len(), 2, "{head:?}");
    assert_eq!(anomalies(&documents[0]), anomaly, "{head:?}");
    assert_eq!(anomalies(&documents[1]), Vec::<&str>::new());
}

#[test]
fn lengths() {
    doubtful(
        "Content-Length: 5\r\nContent-Length: 6",
        "content_length_differs: \"5\", \"6\"",
    );
    doubtful("Content-Length: 5, 6", "content_length_differs: \"5, 6\"");
    for value in [
        "-5",
        "+5",
        "0x5",
        "5 5",
        "5;",
        "abc",
        "",
        "18446744073709551616",
        "9223372036854775808",
        "5\u{b}",
    ] {
        let seen = value.escape_debug().to_string().replace("\\u{b}", "\\x0b");
        doubtful(
            &format!("Content-Length: {value}"),
            &format!("content_length_invalid: \"{seen}\""),
        );
    }
    odd(
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        &["content_length_repeated: \"5\", \"5\""],
    );
    odd(
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello",
        &["content_length_repeated: \"5, 5\""],
    );
    odd(
        "POST / HTTP/1.1\r\nContent-Length: 005\r\n\r\nhello",
        &["content_length_leading_zeros: \"005\""],
    );
}

#[test]
fn length_and_coding() {
    doubtful(
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "content_length_and_transfer_encoding: \"5\", \"chunked\"",
    );
    doubtful(
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "content_length_and_transfer_encoding: \"0\", \"chunked\"",
    );
}

#[test]
fn codings() {
    for value in [
        "identity",
        "chunked, gzip",
        "chunked, chunked",
        "xchunked",
        "chunked;q=1",
        "",
        "\u{b}chunked",
        "cow",
    ] {
        let seen = value.replace('\u{b}', "\\x0b");
        doubtful(
            &format!("Transfer-Encoding: {value}"),
            &format!("transfer_encoding_unknown: \"{seen}\""),
        );
    }
    doubtful(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "transfer_encoding_repeated: \"chunked\", \"chunked\"",
    );
    doubtful_twice(
        "Transfer-Encoding:\r\n chunked",
        &["obs_fold: \"chunked\"", "transfer_encoding_unknown: \"\""],
    );
    odd(
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        &[],
    );
}

#[test]
fn http_1_0_knows_no_codings() {
    let d = one(&[
        client("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        server(OK),
    ]);
    assert_eq!(anomalies(&d)[0], "transfer_encoding_in_http_1_0: \"chunked\"");
}

#[test]
fn names_and_spaces() {
    doubtful("Content-Length : 5", "space_before_colon: \"Content-Length \"");
    doubtful(
        "Transfer-Encoding\t: chunked",
        "space_before_colon: \"Transfer-Encoding\\t\"",
    );
    doubtful(
        "\u{b}Transfer-Encoding: chunked",
        "invalid_header_name: \"\\x0bTransfer-Encoding\"",
    );
    doubtful_twice(
        "Content-Length\0: 5",
        &["invalid_header_name: \"Content-Length\\x00\"", "nul"],
    );
    doubtful(
        "X: a\r\n Transfer-Encoding: chunked",
        "obs_fold: \"Transfer-Encoding: chunked\"",
    );
    doubtful("Content-Length 5", "header_without_colon: \"Content-Length\"");
    odd(
        "GET / HTTP/1.1\r\nX-A : b\r\n\r\n",
        &["space_before_colon: \"X-A \""],
    );
    odd(
        "GET / HTTP/1.1\r\nX A: b\r\n\r\n",
        &["invalid_header_name: \"X A\""],
    );
    odd(
        "GET / HTTP/1.1\r\nnonsense\r\n\r\n",
        &["header_without_colon: \"nonsense\""],
    );
    odd("GET / HTTP/1.1\r\n X: b\r\n\r\n", &["space_before_first_header"]);
    odd("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", &["nul"]);
    odd("GET /a b HTTP/1.1\r\n\r\n", &["space_in_target"]);
}

#[test]
fn bare_carriage_returns() {
    doubtful("X: a\rTransfer-Encoding: chunked", "bare_cr");
    doubtful("X: a\r\r\nY: b", "bare_cr");
}

#[test]
fn a_secret_on_a_broken_line_is_not_shown() {
    let d = one(&[
        client("GET / HTTP/1.1\r\nAuthorization Basic c2VjcmV0\r\nCookie : a=b\r\n\r\n"),
        server(OK),
    ]);
    assert_eq!(
        anomalies(&d),
        [
            "header_without_colon: \"Authorization\"",
            "space_before_colon: \"Cookie \""
        ]
    );
    assert!(
        !d.to_string().contains("c2VjcmV0") && !d.to_string().contains("a=b"),
        "{d}"
    );
}

#[test]
fn an_answer_to_a_request_that_nobody_saw_is_shown() {
    let head = "POST /x HTTP/1.1\r\nContent-Length: x\r\n\r\n";
    let documents = run(&[client(head), server(OK.repeat(2)), Step::Close(Close::Finished)]);
    assert_eq!(summary(&documents), ["POST /x 200", "- - 200"]);
    assert_eq!(anomalies(&documents[1]), ["response_without_request"]);
}

#[test]
fn behind_a_response_in_doubt_the_next_is_found() {
    let documents = run(&[
        client(format!(
            "{GET}{GET}POST /half HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"
        )),
        server("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nxHTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n"),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200", "GET /a 201", "POST /half -"]);
    assert_eq!(
        anomalies(&documents[0]),
        ["content_length_invalid: \"+1\"", "response_body_end_unknown"]
    );
    assert_eq!(documents[0]["event"]["outcome"], "unknown");
    assert_eq!(
        anomalies(&documents[1]),
        [
            "resynchronised: 1 bytes of the server were passed over",
            "pairing_uncertain"
        ]
    );
    assert_eq!(documents[1]["event"]["outcome"], "success");
}

#[test]
fn bad_chunks_end_a_body() {
    let documents = run(&[
        client("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5 5\r\nhello\r\n0\r\n\r\n"),
        server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(
        anomalies(&documents[0]),
        [
            "space_after_chunk_size",
            "chunk_size_invalid: 0x35",
            "request_body_end_unknown"
        ]
    );
    assert_eq!(documents[0]["http"]["response"]["status_code"], 400);
}

#[test]
fn what_follows_an_exchange_and_is_no_request() {
    let documents = run(&[
        client(GET),
        server(OK),
        client("\x16\x03\x01 nonsense"),
        server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200", "- - 400"]);
    assert_eq!(anomalies(&documents[1]), ["not_a_request"]);
}

#[test]
fn an_answer_that_is_no_response() {
    let d = one(&[client(GET), server("<html>"), Step::Close(Close::Finished)]);
    assert_eq!(d["error"]["type"], "invalid_response");
    assert_eq!(d["event"]["outcome"], "failure");
    assert_eq!(d["http"]["response"], json!(null));
    assert_eq!(anomalies(&d), ["not_a_response"]);
}

#[test]
fn framing_in_trailers_is_noted_and_ignored() {
    odd(
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
        &["framing_in_trailer"],
    );
}
