//! Requests in layout `pipy`.

use crate::support::*;
use crate::triple::{seen as triple, wrapper};
use weir_config::Records;
use weir_records::{Policy, pipy};

/// The only exchange in that layout.
fn laid_out(seen: &Observer) -> String {
    let [exchange] = &seen.exchanges[..] else {
        panic!("{}", seen.exchanges.len())
    };
    let document = exchange.document(&flow(), &Policy::new(&Records::default()));
    let shape = pipy::shape(&document).unwrap();
    assert_eq!(shape.index().name(), "http");
    serde_json::to_string(&shape).unwrap()
}

#[test]
fn a_request_is_told_field_by_field_without_its_secrets() {
    let mut seen = Observer::new();
    let mut fields = get("/a?password=hunter2");
    fields.extend([
        ("cookie", "a=s3cret"),
        ("cookie", "b=s3cret"),
        ("accept", "x"),
        ("accept", "y"),
    ]);
    seen.client(headers(1, true, &fields));
    seen.server(headers(1, true, &[(":status", "204")]));
    assert_eq!(
        laid_out(&seen),
        concat!(
            r#"{"time":3,"host":"shop.test:8080","path":"/a?password=<redacted>","headers":"#,
            r#""{\"user-agent\":\"test/1\",\"cookie\":\"<redacted>; <redacted>\",\"accept\":\"x, y\"}"}"#
        )
    );
}

#[test]
fn a_call_of_triple_is_the_request_that_it_is() {
    let seen = triple(
        &wrapper(&[b"\x02hi"], &["java.lang.String"]),
        &wrapper(&[b"\x93"], &["int"]),
        &[],
    );
    let text = laid_out(&seen);
    let begin = r#"{"time":3,"host":"rpc.test","path":"/lab.Demo/echo","headers":"{\"content-type\":\"application/grpc+proto\","#;
    assert!(text.starts_with(begin), "{text}");
    assert!(text.contains(r#"\"tri-service-group\":\"blue\""#), "{text}");
}
