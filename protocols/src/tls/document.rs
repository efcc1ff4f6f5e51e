//! What a connection means: its document.
//!
//! Outcome, seen by the client: a server that answered with its hello is a success, since what comes after is not to be
//! seen; an alert in the open, a reset or an end before that hello is a failure.

use super::{
    exchange::Exchange,
    hello::{ClientHello, is_grease},
    ja4::ja4,
    names,
};
use crate::{Close, Side};
use std::collections::BTreeMap;
use weir_records::{
    Document, DocumentId, Endpoint, Error, Event, Flow, Outcome, Policy, Timing, Tls, TlsClient, Weir,
};

/// `event.dataset` of every document made here.
const DATASET: &str = "weir.tls";

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let mut sizes = BTreeMap::new();
        let name = self
            .client
            .as_ref()
            .and_then(|hello| hello.server_name.as_ref())
            .map(|name| {
                let text = policy.text(name);
                if let Some(size) = text.original {
                    sizes.insert("tls.client.server_name".into(), size);
                }
                text.value.into_owned()
            });
        let event = Event {
            id: DocumentId::exchange(flow.id, DATASET, 0),
            dataset: DATASET,
            category: &["network"],
            kind: &["connection", "protocol"],
            outcome: Some(self.outcome()),
            duration: Some(self.last.since(self.first)),
            start: None,
            end: None,
        };
        Document {
            source: Endpoint::of(flow.client, Some(self.bytes[0])),
            destination: Endpoint {
                domain: name.as_deref().map(Into::into),
                ..Endpoint::of(flow.server, Some(self.bytes[1]))
            },
            tls: Some(Box::new(self.tls(name))),
            error: self.error(),
            weir: Weir {
                late_join: self.late,
                truncated: !sizes.is_empty(),
                original_sizes: sizes,
                anomalies: self.anomalies(),
                timing: Timing {
                    connect: flow.connect,
                    request: self.hellos[0].map(|hello| hello.since(self.first)),
                    ttfb: self.hellos[0]
                        .zip(self.hellos[1])
                        .map(|(client, server)| server.since(client)),
                    response: None,
                },
                ..Weir::of(flow)
            },
            ..Document::of(flow, self.first, event, "tcp", "tls")
        }
    }

    fn tls(&self, server_name: Option<String>) -> Tls {
        let server = self.server.as_ref();
        let known = |values: &[u16]| {
            values
                .iter()
                .filter(|value| !is_grease(**value))
                .copied()
                .collect::<Vec<_>>()
        };
        Tls {
            version: server.map(|hello| names::version(hello.version)),
            version_protocol: "tls",
            cipher: server
                .filter(|hello| !hello.is_retry)
                .map(|hello| names::cipher(hello.cipher)),
            next_protocol: server.and_then(|hello| Some(text(hello.alpn.as_ref()?))),
            client: self.client.as_ref().map(|hello| TlsClient {
                server_name,
                ja4: ja4(hello),
                supported_ciphers: known(&hello.ciphers).into_iter().map(names::cipher).collect(),
                supported_versions: known(&versions(hello)).into_iter().map(names::version).collect(),
                alpn: hello.alpn.iter().map(|name| text(name)).collect(),
            }),
        }
    }

    fn anomalies(&self) -> Vec<String> {
        let gaps = self.gaps.then(|| "bytes of the handshake were missed".to_owned());
        let odd = self
            .odd
            .map(|side| format!("not_a_hello: the {} began with something else", who(side)));
        gaps.into_iter().chain(odd).collect()
    }

    fn outcome(&self) -> Outcome {
        match (self.fatal(), &self.server, self.close) {
            (Some(_), _, _) => Outcome::Failure,
            (None, Some(_), _) => Outcome::Success,
            (None, None, Close::Abandoned) => Outcome::Unknown,
            (None, None, _) if self.late || self.gaps || self.odd == Some(Side::Client) => Outcome::Unknown,
            (None, None, _) => Outcome::Failure,
        }
    }

    fn error(&self) -> Option<Error> {
        if self.outcome() != Outcome::Failure {
            return None;
        }
        let (kind, message) = match (self.fatal(), self.close) {
            (Some((side, what)), _) => (
                "tls_alert",
                format!("the {} ended the handshake: {}", who(side), names::alert(what)),
            ),
            (None, Close::Reset(side)) => (
                "connection_reset",
                format!("the {} reset the connection before the server's hello", who(side)),
            ),
            (None, _) if self.odd == Some(Side::Server) => (
                "invalid_response",
                "the server answered with something that is not TLS".to_owned(),
            ),
            (None, _) => (
                "no_response",
                "the connection ended before the server's hello".to_owned(),
            ),
        };
        Some(Error {
            kind: kind.into(),
            message: Some(message),
        })
    }
}

fn who(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

/// Before TLS 1.3 the message itself has the only one.
fn versions(hello: &ClientHello) -> Vec<u16> {
    match hello.versions.is_empty() {
        true => vec![hello.legacy_version],
        false => hello.versions.clone(),
    }
}

/// Names of protocols are bytes; those that are in use are ASCII.
fn text(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}
