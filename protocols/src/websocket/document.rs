//! What a connection means: its document.
//!
//! Outcome, seen by the client: a success where it was closed with a code that means so (1000, 1001, or none), a failure
//! where the code names an error (RFC 6455, 7.4.1) or no close frame came; unknown where the code is the application's
//! own (3000 to 4999) or not everything was seen.

use super::exchange::{CloseFrame, Counts, Exchange};
use crate::http::Cuts;
use crate::http1::{Field, request_url};
use crate::{Close, Side};
use weir_records::{
    Document, DocumentId, Endpoint, Error, Event, Flow, Outcome, Policy, Timing, Url, WebSocket,
    WebSocketClose, WebSocketSide, Weir, WeirHttp2,
};

/// `event.dataset` of every document made here.
const DATASET: &str = "weir.websocket";

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let mut cuts = Cuts::default();
        let mut anomalies = self.anomalies.clone();
        let url = self.url(policy, &mut cuts, &mut anomalies);
        let websocket = self.websocket(policy, &mut cuts);
        let event = Event {
            id: DocumentId::exchange(flow.id, DATASET, self.handshake.sequence),
            dataset: DATASET,
            category: &["network", "web"],
            kind: &["connection", "protocol"],
            outcome: Some(self.outcome()),
            duration: Some(self.last.since(self.handshake.at)),
            start: None,
            end: None,
        };
        let [client, server] = &self.counts;
        Document {
            source: Endpoint::of(flow.client, Some(client.wire)),
            destination: Endpoint {
                domain: url.as_ref().and_then(|url| url.domain.clone()),
                ..Endpoint::of(flow.server, Some(server.wire))
            },
            url,
            error: self.error(&websocket),
            websocket: Some(Box::new(websocket)),
            weir: Weir {
                late_join: self.handshake.late,
                http2: self.handshake.stream.map(|stream_id| WeirHttp2 {
                    stream_id,
                    ..WeirHttp2::default()
                }),
                truncated: cuts.truncated,
                original_sizes: cuts.sizes,
                anomalies,
                timing: Timing {
                    connect: flow.connect,
                    ..Timing::default()
                },
                ..Weir::of(flow)
            },
            ..Document::of(flow, self.handshake.at, event, "tcp", "websocket")
        }
    }

    /// That of the handshake's request.
    fn url(&self, policy: &Policy, cuts: &mut Cuts, anomalies: &mut Vec<String>) -> Option<Url> {
        let handshake = &self.handshake;
        if handshake.target.is_empty() {
            return None;
        }
        let hosts: Vec<_> = handshake.hosts.iter().map(|host| Field::host(host)).collect();
        Some(request_url(
            &handshake.method,
            handshake.target.as_slice().into(),
            &hosts,
            policy,
            cuts,
            anomalies,
        ))
    }

    fn websocket(&self, policy: &Policy, cuts: &mut Cuts) -> WebSocket {
        let handshake = &self.handshake;
        let mut text = |value: &[u8], name: &str| cuts.keep(policy.text(value), || name.to_owned());
        let close = self.first_close().map(|(by, frame)| WebSocketClose {
            by: by.name(),
            code: frame.code(),
            reason: Some(frame.reason())
                .filter(|reason| !reason.is_empty())
                .map(|reason| text(reason, "websocket.close.reason")),
        });
        WebSocket {
            subprotocol: handshake
                .subprotocol()
                .map(|name| text(name, "websocket.subprotocol")),
            extensions: handshake
                .extensions()
                .map(|extension| text(extension, "websocket.extensions"))
                .collect(),
            client: side(&self.counts[0]),
            server: side(&self.counts[1]),
            close,
        }
    }

    fn first_close(&self) -> Option<(Side, &CloseFrame)> {
        let by = self.closed_by?;
        let frame = match by {
            Side::Client => self.closes[0].as_ref(),
            Side::Server => self.closes[1].as_ref(),
        };
        Some((by, frame?))
    }

    fn outcome(&self) -> Outcome {
        let Some((_, frame)) = self.first_close() else {
            return match self.close {
                Close::Reset(_) => Outcome::Failure,
                Close::Abandoned => Outcome::Unknown,
                Close::Finished if self.incomplete => Outcome::Unknown,
                Close::Finished => Outcome::Failure,
            };
        };
        match frame.code() {
            None | Some(1000 | 1001) => Outcome::Success,
            Some(3000..=4999) => Outcome::Unknown,
            Some(_) => Outcome::Failure,
        }
    }

    fn error(&self, websocket: &WebSocket) -> Option<Error> {
        if self.outcome() != Outcome::Failure {
            return None;
        }
        let (kind, message) = match (&websocket.close, self.close) {
            (Some(close), _) => {
                let (by, code) = (close.by, close.code.unwrap_or_default());
                let reason = close.reason.as_ref().map(|reason| format!(": {reason}"));
                let reason = reason.unwrap_or_default();
                let name = name(code);
                (
                    "websocket_closed",
                    format!("the {by} closed with {code} ({name}){reason}"),
                )
            }
            (None, Close::Reset(side)) => (
                "connection_reset",
                format!("the {} reset the connection", side.name()),
            ),
            (None, _) => (
                "no_close_frame",
                "the connection ended without a close frame".to_owned(),
            ),
        };
        Some(Error {
            kind: kind.into(),
            message: Some(message),
        })
    }
}

fn side(counts: &Counts) -> WebSocketSide {
    WebSocketSide {
        messages: counts.text + counts.binary,
        text_messages: counts.text,
        binary_messages: counts.binary,
        compressed_messages: counts.compressed,
        bytes: counts.bytes,
        largest_message: counts.largest,
        pings: counts.pings,
        pongs: counts.pongs,
        first_message: counts.first,
        last_message: counts.last,
    }
}

/// What a code means (RFC 6455, 7.4.1, and IANA's registry).
fn name(code: u16) -> &'static str {
    match code {
        1002 => "protocol error",
        1003 => "unsupported data",
        1007 => "invalid payload",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "mandatory extension",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        _ => "unassigned",
    }
}
