//! Which indices documents go to, by their layout.

use super::template::Template;
use crate::batch::Doc;
use std::io::{self, Write};
use weir_config::{Elasticsearch as Settings, Layout};
use weir_records::{pipy, schema};

/// The index where none is named.
const DEFAULT: &str = "weir";
/// Only what is looked at comes back: a status a document, and the reason where it failed.
const BULK: &str = "_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

/// The indices of a sink.
#[derive(Debug)]
pub(super) enum Indices {
    /// One for all documents.
    One(String),
    /// One for each kind; this stands before the kind's name.
    ByKind(String),
}

impl Indices {
    /// Those that the settings name.
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let named = settings.index.as_deref();
        named.map_or(Ok(()), check)?;
        Ok(match settings.layout {
            Layout::Ecs => Self::One(named.unwrap_or(DEFAULT).to_owned()),
            Layout::Pipy => Self::ByKind(named.map(|name| format!("{name}-")).unwrap_or_default()),
            Layout::Datakit => {
                return Err("layout datakit is line protocol, which this server does not take".into());
            }
        })
    }

    /// Where bulk requests go.
    pub(super) fn bulk_path(&self) -> String {
        match self {
            Self::One(index) => format!("{index}/{BULK}"),
            Self::ByKind(_) => BULK.to_owned(),
        }
    }

    /// Writes what is to be done with a document: the line before it in a bulk request.
    pub(super) fn write_action(&self, document: &Doc, out: &mut impl Write) -> io::Result<()> {
        let id = document.id();
        match self {
            Self::One(_) => writeln!(out, r#"{{"index":{{"_id":"{id:032x}"}}}}"#),
            Self::ByKind(prefix) => {
                let kind = document.kind();
                writeln!(
                    out,
                    r#"{{"index":{{"_index":"{prefix}{kind}","_id":"{id:032x}"}}}}"#
                )
            }
        }
    }

    /// The templates of all of them.
    pub(super) fn templates(&self) -> Vec<Template> {
        match self {
            Self::One(index) => vec![Template {
                name: index.clone(),
                index: index.clone(),
                mapping: schema::mapping(),
            }],
            // `http` alone is a name that somebody else may have given to a template.
            Self::ByKind(prefix) => pipy::Index::ALL
                .into_iter()
                .map(|kind| Template {
                    name: format!("weir-pipy-{prefix}{}", kind.name()),
                    index: format!("{prefix}{}", kind.name()),
                    mapping: pipy::mapping(kind),
                })
                .collect(),
        }
    }
}

/// Refuses what the server would refuse with each document: see "Path parameters" of its create index API.
fn check(index: &str) -> Result<(), String> {
    let forbidden =
        |letter: char| letter.is_uppercase() || letter.is_control() || r##"\/*?"<>| ,#:%"##.contains(letter);
    if index.is_empty() || index.starts_with(['-', '_', '+', '.']) || index.contains(forbidden) {
        return Err(format!(
            "`{index}` is no index name: it must be in lower case, begin with a letter or digit, and hold no space \
             and none of \\ / * ? \" < > | , # : %"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::docs_in;
    use serde_json::{Value, json};

    fn indices(layout: Layout, index: Option<&str>) -> Indices {
        let mut settings = Settings::at("http://es.test").unwrap();
        settings.layout = layout;
        settings.index = index.map(ToOwned::to_owned);
        Indices::of(&settings).unwrap()
    }

    fn action(indices: &Indices, document: &Doc) -> Value {
        let mut line = Vec::new();
        indices.write_action(document, &mut line).unwrap();
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn all_documents_go_to_one_index_or_each_to_that_of_its_kind() {
        let id = |number: u64| weir_records::DocumentId::of(&number).to_string();
        let one = indices(Layout::Ecs, None);
        assert!(one.bulk_path().starts_with("weir/_bulk?"));
        assert_eq!(
            action(&one, &docs_in(Layout::Ecs, 0..1, 1)[0]),
            json!({"index": {"_id": id(0)}})
        );
        let named = indices(Layout::Ecs, Some("shop"));
        assert!(named.bulk_path().starts_with("shop/_bulk?"));
        for (name, index) in [(None, "http"), (Some("shop"), "shop-http")] {
            let each = indices(Layout::Pipy, name);
            assert!(each.bulk_path().starts_with("_bulk?"));
            let action = action(&each, &docs_in(Layout::Pipy, 0..1, 1)[0]);
            assert_eq!(action, json!({"index": {"_index": index, "_id": id(0)}}));
        }
    }

    #[test]
    fn each_index_has_its_template() {
        let names = |indices: Indices| -> Vec<_> {
            let templates = indices.templates().into_iter();
            templates
                .map(|template| (template.name, template.index))
                .collect()
        };
        let pair = |name: &str, index: &str| (name.to_owned(), index.to_owned());
        assert_eq!(names(indices(Layout::Ecs, None)), [pair("weir", "weir")]);
        assert_eq!(
            names(indices(Layout::Pipy, None)),
            [pair("weir-pipy-http", "http"), pair("weir-pipy-dubbo", "dubbo")]
        );
        assert_eq!(
            names(indices(Layout::Pipy, Some("shop"))),
            [
                pair("weir-pipy-shop-http", "shop-http"),
                pair("weir-pipy-shop-dubbo", "shop-dubbo")
            ]
        );
    }
}
