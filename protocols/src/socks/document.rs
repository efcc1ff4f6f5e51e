//! What a wish means: its document.

use super::exchange::{Ending, Exchange};
use crate::Close;
use compact_str::CompactString;
use std::collections::BTreeMap;
use weir_records::{
    Document, DocumentId, Endpoint, Error, Event, Flow, Outcome, Policy, SocksVersion, Timing, Url, Weir,
    WeirSocks,
};

/// `event.dataset` of every document made here.
const DATASET: &str = "weir.socks";

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
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
        let mut sizes = BTreeMap::new();
        let url = self.request.as_ref().map(|request| {
            let host = policy.text(&*request.host);
            let host: CompactString = host.keep(&mut sizes, || "url.domain".to_owned());
            Url {
                original: format!("{host}:{}", request.port).into(),
                domain: Some(host),
                port: Some(request.port),
                ..Url::default()
            }
        });
        Document {
            source: Endpoint::of(flow.client, Some(self.bytes[0])),
            destination: Endpoint::of(flow.server, Some(self.bytes[1])),
            url,
            error: self.error(),
            weir: Weir {
                truncated: !sizes.is_empty(),
                original_sizes: sizes,
                socks: Some(Box::new(WeirSocks {
                    version: self.version,
                    command: self.request.as_ref().map(|request| request.command),
                    authentication: self.authentication,
                    reply_code: match self.ending {
                        Ending::Reply(number) => Some(number),
                        _ => None,
                    },
                })),
                timing: Timing {
                    connect: flow.connect,
                    request: self.asked.map(|asked| asked.since(self.first)),
                    ttfb: self
                        .asked
                        .filter(|_| matches!(self.ending, Ending::Reply(_)))
                        .map(|asked| self.last.since(asked)),
                    response: None,
                },
                ..Weir::of(flow)
            },
            ..Document::of(flow, self.first, event, "tcp", "socks")
        }
    }

    fn outcome(&self) -> Outcome {
        match self.ending {
            _ if self.is_granted() => Outcome::Success,
            Ending::Unknown | Ending::Closed(Close::Abandoned) => Outcome::Unknown,
            Ending::Reply(_) | Ending::NoMethod | Ending::Refused | Ending::Closed(_) => Outcome::Failure,
        }
    }

    fn error(&self) -> Option<Error> {
        if self.outcome() != Outcome::Failure {
            return None;
        }
        let (kind, message) = match self.ending {
            Ending::Reply(number) => ("socks_reply", reply(self.version, number).to_owned()),
            Ending::NoMethod => (
                "socks_no_method",
                "the proxy wants another authentication than the client offers".to_owned(),
            ),
            Ending::Refused => (
                "socks_authentication",
                "the proxy did not accept name and password".to_owned(),
            ),
            Ending::Closed(Close::Reset(side)) => (
                "connection_reset",
                format!(
                    "the {} reset the connection before the proxy's answer",
                    side.name()
                ),
            ),
            Ending::Closed(_) | Ending::Unknown => (
                "no_response",
                "the connection ended before the proxy's answer".to_owned(),
            ),
        };
        Some(Error {
            kind: kind.into(),
            message: Some(message),
        })
    }
}

/// What a number says that refuses (RFC 1928, 6).
fn reply(version: SocksVersion, number: u8) -> &'static str {
    match (version, number) {
        (SocksVersion::V5, 1) => "the proxy failed",
        (SocksVersion::V5, 2) => "not allowed by the proxy's rules",
        (SocksVersion::V5, 3) => "network unreachable",
        (SocksVersion::V5, 4) => "host unreachable",
        (SocksVersion::V5, 5) => "connection refused",
        (SocksVersion::V5, 6) => "time to live expired",
        (SocksVersion::V5, 7) => "command not supported",
        (SocksVersion::V5, 8) => "kind of address not supported",
        (SocksVersion::V5, _) => "refused for a reason that has no name",
        (_, 0x5c) => "the proxy can't reach the client's identd",
        (_, 0x5d) => "the client's identd names another user",
        _ => "rejected or failed",
    }
}
