//! Elasticsearch 7.10 and later, and OpenSearch: bulk requests into one index, or into one a kind of document.
//!
//! Spoken over hyper rather than through the `elasticsearch` crate. Weir needs two requests (`PUT _index_template` and
//! `POST _bulk`), and the crate's transport stands in the way of both: with rustls it trusts a list of authorities that
//! is compiled in instead of the system's, a `ca_file` only adds to that list, requests are compressed at a level that
//! costs more than decoding them did, it brings a second, older HTTP stack and a generated API that is never called, and
//! has never had a stable release. Its product check would refuse OpenSearch.
//!
//! A document is written with operation `index` under its own id: written twice, it overwrites itself. So everything
//! that failed, or whose answer never came, is simply sent again. Data streams, which take nothing but `create`, are
//! not supported yet.

mod answer;
mod bulk;
mod indices;
mod template;

use crate::{
    ExportError,
    batch::Doc,
    http::{Credentials, Request, Server, Target},
    runner::{Appetite, Failure, FailureKind, Sink, Verdict},
    stop::Stop,
};
use bytes::Bytes;
use hyper::Method;
use indices::Indices;
use std::{sync::Arc, time::Duration};
use template::Template;
use weir_config::Elasticsearch as Settings;

pub(crate) const KIND: &str = "elasticsearch";

/// The sink.
#[derive(Debug)]
pub(crate) struct Elasticsearch {
    indices: Indices,
    /// The templates are still to be installed.
    template: bool,
    bulk_bytes: usize,
    flush_interval: Duration,
    server: Server,
}

impl Elasticsearch {
    /// Refuses settings that can never work.
    pub(crate) fn check(settings: &Settings) -> Result<(), ExportError> {
        indices(settings)?;
        target(settings).check()
    }

    pub(crate) fn open(settings: &Settings, stop: Arc<Stop>) -> Result<Self, ExportError> {
        Ok(Self {
            indices: indices(settings)?,
            template: settings.template,
            bulk_bytes: usize::try_from(settings.bulk_bytes.0).unwrap_or(usize::MAX),
            flush_interval: settings.flush_interval.0,
            server: Server::new(target(settings), stop)?,
        })
    }

    /// Installs a template. Where this user may not, documents wait, unless their index is there and takes no fields from them:
    /// an index that the server makes without the template would take every name in the traffic for a field.
    fn install(&self, template: Template) -> Result<(), Failure> {
        let response = self.server.send(Request {
            method: Method::PUT,
            path: template.path(),
            content_type: "application/json",
            body: template.body().into(),
            gzipped: false,
        })?;
        let (index, status) = (&template.index, response.status);
        if status.is_success() {
            tracing::info!(index, "index template installed");
            return Ok(());
        }
        if template::may_pass(status) {
            return Err(answer::failure(&response));
        }
        let reason = answer::reason(&response.body);
        if self.has_own_fields(index)? {
            let status = status.as_u16();
            tracing::warn!(
                index,
                status,
                reason,
                "cannot install the index template; the index keeps its mapping"
            );
            return Ok(());
        }
        let help =
            "give this user the right to manage index templates, or install one and set `template: false`";
        let reason = format!("cannot install the template of index {index}: {status}: {reason}; {help}");
        Err(Failure::new(FailureKind::Slow, reason))
    }

    /// True if the index is there, and its mapping takes no fields from documents.
    fn has_own_fields(&self, index: &str) -> Result<bool, Failure> {
        let response = self.server.send(Request {
            method: Method::GET,
            path: format!("{index}/_mapping"),
            content_type: "application/json",
            body: Bytes::new(),
            gzipped: false,
        })?;
        Ok(response.status.is_success() && template::lists_fields(&response.body))
    }
}

fn indices(settings: &Settings) -> Result<Indices, ExportError> {
    Indices::of(settings).map_err(|reason| ExportError::Target {
        sink: KIND,
        target: settings.url.clone(),
        reason,
    })
}

fn target(settings: &Settings) -> Target<'_> {
    Target {
        sink: KIND,
        url: &settings.url,
        ca_file: settings.ca_file.as_deref(),
        credentials: match (&settings.api_key, &settings.username) {
            (Some(key), _) => Credentials::ApiKey(key),
            (None, Some(user)) => Credentials::User(user, settings.password.as_ref()),
            (None, None) => Credentials::Nobody,
        },
    }
}

impl Sink for Elasticsearch {
    fn appetite(&self) -> Appetite {
        Appetite {
            bytes: self.bulk_bytes,
            wait: self.flush_interval,
        }
    }

    /// Installs the index templates, before the first document makes an index.
    fn prepare(&mut self) -> Result<(), Failure> {
        if !self.template {
            return Ok(());
        }
        for template in self.indices.templates() {
            self.install(template)?;
        }
        self.template = false;
        Ok(())
    }

    fn deliver(&mut self, documents: &[Doc], verdicts: &mut [Verdict]) -> Result<(), Failure> {
        let response = self.server.send(Request {
            method: Method::POST,
            path: self.indices.bulk_path(),
            content_type: "application/x-ndjson",
            body: bulk::body(documents, &self.indices),
            gzipped: true,
        })?;
        if !response.status.is_success() {
            return Err(answer::failure(&response));
        }
        bulk::judge(&response.body, verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
    };
    use weir_config::Layout;

    fn refused(change: impl FnOnce(&mut Settings)) -> Option<String> {
        let mut settings = Settings::at("https://es.test").unwrap();
        change(&mut settings);
        let opened = Elasticsearch::open(&settings, Arc::new(Stop::new()));
        opened.err().map(|error| error.to_string())
    }

    /// A server that refuses templates and says this of the index's mapping; gives what a sink makes of that.
    fn prepared(mapping: &str) -> Result<(), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = Settings::at(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let answers = [
            (403, r#"{"error":{"type":"security_exception","reason":"no"}}"#),
            (200, mapping),
        ];
        let answers = answers.map(|(status, body)| {
            format!(
                "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                for answer in answers {
                    let (mut line, mut length) = (String::new(), 0);
                    while reader.read_line(&mut line).unwrap() > 2 {
                        let lower = line.to_lowercase();
                        if let Some(said) = lower.strip_prefix("content-length: ") {
                            length = said.trim().parse().unwrap();
                        }
                        line.clear();
                    }
                    reader.read_exact(&mut vec![0; length]).unwrap();
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
            Elasticsearch::open(&settings, Arc::new(Stop::new()))
                .unwrap()
                .prepare()
        })
    }

    #[test]
    fn without_its_template_no_index_is_made() {
        for mapping in [
            "{}",
            r#"{"weir":{"mappings":{"dynamic":"true"}}}"#,
            r#"{"weir":{"mappings":{}}}"#,
        ] {
            let failure = prepared(mapping).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Slow);
            assert!(failure.reason.contains("`template: false`"), "{}", failure.reason);
        }
        for dynamic in [r#""false""#, "false", r#""strict""#] {
            prepared(&format!(r#"{{"weir-1":{{"mappings":{{"dynamic":{dynamic}}}}}}}"#)).unwrap();
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_at_start() {
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "no certificate").unwrap();
        for index in ["", "Weir", "_weir", "a/b", "a b", "a*", "a\nb"] {
            for layout in [Layout::Ecs, Layout::Pipy] {
                let error = refused(|settings| {
                    settings.index = Some(index.into());
                    settings.layout = layout;
                });
                assert!(error.unwrap().contains("is no index name"), "{index} {layout}");
            }
        }
        let error = refused(|settings| settings.ca_file = Some(text.path().into())).unwrap();
        assert!(error.contains("holds no certificate"), "{error}");
        let error = refused(|settings| settings.ca_file = Some("/nowhere".into())).unwrap();
        assert!(error.contains("/nowhere"), "{error}");
        let error = refused(|settings| settings.url = "https://a b".into()).unwrap();
        assert!(error.contains("not an address"), "{error}");
        let error = refused(|settings| {
            settings.url = "http://es.test".into();
            settings.ca_file = Some(text.path().into());
        });
        assert!(error.unwrap().contains("only with https"));
        assert_eq!(
            refused(|settings| settings.url = "http://[::1]:9200/below/".into()),
            None
        );
    }
}
