//! Requests in layout `pipy`.

use crate::support::*;
use serde_json::{Value, json};
use weir_config::Records;
use weir_protocols::Close;
use weir_records::{Policy, pipy};

/// Each exchange in that layout, if it has a place there.
fn laid_out(seen: &Observer) -> Vec<Option<String>> {
    let policy = Policy::new(&Records::default());
    let text = |exchange: &weir_protocols::Exchange| {
        let document = exchange.document(&flow(), &policy);
        let shape = pipy::shape(&document)?;
        assert_eq!(shape.index().name(), "http");
        Some(serde_json::to_string(&shape).unwrap())
    };
    seen.exchanges.iter().map(text).collect()
}

#[test]
fn a_request_is_told_field_by_field_without_its_secrets() {
    let seen = Observer::new().steps(&[
        client(
            "POST /a/b?q=1&token=t0p HTTP/1.1\r\nHost: Shop.test:8080\r\nConnection: keep-alive\r\nX-Forwarded-For: 1.1.1.1\r\n\
             X-FORWARDED-FOR: 2.2.2.2\r\nCookie: session=s3cret\r\nContent-Length: 2\r\n\r\nhi",
        ),
        server("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
    ]);
    let texts = laid_out(&seen);
    assert_eq!(
        texts[0].as_deref().unwrap(),
        concat!(
            r#"{"time":1,"host":"Shop.test:8080","path":"/a/b?q=1&token=<redacted>","headers":"#,
            r#""{\"host\":\"Shop.test:8080\",\"connection\":\"keep-alive\",\"x-forwarded-for\":\"1.1.1.1, 2.2.2.2\","#,
            r#"\"cookie\":\"<redacted>\",\"content-length\":\"2\"}"}"#
        )
    );
}

#[test]
fn methods_and_targets_of_every_kind_have_a_place() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (request, path, host) in [
        ("PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n", "/x", json!("a")),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", json!("a")),
        ("GET / HTTP/1.0\r\n\r\n", "/", Value::Null),
        // Without the header, the target says it.
        (
            "GET http://b:81/y HTTP/1.0\r\n\r\n",
            "http://b:81/y",
            json!("b:81"),
        ),
    ] {
        let seen = Observer::new().steps(&[client(request), server(ok), Step::Close(Close::Finished)]);
        let shape: Value = serde_json::from_str(laid_out(&seen)[0].as_deref().unwrap()).unwrap();
        assert_eq!(shape["path"], path, "{request}");
        assert_eq!(shape.get("host").cloned().unwrap_or_default(), host, "{request}");
    }
}

#[test]
fn an_answer_alone_has_no_place() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let request = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let seen = Observer::late().steps(&[
        server(answer),
        client(request),
        server(answer),
        Step::Close(Close::Finished),
    ]);
    let texts = laid_out(&seen);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert_eq!(texts[0], None);
    assert!(texts[1].as_deref().unwrap().contains(r#""path":"/next""#));
}
