//! What a connection means: its document.
//!
//! Outcome, seen by the client: a handshake that is complete by what both sides sent is a success; one that ended before that,
//! by an alert in the open, a reset or an end, is a failure. Whether a server has accepted what a client sent last can be
//! encrypted (TLS 1.3, where nothing else follows), and then the outcome is not known.

use super::{exchange::Exchange, names};
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
                let text = policy.text(&**name);
                text.keep(&mut sizes, || "tls.client.server_name".into())
            });
        self.note_cuts(&mut sizes);
        let event = Event {
            id: DocumentId::exchange(flow.id, DATASET, 0),
            dataset: DATASET,
            category: &["network"],
            kind: &["connection", "protocol"],
            outcome: Some(self.outcome()),
            duration: Some(self.open.unwrap_or(self.last).since(self.first)),
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

    /// How many there were, of lists that are not kept whole.
    fn note_cuts(&self, sizes: &mut BTreeMap<String, u64>) {
        let Some(hello) = &self.client else { return };
        let cuts = [
            ("tls.client.supported_ciphers_count", hello.ciphers.cut()),
            ("tls.client.supported_versions_count", hello.versions.cut()),
            ("tls.client.alpn_count", hello.alpn.cut()),
        ];
        for (name, count) in cuts {
            sizes.extend(count.map(|count| (name.to_owned(), count)));
        }
    }

    fn tls(&self, server_name: Option<String>) -> Tls {
        let server = self.server.as_ref();
        Tls {
            version: server.map(|hello| names::version(hello.version)),
            version_protocol: "tls",
            established: self.established(),
            resumed: self.progress.resumed,
            cipher: server
                .filter(|hello| !hello.is_retry)
                .map(|hello| names::cipher(hello.cipher)),
            next_protocol: server.and_then(|hello| Some(text(hello.alpn.as_ref()?))),
            client: self.client.as_ref().map(|hello| TlsClient {
                server_name,
                ja4: hello.ja4.clone(),
                supported_ciphers: hello.ciphers.kept.iter().copied().map(names::cipher).collect(),
                supported_versions: hello.versions.kept.iter().copied().map(names::version).collect(),
                alpn: hello.alpn.kept.iter().map(|name| text(name)).collect(),
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
        match self.established() {
            Some(true) => Outcome::Success,
            Some(false) => Outcome::Failure,
            None => Outcome::Unknown,
        }
    }

    fn error(&self) -> Option<Error> {
        if self.established() != Some(false) {
            return None;
        }
        let before = match self.server {
            None => "the server's hello",
            Some(_) => "the handshake was complete",
        };
        let (kind, message) = match (self.fatal(), self.close) {
            (Some((side, what)), _) => (
                "tls_alert",
                format!("the {} ended the handshake: {}", who(side), names::alert(what)),
            ),
            (None, Close::Reset(side)) => (
                "connection_reset",
                format!("the {} reset the connection before {before}", who(side)),
            ),
            (None, _) if self.odd == Some(Side::Server) => (
                "invalid_response",
                "the server answered with something that is not TLS".to_owned(),
            ),
            (None, _) => (
                match self.server {
                    None => "no_response",
                    Some(_) => "incomplete_handshake",
                },
                format!("the connection ended before {before}"),
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

/// Names of protocols are bytes; those that are in use are ASCII.
fn text(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}
