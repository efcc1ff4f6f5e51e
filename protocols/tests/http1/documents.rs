//! What a document says about its exchange.

use crate::support::*;
use serde_json::json;

#[test]
fn hosts_come_from_the_target_or_the_host_field() {
    for (head, domain, port) in [
        (
            "GET / HTTP/1.1\r\nHost: Shop.Example:8080\r\n\r\n",
            json!("shop.example"),
            json!(8080),
        ),
        (
            "GET http://API.example/x HTTP/1.1\r\nHost: other\r\n\r\n",
            json!("api.example"),
            json!(null),
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", json!("a"), json!(null)),
        (
            "GET / HTTP/1.1\r\nHost: [fd00::1]:81\r\n\r\n",
            json!("[fd00::1]"),
            json!(81),
        ),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", json!(null), json!(null)),
        ("GET / HTTP/1.0\r\n\r\n", json!(null), json!(null)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            json!(null),
            json!(null),
        ),
    ] {
        let d = one(&[client(head), server(OK)]);
        assert_eq!(
            (&d["url"]["domain"], &d["url"]["port"]),
            (&domain, &port),
            "{head}"
        );
        assert_eq!(d["destination"]["domain"], domain);
    }
    let d = one(&[client("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), server(OK)]);
    assert_eq!(anomalies(&d), ["invalid_host"]);
    let d = one(&[client("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), server(OK)]);
    assert_eq!(anomalies(&d), ["host_repeated"]);
}

#[test]
fn targets_of_every_form() {
    for (line, url) in [
        (
            "GET /p?q=1",
            json!({"original": "/p?q=1", "path": "/p", "query": "q=1", "scheme": "http"}),
        ),
        (
            "GET HTTP://h:1/p",
            json!({"original": "HTTP://h:1/p", "path": "/p", "scheme": "http", "domain": "h", "port": 1}),
        ),
        ("OPTIONS *", json!({"original": "*", "scheme": "http"})),
        (
            "CONNECT h:443",
            json!({"original": "h:443", "domain": "h", "port": 443}),
        ),
    ] {
        let d = one(&[
            client(format!("{line} HTTP/1.1\r\n\r\n")),
            server("HTTP/1.1 400 x\r\nContent-Length: 0\r\n\r\n"),
        ]);
        assert_eq!(d["url"], url, "{line}");
    }
}

#[test]
fn no_secret_leaves() {
    let d = one(&[
        client(
            "GET http://user:hunter2@a/p;jsessionid=hunter2?password=hunter2&x=1 HTTP/1.1\r\n\
             Authorization: Basic hunter2\r\nCookie: s=hunter2\r\nX-Api-Key: hunter2\r\n\
             Referer: http://a/?access_token=hunter2\r\n\r\n",
        ),
        server(
            "HTTP/1.1 302 x\r\nSet-Cookie: s=hunter2\r\nLocation: /?token=hunter2\r\nContent-Length: 0\r\n\r\n",
        ),
    ]);
    assert!(!d.to_string().contains("hunter2"), "{d:#}");
    assert_eq!(
        d["url"],
        json!({
            "original": "http://<redacted>@a/p;jsessionid=<redacted>?password=<redacted>&x=1",
            "path": "/p;jsessionid=<redacted>", "query": "password=<redacted>&x=1", "scheme": "http", "domain": "a"
        })
    );
    assert_eq!(d["http"]["request"]["headers"]["cookie"], json!(["<redacted>"]));
}

#[test]
fn repeated_headers_keep_their_order_and_bytes_beyond_utf8_are_latin1() {
    let mut request = b"GET / HTTP/1.1\r\nX-F: 2.2.2.2\r\nx-f: 1.1.1.1\r\nX-L: caf\xe9\r\nX-U: ".to_vec();
    request.extend_from_slice("é\r\n\r\n".as_bytes());
    let d = one(&[client(request), server(OK)]);
    assert_eq!(
        d["http"]["request"]["headers"],
        json!({"x-f": ["2.2.2.2", "1.1.1.1"], "x-l": ["café"], "x-u": ["é"]})
    );
}

#[test]
fn times_are_those_of_the_bytes() {
    let d = one(&[
        client("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na"),
        client("b"),
        server("HTTP/1.1 200 OK\r\nContent-"),
        server("Length: 2\r\n\r\n"),
        server("ok"),
    ]);
    assert_eq!(d["@timestamp"], "1970-01-01T00:00:00.001000000Z");
    assert_eq!(d["event"]["duration"], 4_000_000);
    assert_eq!(
        d["weir"]["timing"],
        json!({"connect": 50_000, "request": 1_000_000, "ttfb": 1_000_000, "response": 2_000_000})
    );
}

#[test]
fn the_same_bytes_give_the_same_ids() {
    let steps = [client(GET.repeat(2)), server(OK.repeat(2))];
    let ids = |documents: Vec<serde_json::Value>| -> Vec<_> {
        documents.into_iter().map(|d| d["event"]["id"].clone()).collect()
    };
    assert_eq!(ids(run(&steps)), ids(run(&steps)));
}

#[test]
fn a_target_that_names_another_host_than_the_field_is_named() {
    for (target, field, differs) in [
        ("http://a/", "a", false),
        ("http://A/", "a", false),
        ("http://a:81/", "a:81", false),
        ("http://a/", "b", true),
        ("http://a:81/", "a:82", true),
        ("/", "b", false),
    ] {
        let d = one(&[
            client(format!("GET {target} HTTP/1.1\r\nHost: {field}\r\n\r\n")),
            server(OK),
        ]);
        let kinds: Vec<_> = anomalies(&d)
            .iter()
            .map(|a| a.split(':').next().unwrap())
            .collect();
        assert_eq!(kinds.contains(&"host_differs"), differs, "{target} {field}");
    }
}
