//! The Elasticsearch mapping of a document, in types that Elasticsearch 7.10 without X-Pack and OpenSearch both know.

use super::{Kind, fields};
use serde_json::{Map, Value, json};

/// A longer text is kept but not indexed. Lucene refuses a term of more than 32766 bytes, and with it the document; a
/// character takes at most 4 of them.
pub(crate) const LONGEST_KEYWORD: u32 = 8191;

/// `mappings` of the index template.
///
/// Whatever is not named here is kept in the document and not indexed (`dynamic: false`), so that no traffic can make the
/// mapping grow. The same goes for objects whose keys are data (headers): `flattened` would make them searchable, but
/// belongs to X-Pack, OpenSearch calls it otherwise, and both refuse a list of objects and plain values. Values of any shape
/// (arguments of calls) are not even parsed; what can be searched for in them is beside them as text. Times are `date_nanos`, so that documents of the same millisecond keep their order.
pub fn mapping() -> Value {
    let mut root = Map::new();
    for field in fields() {
        insert(&mut root, &field.name, leaf(field.kind));
    }
    json!({"dynamic": false, "properties": root})
}

fn leaf(kind: Kind) -> Value {
    match kind {
        Kind::Keyword => json!({"type": "keyword", "ignore_above": LONGEST_KEYWORD}),
        Kind::Text => json!({
            "type": "keyword",
            "ignore_above": LONGEST_KEYWORD,
            "fields": {"text": {"type": "text", "norms": false}},
        }),
        Kind::Words => json!({"type": "text", "norms": false}),
        Kind::Integer => json!({"type": "long"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Ip => json!({"type": "ip"}),
        Kind::Date => json!({"type": "date_nanos"}),
        Kind::Map | Kind::Json => json!({"type": "object", "enabled": false}),
    }
}

/// Puts a field at its place in the tree of `properties`.
fn insert(properties: &mut Map<String, Value>, name: &str, leaf: Value) {
    let Some((parent, rest)) = name.split_once('.') else {
        properties.insert(name.into(), leaf);
        return;
    };
    let inner = properties
        .entry(parent)
        .or_insert_with(|| json!({"properties": {}}))
        .get_mut("properties")
        .and_then(Value::as_object_mut);
    if let Some(inner) = inner {
        insert(inner, rest, leaf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field_has_its_type() {
        let mapping = mapping();
        let at = |path: &str| {
            let pointer = format!("/properties/{}", path.replace('.', "/properties/"));
            mapping.pointer(&pointer).cloned().unwrap_or_default()
        };
        assert_eq!(at("@timestamp")["type"], "date_nanos");
        assert_eq!(at("source.ip")["type"], "ip");
        assert_eq!(at("destination.port")["type"], "long");
        assert_eq!(at("http.response.status_code")["type"], "long");
        assert_eq!(at("event.category")["type"], "keyword");
        assert_eq!(at("event.id")["type"], "keyword");
        assert_eq!(at("event.outcome")["type"], "keyword");
        assert_eq!(at("dns.answers.ttl")["type"], "long");
        assert_eq!(at("dns.resolved_ip")["type"], "ip");
        assert_eq!(at("weir.dns.rcode")["type"], "long");
        assert_eq!(at("weir.truncated")["type"], "boolean");
        assert_eq!(at("url.path")["fields"]["text"]["type"], "text");
        assert_eq!(
            at("http.request.headers"),
            json!({"type": "object", "enabled": false})
        );
        assert_eq!(at("dubbo.args"), json!({"type": "object", "enabled": false}));
        assert_eq!(at("dubbo.result")["enabled"], false);
        assert_eq!(at("dubbo.args_text"), json!({"type": "text", "norms": false}));
        assert_eq!(at("rpc.system.name")["type"], "keyword");
        assert_eq!(at("dubbo.request_id")["type"], "long");
        assert_eq!(at("weir.original_sizes")["enabled"], false);
        assert_eq!(mapping["dynamic"], false);
    }
}
