//! The Elasticsearch mapping of the two indices.

use super::Index;
use crate::schema::LONGEST_KEYWORD;
use serde_json::{Map, Value, json};

/// `mappings` of an index template.
///
/// Texts are what Elasticsearch makes of them by itself, `text` with a `keyword` below, since that is what there are
/// dashboards on; but an argument may be any plain value, and nothing that is not named here makes the mapping grow.
pub fn mapping(index: Index) -> Value {
    // What holds JSON is searched by words alone.
    let (texts, json): (&[&str], _) = match index {
        Index::Http => (&["host", "path"], "headers"),
        Index::Dubbo => (&["dubboVer", "interface", "ver", "method", "args"], "raw"),
    };
    let mut fields: Map<_, _> = texts.iter().map(|name| ((*name).to_owned(), text())).collect();
    fields.insert(
        "time".to_owned(),
        json!({"type": "date", "format": "epoch_millis"}),
    );
    fields.insert(json.to_owned(), json!({"type": "text", "norms": false}));
    json!({"dynamic": false, "properties": fields})
}

fn text() -> Value {
    let keyword = json!({"type": "keyword", "ignore_above": LONGEST_KEYWORD});
    json!({"type": "text", "norms": false, "fields": {"keyword": keyword}})
}
