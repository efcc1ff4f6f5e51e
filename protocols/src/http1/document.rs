//! What an exchange means: its document.
//!
//! Outcome, seen by the client (ECS takes the producer's view): a status below 400 is a success, one from 400 on a
//! failure, and so is an exchange that its peers cut short. It is unknown where the answer was not seen whole for
//! another reason: bytes that were missed, framing in doubt, an observer that gave up.

use super::exchange::{Exchange, Failure, Message, Start};
use super::fields::{Field, fields};
use super::framing::{note, quote};
use super::head::Version;
use super::target::{Target, host};
use crate::Side;
use crate::http::{self, Cuts, Seen, url};
use compact_str::CompactString;
use weir_records::{
    Body, Document, DocumentId, Error, Event, Flow, Headers, Http, HttpRequest, HttpResponse, Octets,
    Outcome, Policy, Timing, Url,
};

/// `event.dataset` of every document made here.
const DATASET: &str = "weir.http";

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let mut cuts = Cuts::default();
        let mut anomalies = self.anomalies.clone();
        let request = self.request.as_ref();
        let head = request.map(Message::head);
        let asked = request.zip(head.as_ref());
        let asked = asked.map_or_else(Vec::new, |(request, head)| request.fields_of(head));
        let url = self.url(head.as_ref(), &asked, policy, &mut cuts, &mut anomalies);
        let http = self.http(&asked, policy, &mut cuts, &mut anomalies);
        let headers = http.request.as_ref().map(|request| &request.headers);
        let user_agent = asked
            .iter()
            .find(|field| !field.cut && field.name.eq_ignore_ascii_case(b"user-agent"))
            .map(|field| http::user_agent(&field.value, headers, policy, &mut cuts));
        // (Put into its place piece by piece: a document is too large to be made of another one.)
        let mut document = Document::of(flow, self.first, self.event(flow), "tcp", "http");
        document.source.bytes = request.map(|request| request.wire);
        document.destination.bytes = self.response_bytes();
        document.destination.domain = url.as_ref().and_then(|url| url.domain.clone());
        document.url = url;
        document.http = Some(http);
        document.user_agent = user_agent;
        let answer = self.answer(self.status());
        if let Some(answer) = &answer {
            document.rpc = Some(Box::new(self.rpc(answer, policy, &mut cuts)));
            let outcome = document.event.outcome.map(|outcome| answer.outcome(outcome));
            document.event.outcome = outcome;
        }
        let said = answer.and_then(|answer| answer.error(policy, &mut cuts));
        document.error = said.or_else(|| self.failure.map(error));
        let weir = &mut document.weir;
        weir.late_join = self.late;
        let torn = request
            .iter()
            .chain(&self.response.as_ref())
            .any(|message| message.torn);
        weir.truncated = cuts.truncated || torn;
        weir.original_sizes = cuts.sizes;
        weir.anomalies = anomalies;
        weir.base64 = cuts.base64;
        weir.timing = self.timing(flow);
        document
    }

    fn event(&self, flow: &Flow) -> Event {
        Event {
            id: DocumentId::exchange(flow.id, DATASET, self.sequence),
            dataset: DATASET,
            category: &["network", "web"],
            kind: &["connection", "protocol", "access"],
            outcome: Some(self.outcome()),
            duration: self.fate.duration(
                self.request.as_ref().map(|_| self.first),
                self.response.as_ref().map(|response| response.last),
            ),
            start: None,
            end: self.fate.end(),
        }
    }

    fn status(&self) -> Option<u16> {
        match self.response.as_ref()?.start {
            Some(Start::Response { status, .. }) => Some(status),
            _ => None,
        }
    }

    fn outcome(&self) -> Outcome {
        match (self.failure, self.status()) {
            (_, Some(400..)) => Outcome::Failure,
            (Some(Failure::Abandoned), _) => Outcome::Unknown,
            (Some(_), _) => Outcome::Failure,
            (None, Some(_)) if self.answered() => Outcome::Success,
            (None, _) => Outcome::Unknown,
        }
    }

    fn response_bytes(&self) -> Option<u64> {
        match &self.response {
            Some(response) => Some(response.wire + self.informational),
            None => Some(self.informational).filter(|bytes| *bytes > 0),
        }
    }

    fn timing(&self, flow: &Flow) -> Timing {
        let (request, response) = (self.request.as_ref(), self.response.as_ref());
        let whole = |message: &&Message| message.whole;
        Timing {
            connect: flow.connect,
            request: request
                .filter(whole)
                .map(|request| request.last.since(request.first)),
            ttfb: request.zip(response).map(|(request, response)| {
                let asked = if request.whole && request.last <= response.first {
                    request.last
                } else {
                    request.first
                };
                response.first.since(asked)
            }),
            response: response
                .filter(whole)
                .map(|response| response.last.since(response.first)),
        }
    }

    fn url(
        &self,
        head: Option<&Octets<'_>>,
        asked: &[Field<'_>],
        policy: &Policy,
        cuts: &mut Cuts,
        anomalies: &mut Vec<String>,
    ) -> Option<Url> {
        let request = self.request.as_ref()?;
        let Some(Start::Request {
            method,
            target: range,
            ..
        }) = &request.start
        else {
            return None;
        };
        let target = head?.part(range.start as usize..range.end as usize);
        let method = request.slice(method);
        Some(request_url(method, target, asked, policy, cuts, anomalies))
    }

    fn http(
        &self,
        asked: &[Field<'_>],
        policy: &Policy,
        cuts: &mut Cuts,
        anomalies: &mut Vec<String>,
    ) -> Http {
        let mut http = Http::default();
        if let Some(request) = &self.request
            && let Some(Start::Request { method, version, .. }) = &request.start
        {
            http.version = version.map(name);
            http.request = Some(HttpRequest {
                method: Some(CompactString::from_utf8_lossy(request.slice(method))),
                bytes: request.wire,
                body: body(request, asked, Side::Client, policy, cuts, anomalies),
                headers: headers(request, asked, Side::Client, policy, cuts),
                trailer_names: trailer_names(request, asked, policy),
            });
        }
        if let Some(response) = &self.response
            && let Some(Start::Response { version, status }) = &response.start
        {
            let answered = response.fields();
            http.version = http.version.or(Some(name(*version)));
            http.response = Some(HttpResponse {
                status_code: Some(*status),
                bytes: response.wire,
                body: body(response, &answered, Side::Server, policy, cuts, anomalies),
                headers: headers(response, &answered, Side::Server, policy, cuts),
                trailer_names: trailer_names(response, &answered, policy),
            });
        }
        http
    }
}

/// What a request asks for, by its line and its fields.
pub(crate) fn request_url(
    method: &[u8],
    target: Octets<'_>,
    asked: &[Field<'_>],
    policy: &Policy,
    cuts: &mut Cuts,
    anomalies: &mut Vec<String>,
) -> Url {
    let clean = policy.redact_url(target);
    let target = Target::parse(method, &clean);
    let mut url = url(&clean, &target, policy, cuts);
    let named = match target.authority {
        Some(authority) => {
            let named = host(&authority);
            // (Of CONNECT, clients say there what they like.)
            if let Some(Some(other)) = host_field(asked, anomalies)
                && named.as_ref().is_some_and(|named| *named != other)
                && method != b"CONNECT"
            {
                note(anomalies, "host_differs", &quote(other.0.as_bytes()));
            }
            Some(named)
        }
        None => host_field(asked, anomalies),
    };
    match named {
        Some(Some((domain, port))) => (url.domain, url.port) = (Some(domain), port),
        Some(None) => note(anomalies, "invalid_host", ""),
        None => {}
    }
    url
}

fn name(version: Version) -> &'static str {
    match version {
        Version::V10 => "1.0",
        Version::V11 => "1.1",
    }
}

/// What the Host field names; inner `None` if that is no host. Of several different ones, none.
fn host_field(
    asked: &[Field<'_>],
    anomalies: &mut Vec<String>,
) -> Option<Option<(CompactString, Option<u16>)>> {
    let mut hosts = asked
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(b"host"));
    let first = hosts.next()?;
    let mut differs = first.cut;
    for other in hosts {
        note(anomalies, "host_repeated", "");
        differs |= other.value != first.value;
    }
    if differs || first.value.is_empty() {
        None
    } else {
        Some(host(&first.value))
    }
}

fn body(
    message: &Message,
    sent: &[Field<'_>],
    side: Side,
    policy: &Policy,
    cuts: &mut Cuts,
    anomalies: &mut Vec<String>,
) -> Body {
    let seen = Seen {
        side,
        bytes: message.body,
        whole: message.whole,
        kept: message.kept.as_deref(),
        fields: sent,
        more_fields: message.head_size > message.raw.len() as u64,
    };
    http::body(&seen, policy, cuts, anomalies)
}

/// The headers of a message and the trailers after them, within the policy's bounds.
fn headers(message: &Message, sent: &[Field<'_>], side: Side, policy: &Policy, cuts: &mut Cuts) -> Headers {
    let place = match side {
        Side::Client => "http.request",
        Side::Server => "http.response",
    };
    if message.head_size > message.raw.len() as u64 {
        cuts.cut(format!("{place}.head"), message.head_size);
    }
    if message.trailer_size > message.trailers.len() as u64 {
        cuts.cut(format!("{place}.trailers"), message.trailer_size);
    }
    let trailers: Vec<_> = fields(&message.trailers).collect();
    let all = message.count.max((sent.len() + trailers.len()) as u64);
    http::headers(sent.iter().chain(&trailers), all, place, policy, cuts)
}

fn trailer_names(message: &Message, sent: &[Field<'_>], policy: &Policy) -> Vec<CompactString> {
    if message.trailers.is_empty() {
        return Vec::new();
    }
    let trailers: Vec<_> = fields(&message.trailers).collect();
    http::trailer_names(sent.len(), trailers.iter(), policy)
}

fn error(failure: Failure) -> Error {
    let (kind, message) = match failure {
        Failure::ResetByClient => ("connection_reset", "the client reset the connection"),
        Failure::ResetByServer => ("connection_reset", "the server reset the connection"),
        Failure::NoResponse => (
            "no_response",
            "the server closed the connection without a response",
        ),
        Failure::IncompleteResponse => (
            "incomplete_response",
            "the server closed the connection within its response",
        ),
        Failure::InvalidResponse => (
            "invalid_response",
            "the server answered with something that is not HTTP/1",
        ),
        Failure::IncompleteRequest => (
            "incomplete_request",
            "the client closed the connection within its request",
        ),
        Failure::Abandoned => (
            "abandoned",
            "the connection was given up before the exchange was complete",
        ),
    };
    Error {
        kind: kind.into(),
        message: Some(message.to_owned()),
    }
}
