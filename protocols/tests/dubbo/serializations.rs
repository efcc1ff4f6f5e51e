//! Bodies that are not Hessian 2.

use crate::support::*;
use serde_json::{Value, json};

/// Items of fastjson 2: each with its length.
fn items(items: &[&[u8]]) -> Vec<u8> {
    let framed = items.iter().flat_map(|item| {
        let length = u32::try_from(item.len()).unwrap().to_be_bytes();
        [&length, *item].concat()
    });
    framed.collect()
}

/// A short ASCII text of it.
fn b(text: &str) -> Vec<u8> {
    [&[0x49 + u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn call(serialization: u8, asked: &[u8], answered: &[u8]) -> Value {
    let mut seen = Observer::new();
    seen.client(frame(REQUEST | TWO_WAY | serialization, 0, 1, asked));
    seen.server(frame(serialization, 20, 1, answered));
    seen.document()
}

fn fastjson2(item: &[u8]) -> Value {
    let (version, service, method, descriptor) = (b("2.0.2"), b("lab.Demo"), b("m"), b("I"));
    let asked = items(&[
        &version,
        &service,
        &version,
        &method,
        &descriptor,
        item,
        b"\xa6\xa5",
    ]);
    let document = call(23, &asked, &items(&[b"\xbd\x02"]));
    assert_eq!(anomalies(&document), [""; 0], "{item:x?}");
    document["dubbo"]["args"][0].clone()
}

#[test]
fn fastjson_s_text_is_read() {
    let asked = "\"2.0.2\"\n\"lab.Demo\"\n\"1.0.0\"\n\"find\"\n\"JLx/B;Ljava/util/List;\"\n9223372036854775807\n\
        {\"@type\":\"x.B\",\"name\":\"\u{4e2d}\",\"password\":\"x\",\"list\":[1.5,null,true]}\n[{\"$ref\":\"$\"}]\n{\"group\":\"g\"}\n";
    let document = call(6, asked.as_bytes(), b"4\n{\"a\":1}\n{\"dubbo\":\"2.0.2\"}\n");
    let dubbo = &document["dubbo"];
    assert_eq!(dubbo["serialization"], "fastjson");
    assert_eq!(
        dubbo["args"],
        json!([
            i64::MAX,
            {"@type": "x.B", "name": "\u{4e2d}", "password": "<redacted>", "list": [1.5, null, true]},
            [{"@ref": "/dubbo/args/2"}]
        ])
    );
    assert_eq!(
        (&dubbo["result"], &dubbo["group"]),
        (&json!({"a": 1}), &json!("g"))
    );
    assert_eq!(anomalies(&document), [""; 0]);
    let wrong = call(6, b"\"2.0.2\"\n7\n", b"1\n{\"a\":[1,}\n");
    assert_eq!(wrong["dubbo"]["result"], json!({"a": [1]}));
    assert_eq!(
        anomalies(&wrong),
        [
            "malformed_request: something else stands in place of a string",
            "malformed_response: a line is not JSON"
        ]
    );
}

#[test]
fn fastjson2_s_numbers_of_every_width() {
    for (item, value) in [
        (&b"\x2f"[..], json!(47)),
        (b"\xf0", json!(-16)),
        (b"\x30\x00", json!(-2048)),
        (b"\x3f\xff", json!(2047)),
        (b"\x40\x00\x00", json!(-262_144)),
        (b"\x48\x80\x00\x00\x00", json!(i32::MIN)),
        (b"\xd8", json!(-8)),
        (b"\xef", json!(15)),
        (b"\xc8\x00", json!(-2048)),
        (b"\xc0\x00\x00", json!(-262_144)),
        (b"\xbf\x80\x00\x00\x00", json!(i32::MIN)),
        (b"\xbe\x7f\xff\xff\xff\xff\xff\xff\xff", json!(i64::MAX)),
        (b"\xbd\xff", json!(-1)),
        (b"\xbc\xfe\xd4", json!(-300)),
        (b"\xb2", json!(0.0)),
        (b"\xb3", json!(1.0)),
        (b"\xb4\xe3", json!(3.0)),
        (b"\xb5\x40\x0a\x00\x00\x00\x00\x00\x00", json!(3.25)),
        (b"\xb5\x7f\xf8\x00\x00\x00\x00\x00\x00", json!("NaN")),
        (b"\xb6\x05", json!(5.0)),
        (b"\xb7\x3f\x9d\x70\xa4", json!(1.23)),
        (
            b"\xb8\x05",
            json!({"@type": "java.math.BigDecimal", "value": "5"}),
        ),
        (
            b"\xb9\x02\x38\x6e",
            json!({"@type": "java.math.BigDecimal", "value": "1.10"}),
        ),
        (
            b"\xba\xd9",
            json!({"@type": "java.math.BigInteger", "value": "-7"}),
        ),
        (
            b"\xbb\x02\x01\x00",
            json!({"@type": "java.math.BigInteger", "value": "256"}),
        ),
    ] {
        assert_eq!(fastjson2(item), value, "{item:x?}");
    }
}

#[test]
fn fastjson2_s_texts_and_dates() {
    for (item, value) in [
        (&b"\x49"[..], json!("")),
        (b"\x79\x02ab", json!("ab")),
        (b"\x7a\x03\xe4\xb8\xad", json!("\u{4e2d}")),
        (b"\x7b\x02\x4e\x2d", json!("\u{4e2d}")),
        (b"\x7c\x04\x3d\xd8\x00\xde", json!("\u{1f600}")),
        (b"\x7d\x02\x4e\x2d", json!("\u{4e2d}")),
        (b"\x90\x44\x5b\x57", json!("\u{5b57}")),
        (b"\x91\x02\x01\x02", json!({"@binary": "AQI=", "size": 2})),
        (
            b"\xab\x00\x00\x01\x1f\x71\xfb\x04\xcb",
            json!("2009-02-13T23:31:30.123Z"),
        ),
        (b"\xac\x65\x53\xf1\x00", json!("2023-11-14T22:13:20.000Z")),
        (b"\xad\x00\x00\x00\x01", json!("1970-01-01T00:01:00.000Z")),
        (b"\xae\x01\x48\x1d\xcd\x65\x00", json!("1970-01-01T00:00:01.500Z")),
        (b"\xa9\x07\xe4\x06\x10", json!("2020-06-16")),
        (b"\xa7\x06\x05\x04\x03", json!("06:05:04.000000003")),
        (
            b"\xa8\x07\xe4\x06\x10\x06\x05\x04\x00",
            json!("2020-06-16T06:05:04"),
        ),
        (
            b"\xaa\x07\xe4\x06\x10\x06\x05\x04\x00\x4cUTC",
            json!("2020-06-16T06:05:04[UTC]"),
        ),
    ] {
        assert_eq!(fastjson2(item), value, "{item:x?}");
    }
}

#[test]
fn fastjson2_s_objects() {
    let bean = [
        &b"\x92"[..],
        &b("x.B"),
        b"\x00\xa6\x7f",
        &b("name"),
        b"\x01",
        &b("n"),
        b"\xa5",
    ]
    .concat();
    assert_eq!(fastjson2(&bean), json!({"@type": "x.B", "name": "n"}));
    let twice = [&b"\x96"[..], &bean, b"\x92\x00\xa6\x7f\x01", &b("m"), b"\xa5"].concat();
    assert_eq!(
        fastjson2(&twice),
        json!([{"@type": "x.B", "name": "n"}, {"@type": "x.B", "name": "m"}])
    );
    let numbered = b"\xa6\x05\x01\x06\x02\xa5";
    assert_eq!(fastjson2(numbered), json!({"@entries": [[5, 1], [6, 2]]}));
    let cycle = [
        &b"\xa6"[..],
        &b("a"),
        b"\x94",
        &b("b"),
        b"\x93",
        &b("$"),
        &b("c"),
        b"\x93",
        &b("#-1"),
        b"\xa5",
    ]
    .concat();
    let reference = json!({"@ref": "/dubbo/args/0"});
    assert_eq!(
        fastjson2(&cycle),
        json!({"a": [], "b": reference, "c": reference})
    );
    let listed = [
        &b"\xa4\x02\x92"[..],
        &b("x.Color"),
        b"\x00",
        &b("RED"),
        b"\x92",
        &b("LM"),
        b"\x01\xa6\xa5",
    ]
    .concat();
    assert_eq!(
        fastjson2(&listed),
        json!([{"@type": "x.Color", "value": "RED"}, {}])
    );
}

#[test]
fn what_is_wrong_in_fastjson2_is_told() {
    let asked = items(&[
        &b("2.0.2"),
        &b("lab.Demo"),
        &b("1"),
        &b("m"),
        &b("I"),
        b"\x48\x00",
    ]);
    let document = call(23, &asked, b"\x7f\xff\xff\xff\xbd");
    assert_eq!(
        anomalies(&document),
        [
            "malformed_request: its body ends too early",
            "malformed_response: its body ends too early"
        ]
    );
    let document = call(
        23,
        &items(&[&[0x94; 3], &[0x99; 10]]),
        &items(&[b"\xbd\x01", &[0x95; 3000]]),
    );
    assert_eq!(
        anomalies(&document),
        [
            "malformed_request: something else stands in place of a string",
            "malformed_response: values are within each other too deeply"
        ]
    );
}

#[test]
fn other_serializations_are_known_by_name() {
    for (number, name) in [
        (3, "java"),
        (8, "kryo"),
        (22, "protobuf"),
        (27, "msgpack"),
        (31, "custom-msgpack"),
    ] {
        let document = call(number, b"\xac\xed\x00\x05", b"\xac\xed");
        assert_eq!(document["dubbo"]["serialization"], name);
        assert_eq!(
            (&document["source"]["bytes"], &document["destination"]["bytes"]),
            (&json!(20), &json!(18))
        );
        assert_eq!(
            document["event"]["outcome"], "unknown",
            "what the method did can't be seen"
        );
        assert_eq!(anomalies(&document), [""; 0]);
        assert_eq!(document["dubbo"].get("args"), None);
    }
    // One that nobody knows, within a connection that is known to be Dubbo.
    let mut seen = Observer::new();
    seen.client(heartbeat(1)).client(frame(REQUEST | 15, 0, 2, b"x"));
    assert_eq!(seen.document()["dubbo"]["serialization"], "15");
}
