use super::*;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};
use weir_config::Records;
use weir_records::{Bounds, Builder, Policy};

const BOUNDS: Bounds = Bounds {
    values: 100_000,
    text: 1 << 20,
    one_text: 100_000,
    depth: 40,
};

fn read_within(bytes: &[u8], bounds: Bounds) -> (Value, BTreeMap<String, u64>, Read<()>) {
    let policy = Policy::new(&Records::default());
    let mut builder = Builder::new(&policy, bounds);
    let mut reader = Reader::new(bytes);
    let read = reader.value(&mut builder);
    assert!(read.is_err() || reader.is_done(), "bytes are left");
    let mut sizes = BTreeMap::new();
    let json = builder.finish("", &mut sizes);
    let text = serde_json::to_string(&json).unwrap();
    (serde_json::from_str(&text).unwrap(), sizes, read)
}

fn read(bytes: &[u8]) -> Value {
    let (value, _, read) = read_within(bytes, BOUNDS);
    assert_eq!(read, Ok(()));
    value
}

/// A short string.
fn s(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

#[test]
fn numbers_of_every_width() {
    for (bytes, number) in [
        (&b"\x90"[..], 0),
        (b"\x80", -16),
        (b"\xbf", 47),
        (b"\xc8\x30", 48),
        (b"\xc0\x00", -2048),
        (b"\xcf\xff", 2047),
        (b"\xd0\x00\x00", -262_144),
        (b"\xd7\xff\xff", 262_143),
        (b"I\x80\x00\x00\x00", i64::from(i32::MIN)),
        (b"\xd8", -8),
        (b"\xe0", 0),
        (b"\xef", 15),
        (b"\xf0\x00", -2048),
        (b"\xff\xff", 2047),
        (b"\x38\x00\x00", -262_144),
        (b"\x3f\xff\xff", 262_143),
        (b"Y\x80\x00\x00\x00", i64::from(i32::MIN)),
        (b"L\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
    ] {
        assert_eq!(read(bytes), number, "{bytes:x?}");
    }
    for (bytes, number) in [
        (&b"\x5b"[..], json!(0.0)),
        (b"\x5c", json!(1.0)),
        (b"\x5d\x80", json!(-128.0)),
        (b"\x5e\x80\x00", json!(-32768.0)),
        (b"\x5f\x00\x00\x2f\xda", json!(12.25)),
        (b"\x5f\x00\x00\x04\xce", json!(1.23)),
        (b"D\x40\x28\x80\x00\x00\x00\x00\x00", json!(12.25)),
        (b"D\x7f\xf8\x00\x00\x00\x00\x00\x00", json!("NaN")),
        (b"D\x7f\xf0\x00\x00\x00\x00\x00\x00", json!("Infinity")),
        (b"D\xff\xf0\x00\x00\x00\x00\x00\x00", json!("-Infinity")),
    ] {
        assert_eq!(read(bytes), number, "{bytes:x?}");
    }
    assert_eq!(read(b"T"), true);
    assert_eq!(read(b"F"), false);
    assert_eq!(read(b"N"), Value::Null);
}

#[test]
fn dates_of_both_widths() {
    assert_eq!(
        read(b"J\x00\x00\x00\xd0\x4b\x92\x84\xb8"),
        "1998-05-08T09:51:31.000Z"
    );
    assert_eq!(read(b"K\x00\xe3\x83\x8f"), "1998-05-08T09:51:00.000Z");
}

#[test]
fn strings_in_chunks_and_surrogates() {
    let wide = "\u{5b57}".repeat(300);
    for (bytes, text) in [
        (b"\x00".to_vec(), ""),
        (b"\x05hello".to_vec(), "hello"),
        ([&b"\x31\x2c"[..], wide.as_bytes()].concat(), wide.as_str()),
        (b"R\x00\x02heS\x00\x03llo".to_vec(), "hello"),
        (b"R\x00\x01hR\x00\x01e\x01l".to_vec(), "hel"),
        // Two surrogates of three bytes each, together and in two chunks.
        (b"\x04a\xed\xa0\xbc\xed\xbc\x8db".to_vec(), "a\u{1f30d}b"),
        (
            b"R\x00\x01\xed\xa0\xbcS\x00\x01\xed\xbc\x8d".to_vec(),
            "\u{1f30d}",
        ),
        // Four bytes, which some write instead; counted as two units or as one.
        (b"\x03\xf0\x9f\x8c\x8db".to_vec(), "\u{1f30d}b"),
        (b"\x01\xf0\x9f\x8c\x8d".to_vec(), "\u{1f30d}"),
        // Half a pair is no character.
        (b"\x02\xed\xa0\xbcx".to_vec(), "\u{fffd}x"),
        (b"\x01\xed\xbc\x8d".to_vec(), "\u{fffd}"),
        (b"\x01\xed\xa0\xbc".to_vec(), "\u{fffd}"),
    ] {
        assert_eq!(read(&bytes), text);
    }
    assert!(matches!(
        read_within(b"\x02\x80a", BOUNDS).2,
        Err(Fault::Malformed(_))
    ));
    assert!(matches!(
        read_within(b"R\x00\x01aN", BOUNDS).2,
        Err(Fault::Malformed(_))
    ));
}

#[test]
fn binary_data_in_chunks() {
    assert_eq!(read(b"\x23\x01\x02\x03"), json!({"@binary": "AQID", "size": 3}));
    assert_eq!(read(b"\x20"), json!({"@binary": "", "size": 0}));
    assert_eq!(
        read(b"A\x00\x01\x01A\x00\x01\x02B\x00\x01\x03"),
        json!({"@binary": "AQID", "size": 3})
    );
    let long = [&b"\x35\x00"[..], &[7; 256]].concat();
    let bounds = Bounds {
        one_text: 3,
        ..BOUNDS
    };
    let (value, sizes, _) = read_within(&long, bounds);
    assert_eq!(value, json!({"@binary": "BwcH", "size": 256}));
    assert_eq!(sizes, BTreeMap::from([(String::new(), 256)]));
}

#[test]
fn lists_of_every_form() {
    let int = s("[int");
    for bytes in [
        [&b"\x72"[..], &int, b"\x91\x92"].concat(),
        [&b"V"[..], &int, b"\x92\x91\x92"].concat(),
        [&b"U"[..], &int, b"\x91\x92Z"].concat(),
        b"\x7a\x91\x92".to_vec(),
        b"X\x92\x91\x92".to_vec(),
        b"W\x91\x92Z".to_vec(),
    ] {
        assert_eq!(read(&bytes), json!([1, 2]), "{bytes:x?}");
    }
    // The second one's type is the number of the first one's.
    let twice = [&b"\x7a\x70"[..], &int, b"\x71\x90\x91"].concat();
    assert_eq!(read(&twice), json!([[], [1]]));
    assert!(matches!(
        read_within(b"\x70\x91", BOUNDS).2,
        Err(Fault::Malformed(_))
    ));
}

#[test]
fn maps_typed_and_untyped() {
    assert_eq!(read(b"H\x01a\x91\x01b\x92Z"), json!({"a": 1, "b": 2}));
    let typed = |kind: &str| [&b"M"[..], &s(kind), b"\x01a\x91Z"].concat();
    assert_eq!(read(&typed("x.Bean")), json!({"@type": "x.Bean", "a": 1}));
    assert_eq!(read(&typed("java.util.TreeMap")), json!({"a": 1}));
    assert_eq!(read(&typed("")), json!({"a": 1}));
    assert_eq!(
        read(b"H\x93\x01cN\x01dZ"),
        json!({"@entries": [[3, "c"], [null, "d"]]})
    );
    assert_eq!(read(b"H\x08password\x01xZ"), json!({"password": "<redacted>"}));
}

#[test]
fn objects_references_and_cycles() {
    let class = [&b"C"[..], &s("x.Node"), b"\x92", &s("name"), &s("next")].concat();
    let bytes = [
        &b"\x7a"[..],
        &class,
        b"\x60\x01a\x60\x01bQ\x91",
        b"O\x90\x01cQ\x92",
    ]
    .concat();
    assert_eq!(
        read(&bytes),
        json!([
            {"@type": "x.Node", "name": "a", "next": {"@type": "x.Node", "name": "b", "next": {"@ref": "/0"}}},
            {"@type": "x.Node", "name": "c", "next": {"@ref": "/0/next"}},
        ])
    );
    let (value, _, read) = read_within(b"\x79Q\x95", BOUNDS);
    assert_eq!((value, read), (json!([{"@ref": null}]), Ok(())), "to nothing");
    assert!(matches!(read_within(b"\x60", BOUNDS).2, Err(Fault::Malformed(_))));
    // Fields with the same name: a class and the one that it extends.
    let twice = [&b"C"[..], &s("x.B"), b"\x92", &s("id"), &s("id"), b"\x60\x91\x92"].concat();
    assert_eq!(
        super::tests::read(&twice),
        json!({"@type": "x.B", "@entries": [["id", 1], ["id", 2]]})
    );
}

#[test]
fn nothing_is_allocated_for_what_a_length_claims() {
    for bytes in [
        &b"XI\x7f\xff\xff\xff\x91"[..],
        b"C\x01aI\x7f\xff\xff\xff\x01b",
        b"S\xff\xffabc",
        b"B\xff\xffabc",
        b"J\x00",
        b"H\x01a",
        b"",
    ] {
        let (_, _, read) = read_within(bytes, BOUNDS);
        assert_eq!(read, Err(Fault::End), "{bytes:x?}");
    }
    assert_eq!(
        read_within(b"XI\x7f\xff\xff\xff\x91\x92", BOUNDS).0,
        json!([1, 2])
    );
    assert_eq!(read_within(b"S\xff\xffabc", BOUNDS).0, "abc");
    let deep = [0x79; 100_000];
    assert!(matches!(read_within(&deep, BOUNDS).2, Err(Fault::Malformed(_))));
    // A long name again and again: the bound for text holds.
    let mut echo = [&b"WM\x53\x03\xe8"[..], &[b'n'; 1000], b"Z"].concat();
    (0..1000).for_each(|_| echo.extend(b"M\x90Z"));
    echo.push(b'Z');
    let bounds = Bounds {
        text: 10_000,
        ..BOUNDS
    };
    let (value, _, _) = read_within(&echo, bounds);
    assert!(value.to_string().len() < 2_000_000, "{}", value.to_string().len());
}

/// What another decoder says of these values, in its own words.
fn plain(value: &Value) -> Value {
    let Value::Object(object) = value else {
        return match value {
            Value::Array(list) => list.iter().map(plain).collect(),
            Value::Number(number)
                if number
                    .as_f64()
                    .is_some_and(|n| n.fract() == 0.0 && n.abs() < 1e15) =>
            {
                json!(number.as_f64().unwrap() as i64)
            }
            other => other.clone(),
        };
    };
    if object.contains_key("@ref") {
        return "<ref>".into();
    }
    let mut plainly = Map::new();
    for pair in object
        .get("@entries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let key = &pair[0];
        let key = key.as_str().map_or_else(|| key.to_string(), Into::into);
        plainly.insert(key, plain(&pair[1]));
    }
    for (key, value) in object.iter().filter(|(key, _)| !key.starts_with('@')) {
        plainly.insert(key.clone(), plain(value));
    }
    plainly.into()
}

#[test]
fn golden_values() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let corpus = std::env::var_os("WEIR_CORPUS").map_or(beside, PathBuf::from);
    let directory = corpus.join("hessian2");
    let Ok(list) = fs::read_to_string(directory.join("decoded_by_hessianjs.tsv")) else {
        return eprintln!("SKIPPED golden_values: there is no {}", directory.display());
    };
    let mut compared = 0;
    for line in list.lines() {
        let (name, expected) = line.split_once('\t').unwrap();
        let value = read(&fs::read(directory.join(name)).unwrap());
        compared += 1;
        if expected.starts_with("ERR ") {
            // What that decoder can't read is read all the same.
            assert!(value.is_array(), "{name}: {value}");
            continue;
        }
        if name.starts_with("throw_") {
            // It gives an error of its own language for an exception, and its lines are cut.
            let class = &value["@type"];
            let message = Some(&value["detailMessage"]).filter(|message| !message.is_null());
            let message = message.unwrap_or(class);
            let begins = format!("{{\"message\":{message},\"name\":{class}");
            let other = expected.starts_with("{\"suppressedExceptions\"") && class == "java.lang.Throwable";
            assert!(
                other || expected.starts_with(&begins),
                "{name}: {begins} {expected}"
            );
            continue;
        }
        let expected: Value = match serde_json::from_str(expected) {
            Ok(expected) => expected,
            Err(error) => {
                assert!(error.is_eof(), "{name}: {error}");
                continue;
            }
        };
        assert_eq!(plain(&value), plain(&expected), "{name}");
    }
    assert!(compared > 80, "{compared}");
}
