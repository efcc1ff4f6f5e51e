//! Numbers that have names.

use std::borrow::Cow;

/// The usual serialization.
pub(super) const HESSIAN2: u8 = 2;
/// Hessian 2 by the library of its authors: the same bytes.
pub(super) const NATIVE_HESSIAN: u8 = 10;
/// Fastjson's text.
pub(super) const FASTJSON: u8 = 6;
/// Fastjson 2's binary form.
pub(super) const FASTJSON2: u8 = 23;

/// A serialization by its number, as Dubbo's configuration names it.
pub(super) fn serialization(number: u8) -> Option<&'static str> {
    Some(match number {
        HESSIAN2 => "hessian2",
        3 => "java",
        4 => "compactedjava",
        FASTJSON => "fastjson",
        7 => "nativejava",
        8 => "kryo",
        9 => "fst",
        NATIVE_HESSIAN => "native-hessian",
        11 => "avro",
        12 => "protostuff",
        16 => "gson",
        18 => "jackson",
        21 => "protobuf-json",
        22 => "protobuf",
        FASTJSON2 => "fastjson2",
        25 => "kryo2",
        27 => "msgpack",
        28 => "fury",
        31 => "custom-msgpack",
        _ => return None,
    })
}

/// Its name, or its number where it has none.
pub(super) fn serialization_name(number: u8) -> Cow<'static, str> {
    serialization(number).map_or_else(|| number.to_string().into(), Cow::Borrowed)
}

/// A response's status.
pub(super) fn status(number: u8) -> Option<&'static str> {
    Some(match number {
        20 => "OK",
        25 => "SERIALIZATION_ERROR",
        30 => "CLIENT_TIMEOUT",
        31 => "SERVER_TIMEOUT",
        35 => "CHANNEL_INACTIVE",
        40 => "BAD_REQUEST",
        50 => "BAD_RESPONSE",
        60 => "SERVICE_NOT_FOUND",
        70 => "SERVICE_ERROR",
        80 => "SERVER_ERROR",
        90 => "CLIENT_ERROR",
        100 => "SERVER_THREADPOOL_EXHAUSTED_ERROR",
        _ => return None,
    })
}

/// Its name, or its number where it has none.
pub(super) fn status_name(number: u8) -> Cow<'static, str> {
    status(number).map_or_else(|| number.to_string().into(), Cow::Borrowed)
}

/// The types that a method descriptor lists (JVM specification, 4.3): `ILjava/lang/String;[J` is `int`,
/// `java.lang.String`, `long[]`; how many there are, and so many of the first. `None` if it is none.
pub(super) fn parameter_types(descriptor: &str, max: usize) -> Option<(usize, Vec<String>)> {
    let (mut count, mut types) = (0, Vec::new());
    let mut rest = descriptor;
    while !rest.is_empty() {
        let (name, after) = type_name(rest)?;
        if count < max {
            types.push(name);
        }
        (rest, count) = (after, count + 1);
    }
    Some((count, types))
}

/// The type that a descriptor begins with, and what follows it.
fn type_name(descriptor: &str) -> Option<(String, &str)> {
    let inner = descriptor.trim_start_matches('[');
    let dimensions = descriptor.len() - inner.len();
    let kind = inner.chars().next()?;
    let mut rest = &inner[kind.len_utf8()..];
    let name = match kind {
        'Z' => "boolean",
        'B' => "byte",
        'S' => "short",
        'C' => "char",
        'I' => "int",
        'J' => "long",
        'F' => "float",
        'D' => "double",
        'V' => "void",
        'L' => {
            let (class, after) = rest.split_once(';')?;
            rest = after;
            class
        }
        _ => return None,
    };
    // No type of Java has more dimensions, and a few bytes must not become many.
    (dimensions <= 255).then(|| (name.replace('/', ".") + &"[]".repeat(dimensions), rest))
}

/// A type as Java's `Class.getName` and people write it: `[Ljava.lang.String;` is `java.lang.String[]`.
pub(super) fn readable_type(name: &str) -> String {
    match type_name(name).filter(|(_, rest)| name.starts_with('[') && rest.is_empty()) {
        Some((readable, _)) => readable,
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_lists_of_types() {
        let (count, types) = parameter_types("ZBSCIJFDLjava/lang/Integer;[[I[La/B;", 99).unwrap();
        assert_eq!(
            types,
            [
                "boolean",
                "byte",
                "short",
                "char",
                "int",
                "long",
                "float",
                "double",
                "java.lang.Integer",
                "int[][]",
                "a.B[]"
            ]
        );
        assert_eq!(count, types.len());
        assert_eq!(parameter_types("", 9).unwrap(), (0, Vec::new()));
        assert_eq!(parameter_types("IJ", 1).unwrap(), (2, vec!["int".to_owned()]));
        for wrong in ["X", "Ljava/lang", "[", "I[", "\u{e9}"] {
            assert_eq!(parameter_types(wrong, 9), None, "{wrong}");
        }
        assert_eq!(readable_type("[Ljava.lang.String;"), "java.lang.String[]");
        assert_eq!(readable_type("Int"), "Int");
    }
}
