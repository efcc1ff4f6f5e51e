//! The field reference for people.

use super::{Field, Kind, fields};
use std::fmt::Write;

const HEAD: &str = "# Fields

<!-- Generated from the types in records/: cargo run -p weir-records --example fields > docs/fields.md -->

Weir writes one document an exchange, as nested JSON: `http.response.status_code` stands for
`{\"http\": {\"response\": {\"status_code\": 200}}}`. Names are those of the Elastic Common Schema, or of OpenTelemetry where
that has none; Weir's own are under `weir`. A field that is not known is left out, never guessed: only those marked
*always* are in every document. A type with `[]` is an array.

Types are those of the index template that Weir installs. `keyword` takes the whole value, and of one that is longer than
8191 characters only the document knows; `keyword, text` can also be searched by words, as `url.path.text`. `map` is an
object whose keys are data: it is kept in the document, but not indexed, so that no traffic can make the index's mapping
grow; the same holds for `json`, any JSON value, and for anything that is not listed here.
";

/// The field reference, in Markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_string();
    let mut group = String::new();
    for field in fields() {
        let parent = field.name.split_once('.').map_or("", |(parent, _)| parent);
        if group != parent || text.len() == HEAD.len() {
            group = parent.into();
            text += &heading(parent);
        }
        text += &row(&field);
    }
    text
}

fn heading(group: &str) -> String {
    let title = match group {
        "" => "The document".into(),
        group => format!("`{group}`"),
    };
    format!("\n## {title}\n\n| field | type | | meaning |\n|---|---|---|---|\n")
}

fn row(field: &Field) -> String {
    let brackets = if field.repeated { "[]" } else { "" };
    let always = if field.required { "always" } else { "" };
    let mut meaning = field.description.replace('|', "\\|");
    if !field.values.is_empty() {
        let _ = write!(meaning, " One of `{}`.", field.values.join("`, `"));
    }
    format!(
        "| `{}` | {}{brackets} | {always} | {meaning} |\n",
        field.name,
        type_name(field.kind)
    )
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Keyword => "keyword",
        Kind::Text => "keyword, text",
        Kind::Words => "text",
        Kind::Integer => "long",
        Kind::Boolean => "boolean",
        Kind::Ip => "ip",
        Kind::Date => "date_nanos",
        Kind::Map => "map",
        Kind::Json => "json",
    }
}
