//! What counts of a request, of whichever source: a stored document, or one that has just been made.

use clap::ValueEnum;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap};
use weir_records::{Document, Endpoint, FLOW_DATASET, Outcome};

/// What requests are added up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The client's address.
    Source,
    /// The server's address and port.
    Destination,
    /// The host that was asked for; of Dubbo the interface; else the server's name, or its address and port.
    #[default]
    Service,
    /// The path, which of gRPC is service and method; of Dubbo interface and method; of DNS the name; else the kind of document.
    Path,
}

/// What is looked at of a document.
#[derive(Debug, Deserialize, PartialEq)]
pub struct Seen<'a> {
    #[serde(borrow)]
    event: Event<'a>,
    #[serde(borrow)]
    source: Peer<'a>,
    #[serde(borrow)]
    destination: Peer<'a>,
    #[serde(borrow, default)]
    url: Url<'a>,
    #[serde(borrow, default)]
    rpc: Rpc<'a>,
    #[serde(borrow, default)]
    dns: Dns<'a>,
    #[serde(borrow, default)]
    weir: Weir<'a>,
}

/// What a document tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request whose fate is known.
    Request,
    /// A request that waits for its answer.
    Waiting,
    /// Something that lasts as long as a connection, and is no request.
    Other,
}

/// Datasets of documents that are about no request. (A WebSocket's handshake has a document as a request.)
pub const NO_REQUESTS: [&str; 3] = [FLOW_DATASET, "weir.tls", "weir.websocket"];

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Event<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    dataset: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Option<Cow<'a, str>>,
    duration: Option<u64>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Peer<'a> {
    #[serde(borrow)]
    ip: Cow<'a, str>,
    port: u16,
    bytes: Option<u64>,
    #[serde(borrow)]
    domain: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Url<'a> {
    #[serde(borrow)]
    domain: Option<Cow<'a, str>>,
    port: Option<u16>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Rpc<'a> {
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Dns<'a> {
    #[serde(borrow)]
    question: Option<Question<'a>>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Question<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Weir<'a> {
    #[serde(borrow)]
    state: Option<Cow<'a, str>>,
    #[serde(borrow)]
    final_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    original_sizes: BTreeMap<Cow<'a, str>, u64>,
}

const FAILURE: &str = "failure";
const WAITING: &str = "waiting";

fn borrowed(text: &Option<impl std::ops::Deref<Target = str>>) -> Option<Cow<'_, str>> {
    text.as_deref().map(Cow::Borrowed)
}

impl<'a> Peer<'a> {
    fn of(endpoint: &'a Endpoint) -> Self {
        Self {
            ip: endpoint.ip.to_string().into(),
            port: endpoint.port,
            bytes: endpoint.bytes,
            domain: borrowed(&endpoint.domain),
        }
    }

    fn address(&self) -> String {
        match self.ip.contains(':') {
            true => format!("[{}]:{}", self.ip, self.port),
            false => format!("{}:{}", self.ip, self.port),
        }
    }
}

impl<'a> Seen<'a> {
    /// Of a document as it is stored.
    ///
    /// # Errors
    /// It is none.
    pub fn of_stored(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Of one that has not been written anywhere.
    pub fn of_document(document: &'a Document) -> Self {
        let event = &document.event;
        let outcome = event.outcome.map(|outcome| match outcome {
            Outcome::Success => "success",
            Outcome::Failure => FAILURE,
            Outcome::Unknown => "unknown",
        });
        let url = document.url.as_ref().map(|url| Url {
            domain: borrowed(&url.domain),
            port: url.port,
            path: borrowed(&url.path),
        });
        let question = document.dns.as_ref().and_then(|dns| dns.question.as_ref());
        let sizes = document.weir.original_sizes.iter();
        let sizes = sizes.map(|(name, size)| (Cow::from(name.as_str()), *size));
        Self {
            event: Event {
                id: event.id.to_string().into(),
                dataset: event.dataset.into(),
                outcome: outcome.map(Cow::Borrowed),
                duration: event.duration,
            },
            source: Peer::of(&document.source),
            destination: Peer::of(&document.destination),
            url: url.unwrap_or_default(),
            rpc: Rpc {
                method: document.rpc.as_ref().and_then(|rpc| borrowed(&rpc.method)),
            },
            weir: Weir {
                state: document.is_waiting().then_some(WAITING.into()),
                final_id: document.weir.final_id.map(|id| id.to_string().into()),
                original_sizes: sizes.collect(),
            },
            dns: Dns {
                question: question.map(|question| Question {
                    name: question.name.as_str().into(),
                }),
            },
        }
    }

    /// What it tells of.
    pub fn kind(&self) -> Kind {
        if NO_REQUESTS.contains(&&*self.event.dataset) {
            Kind::Other
        } else if self.weir.state.as_deref() == Some(WAITING) {
            Kind::Waiting
        } else {
            Kind::Request
        }
    }

    /// The identity of the document that tells how the request ended: this one, unless the request waits.
    pub fn id(&self) -> &str {
        self.weir.final_id.as_deref().unwrap_or(&self.event.id)
    }

    /// It was answered with an error, or not at all.
    pub fn has_failed(&self) -> bool {
        self.event.outcome.as_deref() == Some(FAILURE)
    }

    /// What both sides sent.
    pub fn bytes(&self) -> u64 {
        self.source.bytes.unwrap_or(0) + self.destination.bytes.unwrap_or(0)
    }

    /// How long it took, in ns.
    pub fn took(&self) -> Option<u64> {
        self.event.duration
    }

    /// What it is added up by.
    pub fn key(&self, by: By) -> Cow<'_, str> {
        match by {
            By::Source => (&*self.source.ip).into(),
            By::Destination => self.destination.address().into(),
            By::Service => self.service(),
            By::Path => self.path(),
        }
    }

    fn service(&self) -> Cow<'_, str> {
        if let Some(domain) = &self.url.domain {
            return match self.url.port {
                Some(port) => format!("{domain}:{port}").into(),
                None => (&**domain).into(),
            };
        }
        let interface = self
            .rpc
            .method
            .as_ref()
            .and_then(|method| method.rsplit_once('/'));
        match (interface, &self.destination.domain) {
            (Some((interface, _)), _) => interface.into(),
            (None, Some(domain)) => (&**domain).into(),
            (None, None) => self.destination.address().into(),
        }
    }

    fn path(&self) -> Cow<'_, str> {
        let name = self.dns.question.as_ref().map(|question| &question.name);
        let path = self.url.path.as_ref().or(self.rpc.method.as_ref()).or(name);
        // Several that begin alike are one once they are cut, and so that is said.
        let was_cut = |name: &str| self.weir.original_sizes.contains_key(name);
        match path {
            Some(path) if was_cut("url.path") || was_cut("rpc.method") => format!("{path}…").into(),
            path => (&**path.unwrap_or(&self.event.dataset)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_records::{Capture, Direction, Event, Flow, Timestamp};

    fn seen(rest: &serde_json::Value) -> String {
        let mut document = json!({
            "event": {"dataset": "weir.http", "outcome": "success"},
            "source": {"ip": "198.18.0.1", "port": 40000},
            "destination": {"ip": "fd00:198:18::2", "port": 8080},
        });
        for (name, value) in rest.as_object().unwrap() {
            document[name] = value.clone();
        }
        document.to_string()
    }

    #[test]
    fn keys_are_what_people_call_things() {
        for (rest, service, path) in [
            (json!({"url": {"domain": "shop", "path": "/a"}}), "shop", "/a"),
            (
                json!({"url": {"domain": "shop", "port": 81, "path": "/\"a"}}),
                "shop:81",
                "/\"a",
            ),
            (
                json!({"url": {"domain": "shop", "path": "/lon"}, "weir": {"original_sizes": {"url.path": 9}}}),
                "shop",
                "/lon…",
            ),
            (
                json!({"rpc": {"method": "shop.Order/get"}}),
                "shop.Order",
                "shop.Order/get",
            ),
            (
                json!({"dns": {"question": {"name": "shop.example"}}}),
                "[fd00:198:18::2]:8080",
                "shop.example",
            ),
            (
                json!({"destination": {"ip": "198.18.0.2", "port": 443, "domain": "bank"}}),
                "bank",
                "weir.http",
            ),
        ] {
            let text = seen(&rest);
            let seen = Seen::of_stored(&text).unwrap();
            assert_eq!((&*seen.key(By::Service), &*seen.key(By::Path)), (service, path));
            assert_eq!(seen.key(By::Source), "198.18.0.1");
        }
    }

    #[test]
    fn a_document_and_what_is_stored_of_it_count_alike() {
        let (client, server) = (
            "198.18.0.1:40000".parse().unwrap(),
            "[fd00::2]:8080".parse().unwrap(),
        );
        let flow = Flow {
            id: Flow::identify(None, client, server, Timestamp(0)),
            capture: Capture::Tap,
            mode: None,
            direction: Direction::Unknown,
            client,
            server,
            opened: Timestamp(0),
            connect: None,
            host: None,
            wrapping: None,
        };
        let event = Event {
            id: flow.id,
            dataset: "weir.http",
            category: &[],
            kind: &[],
            outcome: Some(Outcome::Failure),
            duration: Some(9),
            start: None,
            end: None,
        };
        let mut document = Document::of(&flow, Timestamp(0), event, "tcp", "http");
        document.source.bytes = Some(3);
        document.destination.domain = Some("shop".into());
        document.weir.original_sizes.insert("url.path".into(), 99);
        document.url = Some(weir_records::Url {
            path: Some("/a\"b".into()),
            domain: Some("shop".into()),
            port: Some(8080),
            ..weir_records::Url::default()
        });
        let text = serde_json::to_string(&document).unwrap();
        let seen = Seen::of_stored(&text).unwrap();
        assert_eq!(Seen::of_document(&document), seen);
        assert!(seen.has_failed());
        assert_eq!((seen.bytes(), seen.took()), (3, Some(9)));
        assert_eq!(seen.key(By::Destination), "[fd00::2]:8080");
    }
}
