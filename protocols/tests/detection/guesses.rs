//! A protocol that was guessed wrongly leaves no trace, and what it is instead is found.

use crate::{support::*, tls, wire::*};
use serde_json::{Value, json};
use weir_protocols::{Close, Protocol, Side};

/// Nothing comes out of this, and nothing is looked for any more.
#[track_caller]
fn nothing(steps: &[Step]) {
    let mut seen = Observer::new().steps(steps);
    assert_eq!(seen.protocol(), Protocol::Tcp, "{steps:?}");
    assert!(seen.decoder.is_opaque());
    seen.step(&Step::Close(Close::Finished));
    assert!(seen.exchanges.is_empty(), "{:#?}", seen.documents());
}

fn datasets(documents: &[Value]) -> Vec<&str> {
    documents
        .iter()
        .map(|document| document["event"]["dataset"].as_str().unwrap())
        .collect()
}

#[test]
fn a_request_line_alone_makes_no_request() {
    let bare = "GET / HTTP/1.1\r\n\r\n";
    nothing(&[client(bare), server("+OK\r\n")]);
    nothing(&[client("GET / HTTP/1.1\nlet there be\n\n"), server("light\n")]);
    nothing(&[client("GET / HTTP/1.1\r\nno end of a head"), server("+OK\r\n")]);
    nothing(&[client(bare), client("and then?\r\n")]);
    // A server that answers in HTTP, or a client whose fields are fields, is none of that.
    assert_eq!(summary(&run(&[client(bare), server(OK)])), ["GET / 200"]);
    let odd = "GET / HTTP/1.1\nlet there be\n\n";
    assert_eq!(summary(&run(&[client(odd), server(OK)])), ["GET / 200"]);
    let seen = run(&[client(GET), server("+OK\r\n"), Step::Close(Close::Finished)]);
    assert_eq!(seen[0]["error"]["type"], "invalid_response");
    // Nor does a connection that ended before it was clear say anything against it.
    let unanswered = run(&[client(bare), Step::Close(Close::Finished)]);
    assert_eq!(unanswered[0]["error"]["type"], "no_response");
}

#[test]
fn a_server_that_speaks_first_is_believed() {
    let greeting = b"\x4a\x00\x00\x00\x0a8.0.36\x00";
    nothing(&[server(greeting), client(GET)]);
    nothing(&[server("220 mail.example ESMTP\r\n"), client(GET)]);
    // What it began with may be something for a while.
    nothing(&[server(&SETTINGS[..3]), client(GET)]);
    nothing(&[server("H"), client(GET), server("ELLO\r\n")]);
    nothing(&[server(SETTINGS), client(GET)]);
    nothing(&[server(SETTINGS), client("EHLO there\r\n")]);
}

#[test]
fn a_record_that_holds_no_hello_is_no_tls() {
    nothing(&[client(NO_HELLO), server("welcome\r\n")]);
    nothing(&[client(b"\x16\x03\x01\x00\x40\x01\x00\x00"), server("welcome\r\n")]);
    let mut hello = tls::record(tls::HANDSHAKE, &tls::client_hello("shop.example"));
    let one = |steps: &[Step]| {
        let mut documents = run(steps);
        assert_eq!(datasets(&documents), ["weir.tls"]);
        documents.remove(0)
    };
    // A client that does speak it may have come to the wrong port.
    let wrong_port = one(&[
        client(&hello),
        server("HTTP/1.1 400 Bad Request\r\n\r\n"),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(wrong_port["error"]["type"], "invalid_response");
    assert_eq!(wrong_port["tls"]["client"]["server_name"], "shop.example");
    assert_eq!(
        wrong_port["weir"]["anomalies"],
        json!(["not_a_hello: the server began with something else"])
    );
    hello.truncate(20);
    let cut = one(&[client(&hello), Step::Close(Close::Reset(Side::Client))]);
    assert_eq!(cut["error"]["type"], "connection_reset");
}

#[test]
fn a_length_and_a_question_make_no_dns() {
    let broken = query(7, 1, b"\xff\xff");
    let other = "+OK, but this is no DNS at all\r\n";
    nothing(&[client(&broken), server(other)]);
    nothing(&[client(&broken), client("\x00\x03abc"), server(other)]);
    // The answer to another query is none.
    nothing(&[client(&broken), server(no_such_name(8))]);
    let answered = run(&[client(&broken), server(no_such_name(7))]);
    assert_eq!(
        answered[0]["weir"]["anomalies"],
        json!(["malformed_query: additional"])
    );
    let sound = run(&[
        client(query(7, 0, b"")),
        server("HTTP/1.1 400 Bad Request\r\n\r\n"),
        Step::Close(Close::Finished),
    ]);
    assert_eq!(sound[0]["error"]["type"], "no_response");
}

#[test]
fn whatever_a_server_of_http_answers_was_a_request() {
    const NO: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let broken = query(7, 1, b"\xff\xff");
    let strange = dubbo(0x82, 0, 1, b"\xff\xff\xff");
    for odd in [
        &broken,
        &strange,
        &NO_HELLO.to_vec(),
        &b"\xff\xfe\x00\x01 garbage\r\n".to_vec(),
        &b"SET a b\r\n".to_vec(),
        &vec![0; 9000],
    ] {
        // As one piece, and byte by byte.
        for size in [1, odd.len()] {
            let mut steps: Vec<_> = odd.chunks(size).map(client).collect();
            steps.extend([server(NO), client(GET), server(OK)]);
            let documents = run(&steps);
            assert_eq!(
                summary(&documents),
                ["- - 400", "GET /a 200"],
                "{}",
                odd.escape_ascii()
            );
            assert_eq!(anomalies(&documents[0]), ["not_a_request"]);
            assert_eq!(documents[0]["event"]["outcome"], "failure");
        }
    }
    // More than that is not kept; and what is no status line makes no HTTP.
    nothing(&[client([0; 20_000]), server(NO)]);
    nothing(&[client(&broken), server("HTTP server ready\r\n")]);
    nothing(&[client(&broken), server("RTSP/1.0 200 OK\r\n")]);
}

#[test]
fn a_client_of_http_2_is_refused_by_a_server_of_http_1() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let refusal = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    for piece in [1, 5, 13, refusal.len()] {
        let mut steps = vec![client(preface)];
        steps.extend(refusal.chunks(piece).map(server));
        steps.push(Step::Close(Close::Finished));
        let documents = run(&steps);
        assert_eq!(summary(&documents), ["PRI * 400"], "in pieces of {piece}");
        assert_eq!(
            anomalies(&documents[0]),
            ["invalid_version: \"HTTP/2.0\"", "request_body_end_unknown"]
        );
        assert!(documents[0]["event"]["duration"].as_u64() >= Some(1_000_000));
    }
    // What only begins so is shown to HTTP/2 at the end.
    let cut = run(&[client(preface), server("HTTP/1."), Step::Close(Close::Finished)]);
    assert_eq!(summary(&cut), [""; 0]);
}

#[test]
fn a_header_of_dubbo_with_anything_behind_it_is_no_frame() {
    let strange = dubbo(0x82, 0, 1, b"\xff\xff\xff");
    nothing(&[client(&strange), client("\x00\x01\x02\x03"), server("+OK\r\n")]);
    nothing(&[client([&strange[..], b"some text"].concat()), server("+OK\r\n")]);
    nothing(&[client(&strange), server("+OK\r\n")]);
    // One frame behind the other is Dubbo, whatever is in them.
    let two = run(&[client([&strange[..], &dubbo(0x82, 0, 2, b"\xff")].concat())]);
    assert_eq!(datasets(&two), ["weir.dubbo"; 2]);
    let call_back = run(&[client(&strange), server(call(1, false))]);
    assert_eq!(datasets(&call_back), ["weir.dubbo"; 2]);
    // A frame that says what it must comes out at once.
    assert_eq!(datasets(&run(&[client(call(1, false))])), ["weir.dubbo"]);
    assert_eq!(datasets(&run(&[client(&strange)])), [""; 0]);
    assert_eq!(
        datasets(&run(&[client(&strange), Step::Close(Close::Finished)])),
        ["weir.dubbo"]
    );
}

#[test]
fn of_a_connection_joined_late_the_next_guess_sees_the_same_bytes() {
    let body = b"GET /a HTTP/1.1\r\nnot a field\r\n\r\n";
    let frames = [&body[..], &call(1, true), &call(2, true)].concat();
    let mut seen = Observer::late();
    for step in [client(&frames), server(reply(1)), server(reply(2))] {
        seen.step(&step);
    }
    assert_eq!(seen.protocol(), Protocol::Dubbo);
    let documents = seen.documents();
    assert_eq!(datasets(&documents), ["weir.dubbo"; 2]);
    assert_eq!(documents[0]["dubbo"]["method"], "echo");
    // And where no other is left, it is looked for in what comes.
    let mut seen = Observer::late();
    seen.step(&client(body));
    seen.step(&client("\x01\x02\x03\r\n"));
    assert_eq!((seen.protocol(), seen.exchanges.len()), (Protocol::Unknown, 0));
    for step in [client(GET), server(OK)] {
        seen.step(&step);
    }
    assert_eq!(summary(&seen.documents()), ["GET /a 200"]);
}

#[test]
fn of_a_connection_joined_late_only_what_is_certain_is_told() {
    // A header of Dubbo by chance, in the middle of anything.
    let mut chance = dubbo(0x82, 0, 1, &[0xff; 40]);
    chance[12..16].copy_from_slice(&0x0010_0000_u32.to_be_bytes());
    let mut seen = Observer::late();
    seen.step(&client([&[0; 100][..], &chance].concat()));
    seen.step(&client([0xff; 20_000]));
    seen.step(&Step::Close(Close::Finished));
    assert!(seen.exchanges.is_empty(), "{:#?}", seen.documents());
}

#[test]
fn a_guess_is_not_kept_for_ever() {
    let bare = "GET / HTTP/1.1\r\n";
    // Past the bound it can still be refuted, and then nothing else is looked for.
    let long = "no field\r\n".repeat(2000);
    nothing(&[client(bare), client(&long), server("+OK\r\n")]);
    // And it can still be right.
    let documents = run(&[client(bare), client(&long), client("\r\n"), server(OK)]);
    assert_eq!(summary(&documents), ["GET / 200"]);
}

#[test]
fn a_half_that_ended_before_it_was_known_has_ended() {
    let documents = run(&[
        client("GET /a HTTP"),
        Step::End(Side::Client),
        server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(documents.len(), 1, "{documents:#?}");
    assert_eq!(documents[0]["error"]["type"], "incomplete_request");
}
