//! That it writes what `serde_json` writes, with more controls escaped.

use super::write_json;
use proptest::prelude::*;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write};

fn ours(value: &impl Serialize) -> String {
    let mut out = b"before".to_vec();
    write_json(&mut out, value).unwrap();
    String::from_utf8(out.split_off(6)).unwrap()
}

/// What is written of a value; the controls stand in strings.
fn expected(value: &impl Serialize) -> String {
    let mut out = String::new();
    for c in serde_json::to_string(value).unwrap().chars() {
        match c {
            '\u{7f}'..='\u{9f}' => write!(out, "\\u{:04x}", u32::from(c)).unwrap(),
            _ => out.push(c),
        }
    }
    out
}

#[derive(Serialize)]
enum Variant {
    Unit,
    Newtype(u8),
    Tuple(i64, f32),
    Struct { inner: Option<bool>, none: Option<u8> },
}

#[derive(Serialize)]
struct Nothing;

#[derive(Serialize)]
struct Every<'a> {
    variants: [Variant; 4],
    nothing: Nothing,
    unit: (),
    pair: (char, &'a str),
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u8>,
    map: BTreeMap<&'a str, u128>,
    numbers: (i8, i16, i32, i128, u16, u32, u64),
    floats: [f64; 5],
    empty: [Vec<u8>; 1],
}

#[test]
fn every_kind_of_value_is_written_as_by_serde_json() {
    let value = Every {
        variants: [
            Variant::Unit,
            Variant::Newtype(7),
            Variant::Tuple(i64::MIN, 0.1),
            Variant::Struct {
                inner: Some(true),
                none: None,
            },
        ],
        nothing: Nothing,
        unit: (),
        pair: ('"', "\u{1f}\u{7f}é\u{10ffff}\\/\u{8}\u{c}\n\r\t"),
        left_out: None,
        map: [("a\"b", u128::MAX), ("", 0)].into(),
        numbers: (-1, -2, -3, i128::MIN, 4, 5, u64::MAX),
        floats: [0.0, -0.0, 1e300, f64::NAN, 0.1 + 0.2],
        empty: [Vec::new()],
    };
    assert_eq!(ours(&value), expected(&value));
}

#[test]
fn controls_that_terminals_obey_are_escaped() {
    for (text, expected) in [
        ("\u{7f}", r#""\u007f""#),
        ("a\u{9b}2J", r#""a\u009b2J""#),
        ("\u{80}\u{9f}\u{a0}\u{bf}", "\"\\u0080\\u009f\u{a0}\u{bf}\""),
        (
            "caf\u{e9} \u{9b}, more than sixteen bytes",
            "\"caf\u{e9} \\u009b, more than sixteen bytes\"",
        ),
    ] {
        assert_eq!(ours(&text), expected);
        assert_eq!(serde_json::from_str::<String>(&ours(&text)).unwrap(), text);
    }
}

#[test]
fn a_key_that_is_no_text_is_an_error() {
    let error = write_json(&mut Vec::new(), &BTreeMap::from([(vec![1], 2)])).unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[a-z\u{7e}-\u{c2}]{0,40}".prop_map(Value::from),
        "[a-z\"\\\\\u{0}-\u{20}]{0,70}".prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\u{1}]{0,20}", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_written_as_by_serde_json(value in values()) {
        prop_assert_eq!(ours(&value), expected(&value));
    }
}
