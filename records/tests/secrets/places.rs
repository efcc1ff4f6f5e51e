//! Where a value may stand, and what a document shows of that.

use serde::Serialize;
use std::collections::BTreeMap;
use weir_config::Records;
use weir_records::{Bounds, Builder, Json, Policy, write_json};

/// What a peer sends, and by which way it gets into a document.
pub enum Put {
    Header(String, String),
    Target(String),
    Form(String),
    Body(String),
    Text(String),
    /// A map of arguments, or a text among them.
    Argument(Option<String>, String),
}

/// Puts a value at a name; one that is known by its shape has none. Nothing, where it can't stand there.
type Place = fn(Option<&str>, &str) -> Option<Put>;

/// The name of a value that is known by its shape.
const ANY: &str = "x-data";

pub const PLACES: &[(&str, Place)] = &[
    ("a header", |name, value| {
        line(value).then(|| Put::Header(name.unwrap_or(ANY).to_lowercase(), value.into()))
    }),
    ("metadata of gRPC", |name, value| {
        let name = name.unwrap_or(ANY).to_lowercase();
        line(value).then(|| Put::Header(format!("{name}-bin"), value.into()))
    }),
    ("a query", |name, value| {
        Some(Put::Target(format!("/a?b=c&{}&d=e", pair(name, value))))
    }),
    ("a query within a query", |name, value| {
        let inner = encoded(&format!("/a?{}", pair(name, value)));
        Some(Put::Target(format!("/to?next={}&b=c", encoded(&inner))))
    }),
    ("the target of a redirection", |name, value| {
        Some(Put::Header(
            "location".into(),
            format!("https://shop.example/cb?{}", pair(name, value)),
        ))
    }),
    ("a form", |name, value| {
        Some(Put::Form(format!("user=a&{}&b=c", pair(name, value))))
    }),
    ("JSON", |name, value| {
        Some(Put::Body(format!(
            "{{\"user\":\"a\",{}:{}}}",
            quoted(name.unwrap_or(ANY)),
            quoted(value)
        )))
    }),
    ("JSON in a string of JSON", |name, value| {
        let inner = format!("{{{}:{}}}", quoted(name.unwrap_or(ANY)), quoted(value));
        Some(Put::Body(format!("{{\"log\":{}}}", quoted(&inner))))
    }),
    ("JSON in a header", |name, value| {
        let json = format!("{{{}:{}}}", quoted(name.unwrap_or(ANY)), quoted(value));
        Some(Put::Header("x-user-context".into(), json))
    }),
    ("XML", |name, value| {
        let name = name.unwrap_or(ANY);
        // (Text of XML has no such characters.)
        let can = !value.contains(['&', '<', '"']);
        can.then(|| Put::Body(format!("<a><b>c</b><{name}>{value}</{name}></a>")))
    }),
    ("an attribute of XML", |name, value| {
        let can = !value.contains(['&', '<', '"']);
        can.then(|| Put::Body(format!("<a b=\"c\" {}=\"{value}\"/>", name.unwrap_or(ANY))))
    }),
    ("free text", |name, value| match name {
        Some(name) if line(value) => Some(Put::Body(format!("failed with\n{name}: {value}\nuser: a"))),
        Some(_) => None,
        None => Some(Put::Body(format!("failed with {value} of a"))),
    }),
    ("a message of an error", |name, value| match name {
        Some(name) => line(value).then(|| Put::Text(format!("failed with {name}='{value}'"))),
        None => Some(Put::Text(format!("failed with '{value}'"))),
    }),
    ("an object of Dubbo", |name, value| {
        Some(Put::Argument(Some(name.unwrap_or(ANY).into()), value.into()))
    }),
    ("a text of Dubbo", |name, value| match name {
        Some(name) => line(value).then(|| Put::Argument(None, format!("{name}: {value}"))),
        None => Some(Put::Argument(None, value.into())),
    }),
];

fn line(value: &str) -> bool {
    !value.contains('\n')
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn pair(name: Option<&str>, value: &str) -> String {
    format!("{}={}", name.unwrap_or(ANY), encoded(value))
}

/// Percent-encoded, as a form has it.
pub fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Text(String),
    Headers(BTreeMap<String, String>),
    Value(Json),
}

/// The JSON that leaves the process.
pub fn shown(put: &Put) -> String {
    let policy = Policy::new(&Records {
        max_header_value: 8192,
        max_url: 8192,
        ..Records::default()
    });
    let shown = match put {
        Put::Header(name, value) => {
            let value = policy
                .header(name, value.as_str())
                .keep(&mut BTreeMap::new(), String::new);
            Shown::Headers([(name.clone(), value)].into())
        }
        Put::Target(target) => Shown::Text(
            policy
                .url(target.as_str())
                .keep(&mut BTreeMap::new(), String::new),
        ),
        Put::Form(body) => Shown::Text(policy.form_body(body).into_owned()),
        Put::Body(body) => Shown::Text(policy.body(body).into_owned()),
        Put::Text(text) => Shown::Text(policy.text(text.as_str()).keep(&mut BTreeMap::new(), String::new)),
        Put::Argument(name, value) => Shown::Value(argument(&policy, name.as_deref(), value)),
    };
    let mut out = Vec::new();
    write_json(&mut out, &shown).unwrap();
    String::from_utf8(out).unwrap()
}

fn argument(policy: &Policy, name: Option<&str>, value: &str) -> Json {
    let mut builder = Builder::new(
        policy,
        Bounds {
            values: 100,
            text: 1 << 16,
            one_text: 1 << 13,
            depth: 8,
        },
    );
    builder.begin_list();
    match name {
        Some(name) => {
            builder.begin_map(None, true);
            builder.key(name);
            builder.text(value, value.len() as u64);
            builder.end();
        }
        None => builder.text(value, value.len() as u64),
    }
    builder.finish("dubbo.args", &mut BTreeMap::new())
}
