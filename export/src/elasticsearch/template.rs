//! An index template: types for the fields, before the first document makes the index.

use hyper::StatusCode;
use serde_json::{Value, json};

/// Above those that cover everything (a server's own are at 100 and below), below what an administrator sets on purpose.
const PRIORITY: u32 = 150;

/// The template of one index.
pub(super) struct Template {
    pub(super) name: String,
    pub(super) index: String,
    pub(super) mapping: Value,
}

impl Template {
    pub(super) fn path(&self) -> String {
        format!("_index_template/{}", self.name)
    }

    pub(super) fn body(&self) -> String {
        json!({
            "index_patterns": [self.index],
            "priority": PRIORITY,
            "template": {"mappings": self.mapping},
        })
        .to_string()
    }
}

/// True if this answer with the mapping of an index, or of those behind an alias, says of each that no fields are taken from
/// documents.
pub(super) fn lists_fields(answer: &[u8]) -> bool {
    let Ok(Value::Object(indices)) = serde_json::from_slice(answer) else {
        return false;
    };
    let lists = |index: &Value| {
        let dynamic = &index["mappings"]["dynamic"];
        *dynamic == false || *dynamic == "false" || *dynamic == "strict"
    };
    !indices.is_empty() && indices.values().all(lists)
}

/// True for refusals that concern the documents as well (wrong credentials) or pass by themselves: then the template is
/// tried again. Any other is this user's lack of the right.
pub(super) fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}
