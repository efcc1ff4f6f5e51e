use super::*;
use crate::Policy;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use weir_config::Records;

const WIDE: Bounds = Bounds {
    values: 1000,
    text: 10_000,
    one_text: 1000,
    depth: 8,
};

fn build(bounds: Bounds, fill: impl FnOnce(&mut Builder<'_>)) -> (Json, Value, BTreeMap<String, u64>) {
    let policy = Policy::new(&Records::default());
    let mut builder = Builder::new(&policy, bounds);
    fill(&mut builder);
    let mut sizes = BTreeMap::new();
    let json = builder.finish("a.b", &mut sizes);
    let value = serde_json::to_value(&json).unwrap();
    let text = serde_json::to_string(&json).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    (json, value, sizes)
}

fn text(builder: &mut Builder<'_>, text: &str) {
    builder.text(text, text.len() as u64);
}

#[test]
fn values_of_every_kind() {
    let (json, value, sizes) = build(WIDE, |b| {
        b.begin_list();
        b.null();
        b.bool(true);
        b.int(i64::MIN);
        b.unsigned(u64::MAX);
        b.double(1.5);
        b.double(f64::NAN);
        b.double(f64::NEG_INFINITY);
        text(b, "w\u{f6}rd");
        b.binary(&[1, 2, 3], 3);
        b.begin_list();
        b.end();
        b.end();
    });
    assert_eq!(
        value,
        json!([null, true, i64::MIN, u64::MAX, 1.5, "NaN", "-Infinity", "w\u{f6}rd", {"@binary": "AQID", "size": 3}, []])
    );
    assert!(sizes.is_empty());
    assert_eq!(
        json.words(100),
        "-9223372036854775808 18446744073709551615 1.5 NaN -Infinity w\u{f6}rd 3"
    );
    assert_eq!(json.words(3), "-92");
}

#[test]
fn maps_are_objects_only_if_their_keys_can_be() {
    let (json, value, _) = build(WIDE, |b| {
        b.begin_list();
        let kind = b.name("x.Y");
        let field = b.name("f");
        b.begin_map(Some(kind), true);
        b.named(field);
        b.int(1);
        b.end();
        for keys in [["a", "b"], ["a", "a"], ["@ref", "b"]] {
            b.begin_map(None, false);
            for key in keys {
                text(b, key);
                b.null();
            }
            b.end();
        }
        b.begin_map(Some(kind), false);
        b.int(7);
        text(b, "x");
        text(b, "password");
        b.begin_list();
        b.end();
        b.end();
        b.end();
    });
    assert_eq!(
        value,
        json!([
            {"@type": "x.Y", "f": 1},
            {"a": null, "b": null},
            {"@entries": [["a", null], ["a", null]]},
            {"@entries": [["@ref", null], ["b", null]]},
            {"@type": "x.Y", "@entries": [[7, "x"], ["password", "<redacted>"]]},
        ])
    );
    assert_eq!(json.words(100), "1 a a @ref b 7 x password");
}

#[test]
fn what_stands_at_a_secret_key_is_replaced_with_all_that_it_holds() {
    let (_, value, _) = build(WIDE, |b| {
        b.begin_map(None, false);
        for key in ["user", "userPassword", "next"] {
            b.key(key);
            b.begin_map(None, false);
            b.key("x");
            text(b, "http://h/?token=abc");
            b.end();
        }
        b.end();
    });
    let open = json!({"x": "http://h/?token=<redacted>"});
    assert_eq!(
        value,
        json!({"user": open, "userPassword": "<redacted>", "next": open})
    );
}

#[test]
fn references_are_pointers_into_the_document() {
    let (_, value, _) = build(WIDE, |b| {
        b.begin_list();
        let outer = b.begin_map(None, false);
        b.key("a/b~c");
        let inner = b.begin_list();
        b.reference(outer);
        b.end();
        b.key("same");
        b.reference(inner);
        b.end();
        b.begin_map(None, false);
        b.int(1);
        let value = b.begin_list();
        b.reference(value);
        b.end();
        b.end();
        b.reference(Place(None));
        b.end();
    });
    assert_eq!(
        value,
        json!([
            {"a/b~c": [{"@ref": "/a/b/0"}], "same": {"@ref": "/a/b/0/a~1b~0c"}},
            {"@entries": [[1, [{"@ref": "/a/b/1/@entries/0/1"}]]]},
            {"@ref": null},
        ])
    );
}

#[test]
fn past_a_bound_parts_are_left_out_and_told() {
    let bounds = Bounds { values: 6, ..WIDE };
    let (_, value, sizes) = build(bounds, |b| {
        b.begin_list();
        b.begin_list();
        (0..100).for_each(|n| b.int(n));
        b.end();
        b.begin_map(None, false);
        b.key("k");
        b.begin_list();
        b.end();
        b.end();
        b.end();
    });
    assert_eq!(value, json!([[0, 1, 2, 3]]));
    assert_eq!(
        sizes,
        BTreeMap::from([("a.b.0.count".into(), 100), ("a.b.count".into(), 2)])
    );

    let bounds = Bounds {
        one_text: 4,
        depth: 2,
        ..WIDE
    };
    let (_, value, sizes) = build(bounds, |b| {
        b.begin_list();
        b.begin_map(None, false);
        b.key("deep");
        b.begin_list();
        b.begin_list();
        b.end();
        b.end();
        b.key("long");
        text(b, "abc\u{e9}f");
        b.key("data");
        b.binary(&[0; 5], 70_000);
        b.end();
        b.end();
    });
    assert_eq!(
        value,
        json!([{"deep": {"@truncated": "depth"}, "long": "abc", "data": {"@binary": "AAAAAA==", "size": 70_000}}])
    );
    assert_eq!(
        sizes,
        BTreeMap::from([
            ("a.b.0.data".into(), 70_000),
            ("a.b.0.deep.count".into(), 1),
            ("a.b.0.long".into(), 6)
        ])
    );

    let bounds = Bounds { text: 10, ..WIDE };
    let (_, value, sizes) = build(bounds, |b| {
        b.begin_map(None, false);
        for key in ["a", "b", "c"] {
            b.key(key);
            text(b, "0123456789");
        }
        b.end();
    });
    assert_eq!(value, json!({"a": "012345678"}));
    assert_eq!(
        sizes,
        BTreeMap::from([("a.b.a".into(), 10), ("a.b.count".into(), 3)])
    );
}

#[test]
fn a_long_name_that_is_used_again_and_again_makes_no_long_value() {
    let wide = Bounds {
        values: 10_000,
        text: 1 << 20,
        one_text: 5000,
        depth: 40,
    };
    let fill = |b: &mut Builder<'_>| {
        let name = b.name(&"n".repeat(4000));
        b.begin_list();
        for _ in 0..1000 {
            for _ in 0..30 {
                let place = b.begin_map(Some(name), true);
                b.named(name);
                if b.depth() == 31 {
                    b.begin_list();
                    b.reference(place);
                    b.end();
                }
            }
            (0..30).for_each(|_| b.end());
        }
        b.end();
    };
    let length = |bounds| build(bounds, fill).1.to_string().len();
    assert!(length(wide) < 2 << 20, "{}", length(wide));
    let narrow = Bounds { text: 10_000, ..wide };
    assert!(length(narrow) < 20_000, "{}", length(narrow));
}

#[test]
fn lists_right_within_each_other_are_few_enough_for_search_servers() {
    let bounds = Bounds { depth: 100, ..WIDE };
    let nested = |maps: bool| {
        let (_, mut value, _) = build(bounds, |b| {
            for _ in 0..30 {
                b.begin_list();
                if maps {
                    b.begin_map(None, false);
                    b.key("k");
                }
            }
        });
        let mut depth = 0;
        while let Value::Array(mut list) = value {
            depth += 1;
            value = list.pop().unwrap_or_default();
            if maps && value.get("k").is_some() {
                value = value["k"].take();
            }
        }
        (depth, value)
    };
    assert_eq!(nested(false), (16, json!({"@truncated": "depth"})));
    assert_eq!(nested(true).0, 30);
}

#[test]
fn what_ends_too_early_is_kept_as_far_as_it_goes() {
    let (_, value, _) = build(WIDE, |b| {
        b.begin_list();
        b.begin_map(None, false);
        b.key("a");
        b.int(1);
        b.begin_list();
        b.int(5);
    });
    assert_eq!(
        value,
        json!([{"@entries": [["a", 1]]}]),
        "a key that is no text had begun"
    );
}

#[test]
fn parts_are_found_by_their_names() {
    let (json, ..) = build(WIDE, |b| {
        let kind = b.name("T");
        b.begin_map(Some(kind), false);
        b.key("list");
        b.begin_list();
        b.end();
        b.key("group");
        text(b, "blue");
        b.end();
    });
    assert_eq!(
        (json.get(Some("group")), json.get(Some("list")), json.get(None)),
        (Some("blue"), None, None)
    );
    assert_eq!(json.type_name(), Some("T"));
    let (json, ..) = build(WIDE, |b| {
        b.begin_list();
        text(b, "int");
        b.begin_list();
        b.end();
        text(b, "long");
        b.end();
    });
    assert_eq!(json.texts().collect::<Vec<_>>(), ["int", "", "long"]);
    for (hollow, (mut json, ..)) in [
        (true, build(WIDE, |b| b.null())),
        (
            true,
            build(WIDE, |b| {
                b.begin_list();
            }),
        ),
        (false, build(WIDE, |b| b.int(0))),
        (false, (json, Value::Null, BTreeMap::new())),
    ] {
        json.drop_hollow();
        assert_eq!(json.is_empty(), hollow);
    }
}

#[test]
fn secrets_are_told_by_their_values_too() {
    let random = "3f9a1c7be20d4a5688d1f0e7";
    let token = format!("ghp_{}", "a1B2c3".repeat(6));
    let (_, value, _) = build(WIDE, |builder| {
        builder.begin_list();
        builder.begin_map(None, false);
        for held in [random, "page1"] {
            builder.key("key");
            text(builder, held);
            builder.key(held);
            text(builder, held);
        }
        builder.key(&token);
        text(builder, &token);
        builder.end();
        builder.int(4_111_111_111_111_111);
        builder.unsigned(4_111_111_111_111_111);
        builder.int(4_111_111_111_111_112);
        text(builder, "5555 5555 5555 4444");
    });
    let object = json!({"@entries": [
        ["key", "<redacted>"],
        [random, random],
        ["key", "page1"],
        ["page1", "page1"],
        ["<redacted>", "<redacted>"],
    ]});
    assert_eq!(
        value,
        json!([
            object,
            "<redacted>",
            "<redacted>",
            4_111_111_111_111_112_i64,
            "<redacted>"
        ])
    );
}
