//! Messages and frames that RFC 9113 forbids are named, and no value stands beside the name.

use crate::support::*;
use weir_protocols::Close;

/// The anomalies of a request of these fields, which is answered.
fn asked(fields: &[(&str, &str)]) -> Vec<String> {
    let mut seen = Observer::new();
    seen.client(headers(1, true, fields));
    seen.server(headers(1, true, &[(":status", "200")]));
    noted(&seen)
}

/// The anomalies of a response of these fields.
fn answered(fields: &[(&str, &str)]) -> Vec<String> {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &get("/")));
    seen.server(headers(1, true, fields));
    noted(&seen)
}

fn noted(seen: &Observer) -> Vec<String> {
    let document = seen.document();
    let text = document["weir"]["anomalies"].to_string();
    assert!(!text.contains("s3cret"), "{text}");
    anomalies(&document).into_iter().map(str::to_owned).collect()
}

/// A GET with another field.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = get("/");
    fields.push((name, value));
    fields
}

/// A GET of which a pseudo-header is another.
fn but<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = get("/");
    for field in &mut fields {
        if field.0 == name {
            field.1 = value;
        }
    }
    fields
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    let mut fields = get("/");
    fields.retain(|field| field.0 != name);
    fields
}

#[test]
fn fields_of_http1_connections_are_named() {
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "s3cret"),
        ("keep-alive", "s3cret"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("te", "s3cret, trailers"),
    ] {
        let expected = format!("connection_specific_header: \"{}\"", name.to_lowercase());
        assert!(asked(&with(name, value)).contains(&expected), "{name}");
    }
    assert_eq!(asked(&with("te", "trailers")), [""; 0]);
    let mut all = with("connection", "close");
    all.push(("transfer-encoding", "chunked"));
    assert_eq!(
        asked(&all),
        ["connection_specific_header: \"connection\", \"transfer-encoding\""]
    );
    assert_eq!(
        answered(&[(":status", "200"), ("connection", "close")]),
        ["connection_specific_header: \"connection\" (response)"]
    );
    assert_eq!(
        asked(&with("transfer_encoding", "chunked")),
        ["framing_lookalike: \"transfer_encoding\""]
    );
}

#[test]
fn names_and_values_that_would_be_others_in_http1_are_named() {
    for (name, value, expected) in [
        ("a", "b\r\ncookie: s3cret", "line_break_in_header: \"a\""),
        ("a", "b\ncookie: s3cret", "line_break_in_header: \"a\""),
        ("a", "b\rcookie: s3cret", "line_break_in_header: \"a\""),
        ("a", "b\0s3cret", "nul: \"a\""),
        ("a", " s3cret", "space_around_header_value: \"a\""),
        ("a", "s3cret\t", "space_around_header_value: \"a\""),
        ("X-Abc", "s3cret", "upper_case_header_name: \"X-Abc\""),
        ("a: s3cret", "b", "invalid_header_name: \"a:\""),
        ("a\r\nx: s3cret", "b", "invalid_header_name: \"a\\r\""),
        ("a s3cret", "b", "invalid_header_name: \"a \""),
        ("caf\u{e9}s3cret", "b", "invalid_header_name: \"caf\\xc3\""),
        ("", "s3cret", "empty_header_name"),
    ] {
        assert_eq!(asked(&with(name, value)), [expected], "{name:?}");
    }
    // Some are there by an index of the table: they are looked at again.
    let mut seen = Observer::new();
    let odd = [block(&get("/")), literal(0x40, "a", "b\nc")].concat();
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &odd));
    let again = [block(&get("/")), b"\xbe".to_vec()].concat();
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 3, &again));
    seen.close(Close::Finished);
    for document in seen.documents() {
        assert_eq!(anomalies(&document), ["line_break_in_header: \"a\""]);
    }
}

#[test]
fn what_would_be_a_field_of_its_own_is_not_shown() {
    let injected = "/\r\ncookie: id=hunter2";
    let mut fields = vec![
        (":method", "GET / HTTP/1.1\r\ncookie: hunter2"),
        (":scheme", "http\ncookie: hunter2"),
        (":authority", "shop.test\r\ncookie: hunter2"),
        (":path", injected),
        ("user-agent", "test\r\ncookie: hunter2"),
        ("a", "caf\u{e9}\ncookie: hunter2"),
        ("b\r\ncookie", "hunter2"),
        ("cookie: hunter2", "x"),
        ("cookie hunter2", "x"),
    ];
    for rpc in [false, true] {
        if rpc {
            fields.push(("content-type", "application/grpc"));
            fields.push(("tri-service-version", "1"));
        }
        let mut seen = Observer::new();
        seen.client(headers(1, true, &fields));
        seen.server(headers(
            1,
            true,
            &[(":status", "200"), ("b\r\nset-cookie", "hunter2")],
        ));
        let document = seen.document();
        assert!(!document.to_string().contains("hunter2"), "{document:#}");
        let shown = &document["http"]["request"]["headers"];
        assert_eq!(shown["a"][0], "caf\u{e9}<redacted>");
        assert_eq!(shown["b<redacted>"][0], "<redacted>");
        assert_eq!(document["url"]["path"], "/<redacted>");
        let open = weir_config::Records {
            redact: false,
            ..weir_config::Records::default()
        };
        let open = seen.documents_under(&open).remove(0);
        assert_eq!(open["url"]["path"], injected);
    }
}

#[test]
fn fields_that_are_not_kept_are_looked_at_too() {
    let mut fields = get("/");
    fields.extend([("many", "x"); 300]);
    fields.push(("transfer-encoding", "chunked"));
    assert_eq!(
        asked(&fields),
        ["connection_specific_header: \"transfer-encoding\""]
    );
}

#[test]
fn pseudo_headers_stand_once_and_first_and_where_they_belong() {
    for (fields, expected) in [
        (with(":path", "/s3cret"), "pseudo_header_repeated: \":path\""),
        (with(":x-y", "s3cret"), "pseudo_header_unknown: \":x-y\""),
        (with(":status", "200"), "pseudo_header_misplaced: \":status\""),
        (
            with(":protocol", "websocket"),
            "pseudo_header_misplaced: \":protocol\"",
        ),
    ] {
        let noted = asked(&fields);
        assert!(noted.iter().any(|anomaly| anomaly == expected), "{noted:?}");
        // (It also stands behind `user-agent`.)
        assert!(
            noted
                .iter()
                .any(|anomaly| anomaly.starts_with("pseudo_header_after_header"))
        );
    }
    for name in [":method", ":scheme", ":path"] {
        assert_eq!(
            asked(&without(name)),
            [format!("pseudo_header_missing: \"{name}\"")]
        );
    }
    assert_eq!(asked(&without(":authority")), [""; 0]);
    assert_eq!(
        answered(&[("a", "b")]),
        ["pseudo_header_missing: \":status\" (response)"]
    );
    assert_eq!(
        answered(&[(":status", "200"), (":path", "/")]),
        ["pseudo_header_misplaced: \":path\" (response)"]
    );
    let connect = [(":method", "CONNECT"), (":authority", "db.test:5432")];
    assert_eq!(asked(&connect), [""; 0]);
    assert_eq!(
        asked(&[&connect[..], &[(":path", "/"), (":scheme", "http")]].concat()),
        ["pseudo_header_misplaced: \":scheme\""]
    );
}

#[test]
fn targets_that_are_read_in_two_ways_are_named() {
    for (fields, expected) in [
        (
            but(":method", "GET / HTTP/1.1\r\ns3cret: x"),
            "invalid_method: \"GET \"",
        ),
        (but(":path", ""), "invalid_path: empty"),
        (but(":path", "s3cret"), "invalid_path: no slash at its beginning"),
        (
            but(":path", "http://a/"),
            "invalid_path: no slash at its beginning",
        ),
        (but(":path", "*"), "invalid_path: no slash at its beginning"),
        (
            but(":path", "/ HTTP/1.1"),
            "invalid_path: a byte that no path has",
        ),
        (
            but(":path", "/\r\ns3cret: x"),
            "invalid_path: a byte that no path has",
        ),
        (but(":scheme", "http://s3cret/?"), "invalid_scheme"),
        (but(":authority", "u:s3cret@shop.test"), "userinfo_in_authority"),
        (with("host", "other.test"), "host_differs"),
    ] {
        let noted = asked(&fields);
        assert!(
            noted.iter().any(|anomaly| anomaly == expected),
            "{expected}: {noted:?}"
        );
    }
    assert_eq!(asked(&with("host", "shop.TEST:8080")), [""; 0]);
    let mut usual = but(":authority", "shop.test:80");
    usual.push(("host", "shop.test"));
    assert_eq!(asked(&usual), [""; 0]);
    let mut options = but(":path", "*");
    options[0].1 = "OPTIONS";
    assert_eq!(asked(&options), [""; 0]);
    let mut hosts = with("host", "Shop.test:8080");
    hosts.push(("host", "Shop.test:8080"));
    assert_eq!(asked(&hosts), ["host_repeated"]);
}

#[test]
fn statuses_have_three_digits() {
    for (status, seen) in [
        ("20", "20"),
        ("2000", "2000"),
        ("2x0", "2x0"),
        ("101", "101"),
        ("200 OK", "200 "),
    ] {
        assert_eq!(
            answered(&[(":status", status)]),
            [format!("invalid_status: \"{seen}\" (response)")]
        );
    }
}

#[test]
fn a_content_length_is_that_of_the_data() {
    let post = |length: &'static str| {
        let mut fields = with("content-length", length);
        fields[0].1 = "POST";
        fields
    };
    let untrue = "content_length_untrue: \"5\", and 0 bytes came";
    assert_eq!(asked(&post("5")), [untrue]);
    assert_eq!(asked(&post("0")), [""; 0]);
    assert_eq!(asked(&post("+0")), ["content_length_invalid: \"+0\""]);
    let mut twice = post("0");
    twice.push(("content-length", "7"));
    assert_eq!(asked(&twice), ["content_length_differs: \"0\", \"7\""]);
    twice[6].1 = "0";
    assert_eq!(asked(&twice), ["content_length_repeated: \"0\""]);
    for (method, status, expected) in [
        (
            "GET",
            "200",
            &["content_length_untrue: \"5\", and 0 bytes came (response)"][..],
        ),
        ("HEAD", "200", &[]),
        ("GET", "304", &[]),
    ] {
        let mut seen = Observer::new();
        seen.client(headers(1, true, &but(":method", method)));
        seen.server(headers(1, true, &[(":status", status), ("content-length", "5")]));
        assert_eq!(noted(&seen), expected, "{method} {status}");
    }
    // More is wrong as soon as it is there.
    let mut seen = Observer::new();
    seen.client(headers(1, false, &post("2")));
    seen.client(data(1, false, b"abc"));
    seen.close(Close::Finished);
    assert_eq!(noted(&seen), ["content_length_untrue: \"2\", and 3 bytes came"]);
    // What was missed counts, and proves nothing.
    let mut seen = Observer::new();
    seen.client(headers(1, false, &post("5")));
    let body = data(1, true, b"abc");
    seen.client(&body[..10]);
    seen.gap(weir_protocols::Side::Client, Some(2));
    seen.server(headers(1, true, &[(":status", "200")]));
    assert_eq!(noted(&seen), ["gap: 2 bytes of a body were missed"]);
}

#[test]
fn trailers_have_their_rules() {
    let of = |more: &[Vec<u8>]| {
        let mut seen = Observer::new();
        seen.client(headers(1, false, &get("/")));
        more.iter().for_each(|frame| {
            seen.client(frame);
        });
        seen.server(headers(1, true, &[(":status", "200")]));
        seen.close(Close::Finished);
        noted(&seen)
    };
    let sum = [("sum", "1")];
    assert_eq!(of(&[headers(1, true, &sum)]), [""; 0]);
    assert_eq!(
        of(&[headers(1, true, &[(":path", "/")])]),
        ["pseudo_header_in_trailers: \":path\""]
    );
    assert_eq!(
        of(&[headers(1, true, &[("content-length", "5")])]),
        ["framing_in_trailer"]
    );
    assert_eq!(
        of(&[headers(1, false, &sum), headers(1, true, &sum)]),
        [
            "trailers_without_end: of the client",
            "trailers_repeated: of the client"
        ]
    );
}

#[test]
fn frames_where_none_may_be_are_named() {
    let mut seen = Observer::new();
    seen.client(headers(1, true, &get("/1")));
    seen.client([headers(1, true, &get("/again")), data(1, true, b"x")].concat());
    seen.server([data(1, false, b"x"), headers(1, true, &[(":status", "200")])].concat());
    // After its end, and on a stream that was never opened: said with the next exchange.
    seen.client([headers(1, true, &get("/1")), data(99, true, b"x")].concat());
    seen.client([headers(4, true, &get("/4")), headers(3, true, &get("/3"))].concat());
    seen.client([headers(9, true, &get("/9")), headers(7, true, &get("/7"))].concat());
    seen.close(Close::Finished);
    let documents = seen.documents();
    let of = |path: &str| {
        let document = documents.iter().find(|document| document["url"]["path"] == path);
        anomalies(document.unwrap()).join("; ")
    };
    assert_eq!(
        of("/1"),
        "frame_on_closed_stream: HEADERS of the client; data_before_headers: of the server"
    );
    assert_eq!(
        of("/4"),
        "frame_on_closed_stream: HEADERS of the client on stream 1; \
         frame_on_idle_stream: DATA of the client on stream 99; stream_id_even: 4"
    );
    assert_eq!(of("/3"), "");
    assert_eq!(of("/7"), "stream_id_not_increasing: 7");
}

#[test]
fn frames_of_a_size_that_they_never_have_are_named() {
    for (odd, expected) in [
        (
            frame(PING, 0, 0, &[0; 7]),
            "frame_size_invalid: PING of 7 bytes on stream 0, of the client",
        ),
        (
            frame(SETTINGS, 0, 0, &[0; 7]),
            "frame_size_invalid: SETTINGS of 7 bytes on stream 0, of the client",
        ),
        (
            frame(SETTINGS, 1, 0, &[0; 6]),
            "frame_size_invalid: SETTINGS of 6 bytes on stream 0, of the client",
        ),
        (
            frame(SETTINGS, 0, 1, &[]),
            "frame_on_wrong_stream: SETTINGS of 0 bytes on stream 1, of the client",
        ),
        (
            frame(DATA, 0, 0, b"x"),
            "frame_on_wrong_stream: DATA of 1 bytes on stream 0, of the client",
        ),
        (
            frame(WINDOW_UPDATE, 0, 0, b"x"),
            "frame_size_invalid: WINDOW_UPDATE of 1 bytes on stream 0, of the client",
        ),
        (
            frame(PUSH_PROMISE, 4, 0, &[0; 4]),
            "frame_of_wrong_side: PUSH_PROMISE of 4 bytes on stream 0, of the client",
        ),
    ] {
        let mut seen = Observer::new();
        seen.client([odd, headers(1, true, &get("/"))].concat());
        seen.server(headers(1, true, &[(":status", "200")]));
        assert_eq!(noted(&seen), [expected]);
    }
    // Unknown kinds are allowed.
    let mut seen = Observer::new();
    seen.client([frame(0x42, 7, 0, b"abc"), headers(1, true, &get("/"))].concat());
    seen.server(headers(1, true, &[(":status", "200")]));
    assert_eq!(noted(&seen), [""; 0]);
}

#[test]
fn padding_fits_into_its_frame() {
    let mut seen = Observer::new();
    seen.client(headers(1, false, &get("/")));
    seen.client(frame(DATA, PADDED | END_STREAM, 1, b"\x09abc"));
    seen.server(headers(1, true, &[(":status", "200")]));
    assert_eq!(
        noted(&seen),
        ["padding_invalid: DATA of 4 bytes on stream 1, of the client"]
    );
    // Of a header block too.
    let mut seen = Observer::new();
    seen.client(headers(1, true, &get("/")));
    seen.server(frame(HEADERS, END_HEADERS | PADDED | END_STREAM, 1, b"\x09\x88"));
    assert_eq!(noted(&seen), ["padding_invalid"]);
}

#[test]
fn a_table_is_no_larger_than_the_reader_allows() {
    // (The server's settings allow what they leave out: 4096 bytes.)
    let update = b"\x3f\xe1\x3f";
    let ask = [&update[..], &block(&get("/"))].concat();
    let mut seen = Observer::new();
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &ask));
    seen.server(headers(1, true, &[(":status", "200")]));
    assert_eq!(noted(&seen), ["table_size_beyond_settings: 8192"]);
    let mut seen = Observer::new();
    seen.server(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x20, 0]));
    seen.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &ask));
    seen.server(headers(1, true, &[(":status", "200")]));
    assert_eq!(noted(&seen), [""; 0]);
}

#[test]
fn the_number_of_anomalies_is_bounded() {
    let mut fields = vec![
        (":zzz", "\r\n\0"),
        (":zzz", " "),
        ("", ""),
        ("A", ""),
        ("a b", ""),
    ];
    fields.extend(with("connection", "x"));
    fields.extend([
        ("content-length", "5"),
        ("content-length", "x"),
        ("transfer_encoding", ""),
    ]);
    fields.extend([
        ("host", "a"),
        ("host", "b"),
        ("grpc-status", "1"),
        ("grpc-status", "2"),
    ]);
    fields.extend([
        (":status", "a"),
        (":path", ""),
        (":scheme", ""),
        (":method", ""),
        (":authority", "@"),
    ]);
    let noted = asked(&fields);
    assert_eq!(noted.len(), 16, "{noted:#?}");
}
