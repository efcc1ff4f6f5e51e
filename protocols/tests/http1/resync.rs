//! After one odd message the connection goes on: what follows is found, and what lies between is told.

use crate::support::*;
use serde_json::json;
use weir_protocols::{Close, Side};

/// An answer that is odd, and then five exchanges as they should be; gives the first document and the second.
#[track_caller]
fn then_five(request: &str, answer: &str) -> (serde_json::Value, serde_json::Value) {
    let mut steps = vec![client(request), server(answer)];
    for number in 0..5 {
        steps.push(client(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")));
        steps.push(server(OK));
    }
    steps.push(Step::Close(Close::Finished));
    let documents = run(&steps);
    let seen = summary(&documents);
    assert_eq!(
        seen[1..],
        [
            "GET /0 200",
            "GET /1 200",
            "GET /2 200",
            "GET /3 200",
            "GET /4 200"
        ],
        "{seen:?}"
    );
    for document in &documents[2..] {
        assert_eq!(anomalies(document), Vec::<&str>::new());
        assert_eq!(document["event"]["outcome"], "success");
    }
    (documents[0].clone(), documents[1].clone())
}

#[test]
fn a_body_where_none_may_be_is_passed_over() {
    for (request, answer, anomaly) in [
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", OK, "body_in_answer_to_head"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\nhi", "body_in_204"),
        (GET, "HTTP/1.1 304 Not Modified\r\n\r\nhi", "body_in_304"),
    ] {
        let (first, second) = then_five(request, answer);
        assert_eq!(anomalies(&first), Vec::<&str>::new());
        assert_eq!(first["http"]["response"]["body"]["bytes"], 0);
        assert_eq!(
            anomalies(&second),
            [
                "pairing_uncertain",
                &format!("{anomaly}: behind the response before this"),
                "resynchronised: 2 bytes of the server were passed over"
            ]
        );
        assert_eq!(second["event"]["outcome"], "success");
        let documents = run(&[client(request), server(answer), Step::Close(Close::Finished)]);
        assert_eq!(documents.len(), 2);
        let seen = format!("{anomaly}: 2 bytes of the server belong to no message");
        assert_eq!(anomalies(&documents[1]), [&*seen]);
    }
    // Where a request waits, it is not the one to blame.
    let documents = run(&[
        client(format!("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n{GET}")),
        server(OK.repeat(2)),
    ]);
    assert_eq!(summary(&documents), ["HEAD / 200", "GET /a 200"]);
    assert_eq!(documents[1]["event"]["outcome"], "success");
    assert!(!anomalies(&documents[1]).contains(&"not_a_response"));
}

#[test]
fn bytes_behind_an_answer_are_told() {
    let (first, second) = then_five(GET, &format!("{OK}more"));
    assert_eq!(anomalies(&first), Vec::<&str>::new());
    assert_eq!(
        anomalies(&second)[1],
        "resynchronised: 4 bytes of the server were passed over"
    );
    // With nothing behind them they have a document of their own.
    for end in [Step::End(Side::Server), Step::Close(Close::Reset(Side::Client))] {
        let documents = run(&[client(GET), server(OK), server("more"), end]);
        assert_eq!(summary(&documents), ["GET /a 200", "- - -"]);
        assert_eq!(
            anomalies(&documents[1]),
            ["not_a_response: 4 bytes of the server belong to no message"]
        );
        assert_eq!(documents[1]["destination"]["bytes"], 4);
        assert_eq!(documents[1]["event"]["outcome"], "unknown");
        assert_eq!(documents[1]["@timestamp"], "1970-01-01T00:00:00.003000000Z");
    }
}

#[test]
fn what_decides_how_a_response_ends_is_the_rfc() {
    const CHUNKS: &str = "2\r\nok\r\n0\r\n\r\n";
    for (fields, anomaly) in [
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 7",
            "content_length_and_transfer_encoding: \"7\", \"chunked\"",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "transfer_encoding_repeated: \"chunked\", \"chunked\"",
        ),
        (
            "Transfer-Encoding: chunked, chunked",
            "transfer_encoding_unknown: \"chunked, chunked\"",
        ),
        (
            "Transfer-Encoding: cow, chunked",
            "transfer_encoding_unknown: \"cow, chunked\"",
        ),
    ] {
        let (first, second) = then_five(GET, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{CHUNKS}"));
        assert_eq!(anomalies(&first), [anomaly]);
        assert_eq!(first["http"]["response"]["body"]["bytes"], 2);
        assert_eq!(first["event"]["outcome"], "success");
        assert_eq!(anomalies(&second), Vec::<&str>::new());
    }
    let (first, second) = then_five(GET, "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok");
    assert_eq!(anomalies(&first), ["content_length_repeated: \"2, 2\""]);
    assert_eq!(anomalies(&second), Vec::<&str>::new());
}

#[test]
fn a_body_that_ends_with_the_connection_ends_where_the_next_answer_is() {
    for coding in ["identity", "gzip"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\nContent-Length: 2\r\n\r\nok");
        let (first, second) = then_five(GET, &answer);
        assert!(anomalies(&first).contains(&&*format!("transfer_encoding_unknown: \"{coding}\"")));
        assert_eq!(first["http"]["response"]["body"]["bytes"], 2);
        assert_eq!(first["event"]["outcome"], "unknown");
        assert!(anomalies(&second).contains(&"pairing_uncertain"));
    }
    // Where it does end with it, nothing else is said.
    let d = one(&[
        client(GET),
        server("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
        Step::End(Side::Server),
    ]);
    assert_eq!(anomalies(&d), ["transfer_encoding_unknown: \"identity\""]);
    assert_eq!(
        (&d["http"]["response"]["body"]["bytes"], &d["event"]["outcome"]),
        (&json!(19), &json!("success"))
    );
}

#[test]
fn behind_a_length_or_a_chunk_that_is_none_the_next_answer_is_found() {
    for (answer, anomaly, passed) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
            "content_length_invalid: \"+0\"",
            0,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nok",
            "content_length_differs: \"1, 2\"",
            2,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n0\r\n\r\n",
            "chunk_size_invalid: 0x78",
            10,
        ),
    ] {
        let (first, second) = then_five(GET, answer);
        assert_eq!(anomalies(&first), [anomaly, "response_body_end_unknown"]);
        assert_eq!(first["event"]["outcome"], "unknown");
        let seen = format!("resynchronised: {passed} bytes of the server were passed over");
        assert_eq!(anomalies(&second), ["pairing_uncertain", &seen]);
    }
}

#[test]
fn a_sound_answer_counts_whatever_came_before_it() {
    let documents = run(&[
        client(GET),
        server(format!("\x00\x00{OK}")),
        client(GET),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a 200"; 2]);
    assert_eq!(documents[0]["event"]["outcome"], "success");
    assert_eq!(
        anomalies(&documents[0]),
        [
            "not_a_response",
            "resynchronised: 2 bytes of the server were passed over",
            "pairing_uncertain"
        ]
    );
    assert_eq!(anomalies(&documents[1]), Vec::<&str>::new());
    // But one that comes after the next request is that one's.
    let documents = run(&[
        client(GET),
        server("HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nok"),
        client("GET /b HTTP/1.1\r\n\r\n"),
        server(OK),
    ]);
    assert_eq!(summary(&documents), ["GET /a -", "GET /b 200"]);
    assert_eq!(documents[0]["error"]["type"], "invalid_response");
}

#[test]
fn odd_start_lines_are_read_and_named() {
    for (line, target, anomaly) in [
        ("GET  /a HTTP/1.1", json!("/a"), "spaces_in_request_line"),
        ("GET /a   HTTP/1.1", json!("/a"), "spaces_in_request_line"),
        ("GET\t/a\tHTTP/1.1", json!("/a"), "spaces_in_request_line"),
        (
            "GET /a HTTP/1.0.8",
            json!("/a"),
            "invalid_version: \"HTTP/1.0.8\"",
        ),
        ("GET HTTP/1.1", json!(""), "no_target"),
    ] {
        let request = format!("{line}\r\nHost: a\r\n\r\n");
        for size in [1, request.len()] {
            let mut steps: Vec<_> = request.as_bytes().chunks(size).map(client).collect();
            steps.extend([server(OK), client(GET), server(OK)]);
            let documents = run(&steps);
            assert_eq!(documents.len(), 2, "{line}");
            assert_eq!(documents[0]["http"]["request"]["method"], "GET");
            assert_eq!(documents[0]["url"]["original"], target);
            assert_eq!(anomalies(&documents[0]), [anomaly]);
            assert_eq!(documents[0]["event"]["outcome"], "success");
        }
    }
    for line in ["HTTP/1.1  200 OK", "HTTP/1.1\t200 OK"] {
        let answer = format!("{line}\r\nContent-Length: 2\r\n\r\nok");
        let documents = run(&[client(GET), server(answer), client(GET), server(OK)]);
        assert_eq!(summary(&documents), ["GET /a 200"; 2]);
        assert_eq!(anomalies(&documents[0]), ["spaces_in_status_line"]);
    }
}

#[test]
fn requests_within_a_doubtful_body_have_their_answers() {
    // A server that takes them for requests answers at once.
    let documents = run(&[
        client(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /one HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\n\r\n",
        ),
        server(OK.repeat(3)),
        client(GET),
        server(OK),
    ]);
    assert_eq!(
        summary(&documents),
        ["POST /x 200", "GET /one 200", "GET /two 200", "GET /a 200"]
    );
    assert!(
        documents[1..3]
            .iter()
            .all(|d| anomalies(d).contains(&"pairing_uncertain"))
    );
    assert_eq!(anomalies(&documents[3]), Vec::<&str>::new());
    // Also where the length is believed instead of the chunks, and where nothing stands between.
    let documents = run(&[
        client(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n\
             GPOST /in HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
        ),
        server(OK.repeat(2)),
    ]);
    assert_eq!(summary(&documents), ["POST /x 200", "GPOST /in 200"]);
    let documents = run(&[
        client("POST /x HTTP/1.1\r\nContent-Length: +5\r\nHost: a\r\n\r\nhelloGET /in HTTP/1.1\r\n\r\n"),
        server(OK.repeat(2)),
    ]);
    assert_eq!(summary(&documents), ["POST /x 200", "GET /in 200"]);
}

#[test]
fn a_body_whose_framing_is_known_hides_nothing() {
    let inner = "GET /in HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = format!(
        "POST /x HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    );
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{OK}", OK.len());
    let documents = run(&[client(&post), server(&answer), client(&post), server(&answer)]);
    assert_eq!(summary(&documents), ["POST /x 200"; 2]);
    assert!(documents.iter().all(|d| anomalies(d).is_empty()));
}

#[test]
fn what_resembles_framing_is_named() {
    for (field, anomaly) in [
        (
            "Transfer_Encoding: chunked",
            "framing_lookalike: \"Transfer_Encoding\"",
        ),
        ("content_length: 5", "framing_lookalike: \"content_length\""),
        (
            "Connection: close, Content-Length",
            "framing_in_connection: \"close, Content-Length\"",
        ),
        (
            "Connection: transfer-encoding",
            "framing_in_connection: \"transfer-encoding\"",
        ),
    ] {
        let documents = run(&[
            client(format!("GET /a HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")),
            server(OK),
            client(GET),
            server(OK),
        ]);
        assert_eq!(summary(&documents), ["GET /a 200"; 2]);
        assert_eq!(anomalies(&documents[0]), [anomaly]);
    }
}
