//! The Elasticsearch mapping of the two indices.

use super::Index;
use crate::schema::LONGEST_KEYWORD;
use serde_json::{Map, Value, json};

/// `mappings` of an index template.
///
/// Texts are what Elasticsearch makes of them by itself, `text` with a `keyword` below, since that is what there are
/// dashboards on; but an argument may be any plain value, and nothing that is not named here makes the mapping grow.
pub fn mapping(index: Index) -> Value {
    let fields: &[(&str, fn() -> Value)] = match index {
        Index::Http => &[("time", time), ("host", text), ("path", text), ("headers", words)],
        Index::Dubbo => &[
            ("time", time),
            ("dubboVer", text),
            ("interface", text),
            ("ver", text),
            ("method", text),
            ("args", text),
            ("raw", words),
        ],
    };
    let fields = fields.iter().map(|(name, kind)| ((*name).to_owned(), kind()));
    json!({"dynamic": false, "properties": fields.collect::<Map<_, _>>()})
}

fn time() -> Value {
    json!({"type": "date", "format": "epoch_millis"})
}

fn text() -> Value {
    let keyword = json!({"type": "keyword", "ignore_above": LONGEST_KEYWORD});
    json!({"type": "text", "norms": false, "fields": {"keyword": keyword}})
}

/// Searched by words alone.
fn words() -> Value {
    json!({"type": "text", "norms": false})
}
